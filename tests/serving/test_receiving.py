"""Reading a body: limits hold before it is in memory, and what is held is given back."""

import asyncio
from collections.abc import Iterable, MutableMapping
from typing import Any

import pytest

from bintally.serving.faults import Fault
from bintally.serving.receiving import ClientGoneError, HeldBytes, Receive, read_body


class Client:
    """Sends these chunks, then hangs up or hangs."""

    def __init__(self, chunks: Iterable[bytes], *, then: str = "end") -> None:
        self._chunks, self._then = list(chunks), then
        self.asked = 0

    async def __call__(self) -> MutableMapping[str, Any]:
        self.asked += 1
        if self._chunks:
            chunk = self._chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks) or self._then != "end"}
        if self._then == "hang":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}


def read(client: Receive, held: HeldBytes, headers: dict[str, str] | None = None, **limits: float) -> bytes:
    bounds: dict[str, Any] = {"max_bytes": 10, "seconds": 30.0, **limits}
    return asyncio.run(read_body(client, headers or {}, held, **bounds))


def test_a_body_is_joined_and_held() -> None:
    held = HeldBytes(100)
    assert read(Client([b"one", b"", b"two"]), held) == b"onetwo"
    assert held.now == 6
    assert read(Client([b"0123456789"]), held) == b"0123456789", "as many as are allowed"


def test_no_body_is_an_empty_one() -> None:
    assert read(Client([b""]), HeldBytes(1)) == b""


def test_an_announced_length_is_refused_before_a_byte_is_read() -> None:
    client, held = Client([b"x" * 11]), HeldBytes(100)
    with pytest.raises(Fault, match="at most 10 bytes, got 11") as caught:
        read(client, held, {"content-length": "11"})
    assert caught.value.status == 413
    assert (client.asked, held.now) == (0, 0)


def test_without_one_reading_stops_at_the_first_byte_too_many() -> None:
    client, held = Client([b"x" * 6] * 1000), HeldBytes(100)
    with pytest.raises(Fault, match="at most 10 bytes, got more") as caught:
        read(client, held)
    assert caught.value.status == 413
    assert (client.asked, held.now) == (2, 0)


def test_all_bodies_together_are_bounded() -> None:
    held = HeldBytes(8)
    held.take(5)
    with pytest.raises(Fault) as caught:
        read(Client([b"xx", b"xx"]), held)
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "1")
    assert held.now == 5


def test_a_slow_one_is_408() -> None:
    held = HeldBytes(100)
    with pytest.raises(Fault, match="got 3 bytes of it") as caught:
        read(Client([b"slo"], then="hang"), held, seconds=0.01)
    assert (caught.value.status, caught.value.headers, held.now) == (408, {"Connection": "close"}, 0)


def test_one_that_hangs_up_is_gone() -> None:
    held = HeldBytes(100)
    with pytest.raises(ClientGoneError):
        read(Client([b"half"], then="hang up"), held)
    assert held.now == 0
