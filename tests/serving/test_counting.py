"""The queue in front of the engine, with an engine that does as it is told."""

import asyncio
import threading

import pytest
from tests.serving.server_process import wait_for

from bintally.domain.counts import CountDistribution
from bintally.errors import BrokenPhotoError
from bintally.inference.engine import Engine
from bintally.serving.bodies import BadRecord, Given, GivenPhoto
from bintally.serving.counting import CountingQueue
from bintally.serving.faults import Fault

SURE = CountDistribution([0.0, 1.0])


class Counter(Engine):
    """Notes what it counts; counts nothing while its gate is closed."""

    def __init__(self, threads: int = 1) -> None:
        self.threads, self.seen = threads, list[str]()
        self.at_once = self.most_at_once = 0
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()

    def count(self, photo: bytes, *, name: str = "photo") -> CountDistribution:
        with self._lock:
            self.seen.append(photo.decode())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.gate.wait(60)
        with self._lock:
            self.at_once -= 1
        if photo == b"bad":
            raise BrokenPhotoError(f"{name}: damaged")
        return SURE


def photos(*names: str) -> list[Given]:
    return [GivenPhoto(data=name.encode(), name=name, label=name) for name in names]


def test_all_in_order_and_the_bad_ones_in_their_place() -> None:
    async def run() -> list[object]:
        queue = CountingQueue(Counter(threads=3), most=1)
        fault = Fault(422, "no-photo", "record 3")
        given = [*photos("a", "bad"), BadRecord(fault=fault, label="c"), *photos("d")]
        counted = await queue.count(given)
        assert [each.label for each in counted] == ["a", "bad", "c", "d"]
        assert counted[2].result is fault
        assert isinstance(counted[1].result, Fault)
        assert counted[1].result.message == "bad: damaged"
        return [counted[0].result, counted[3].result]

    assert asyncio.run(run()) == [SURE, SURE]


def test_no_more_at_a_time_than_threads() -> None:
    counter = Counter(threads=2)

    async def run() -> None:
        queue = CountingQueue(counter, most=9)
        await asyncio.gather(*(queue.count(photos(*"abcdef")) for _ in range(5)))

    asyncio.run(run())
    assert len(counter.seen) == 30
    assert counter.most_at_once <= 2


def test_a_long_request_does_not_keep_a_short_one_waiting() -> None:
    counter = Counter(threads=1)

    async def run() -> None:
        queue = CountingQueue(counter, most=2)
        long = asyncio.create_task(queue.count(photos(*(f"long {number}" for number in range(100)))))
        while not counter.seen:
            await asyncio.sleep(0)
        await queue.count(photos("short"))
        assert counter.seen.index("short") < 90, "it went between"
        await long

    counter.gate.clear()
    threading.Timer(0.05, counter.gate.set).start()
    asyncio.run(run())
    assert counter.seen.index("short") <= 2


def test_what_is_given_up_never_begins() -> None:
    counter = Counter(threads=1)
    counter.gate.clear()

    async def run() -> None:
        queue = CountingQueue(counter, most=2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await queue.count(photos(*"abc"))
        counter.gate.set()
        await queue.count(photos("next"))

    asyncio.run(run())
    assert counter.seen == ["a", "next"]


def test_places_are_counted() -> None:
    queue = CountingQueue(Counter(), most=2)
    queue.enter()
    queue.enter()
    with pytest.raises(Fault, match="2 requests are waiting already") as caught:
        queue.enter()
    assert caught.value.status == 503
    queue.leave()
    queue.enter()


def test_closed_it_begins_nothing() -> None:
    counter = Counter(threads=1)
    counter.gate.clear()

    async def run() -> None:
        queue = CountingQueue(counter, most=2)
        task = asyncio.create_task(queue.count(photos("a")))
        other = asyncio.create_task(queue.count(photos("b")))
        await asyncio.to_thread(wait_for, lambda: counter.seen)
        queue.close()
        counter.gate.set()
        assert [each.result for each in await task] == [SURE]
        other.cancel()

    asyncio.run(run())
    assert counter.seen == ["a"]
