"""Reads a request's body as it comes, and stops where it is too large, too slow, or more than can be held.

What it refuses, it refuses before it is in memory: a length that is announced at once, one that is not at the first
byte too many.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from bintally.serving.faults import Fault, overloaded

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]  # ASGI's


class ClientGoneError(Exception):
    """The client hung up."""


class HeldBytes:
    """How many bytes of bodies are in memory, all requests together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.now = 0

    def take(self, size: int) -> None:
        """Hold `size` more.

        Raises:
            Fault: 503, if that is too many.
        """
        if self.now + size > self._most:
            raise overloaded("too many bytes of requests are held already")
        self.now += size

    def give_back(self, size: int) -> None:
        """Hold `size` less."""
        self.now -= size


async def read_body(
    receive: Receive, headers: Mapping[str, str], held: HeldBytes, *, max_bytes: int, seconds: float
) -> bytes:
    """A request's body; its bytes are held, and to be given back by the caller.

    Raises:
        Fault: 413, 408 or 503; nothing is held then.
        ClientGoneError: if it ended early; likewise.
    """
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes, f"{int(announced):,}")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                chunk, more = message.get("body", b""), message.get("more_body", False)
                if size + len(chunk) > max_bytes:
                    raise _too_large(max_bytes, "more")
                held.take(len(chunk))
                size += len(chunk)
                chunks.append(chunk)
    except BaseException as error:
        held.give_back(size)
        if isinstance(error, TimeoutError):
            said = f"expected the body within {seconds:g} seconds, got {size:,} bytes of it"
            raise Fault(408, "too-slow", said, headers={"Connection": "close"}) from error
        raise
    return b"".join(chunks)


def _too_large(max_bytes: int, got: str) -> Fault:
    return Fault(413, "too-large", f"expected at most {max_bytes:,} bytes, got {got}. Send fewer or smaller photos")
