"""A proxy that makes a server on this machine as far away as one in another region: every request arrives late.

    python benchmarks/delaying_proxy.py --to PORT --seconds 0.02

prints the port it listens on. What a client sends is passed on after the delay, what the server answers at once; on a
connection that carries one request at a time, that is the delay of a round trip. Nothing is slowed down but by that.
"""

import argparse
import asyncio

CHUNK = 1 << 16


class Forward(asyncio.Protocol):
    """One direction of one connection."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.to: asyncio.Transport | None = None
        self.early: list[bytes] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass on, late."""
        if self.seconds:
            asyncio.get_running_loop().call_later(self.seconds, self.pass_on, data)
        else:
            self.pass_on(data)

    def pass_on(self, data: bytes) -> None:
        """Pass on now, or once the other side is connected."""
        if self.to is None:
            self.early.append(data)
        elif not self.to.is_closing():
            self.to.write(data)

    def connect(self, to: asyncio.Transport) -> None:
        """Say where to."""
        self.to = to
        for data in self.early:
            to.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other side too."""
        if self.to is not None:
            self.to.close()


async def serve(to_port: int, seconds: float) -> None:
    """Listen until the process is ended."""
    loop = asyncio.get_running_loop()
    under_way: set[asyncio.Task[None]] = set()

    def accept() -> Forward:
        outward = Forward(seconds)

        async def dial() -> None:
            inward = Forward(0)
            transport, _ = await loop.create_connection(lambda: inward, "127.0.0.1", to_port)
            assert outward.transport is not None
            inward.connect(outward.transport)
            outward.connect(transport)

        task = loop.create_task(dial())
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        return outward

    server = await loop.create_server(accept, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=int, required=True, help="the server's port")
    parser.add_argument("--seconds", type=float, default=0.02, help="how late")
    options = parser.parse_args()
    asyncio.run(serve(options.to, options.seconds))
