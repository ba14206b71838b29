"""The queue in front of the engine: so many requests and no more, each within its deadline.

Every request works on at most as many photos at a time as there are threads, so one of a thousand photos does not keep
one of a single photo waiting until it is done. What was given up before its turn never reaches the engine.
"""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from bintally.domain.counts import CountDistribution
from bintally.errors import PhotoError
from bintally.inference.engine import Engine
from bintally.serving.answers import Counted
from bintally.serving.bodies import BadRecord, Given
from bintally.serving.faults import Fault, fault_of, overloaded


class CountingQueue:
    """Counts the photos of several requests on a bounded number of threads."""

    def __init__(self, engine: Engine, *, most: int) -> None:
        """Begin with no request.

        Args:
            engine: what counts; its number of threads is how many photos are counted at a time.
            most: requests that wait or are counted at a time.
        """
        self._engine, self._most = engine, most
        self._pool = ThreadPoolExecutor(engine.threads, thread_name_prefix="counting")
        self.requests = 0

    def enter(self) -> None:
        """Take a place; `leave` gives it back.

        Raises:
            Fault: 503, if there is none.
        """
        if self.requests >= self._most:
            raise overloaded(f"{self._most} requests are waiting already")
        self.requests += 1

    def leave(self) -> None:
        """Give the place back."""
        self.requests -= 1

    async def count(self, photos: Sequence[Given]) -> list[Counted]:
        """What becomes of each photo, in their order; cancelled, it leaves alone what has not begun."""
        counted: dict[int, Counted] = {}
        waiting = iter(enumerate(photos))
        lanes = [self._lane(waiting, counted) for _ in range(min(self._engine.threads, len(photos)))]
        await asyncio.gather(*lanes)
        return [counted[index] for index in range(len(photos))]

    def close(self) -> None:
        """Begin no more photos; those under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _lane(self, waiting: Iterator[tuple[int, Given]], counted: dict[int, Counted]) -> None:
        loop = asyncio.get_running_loop()
        for index, given in waiting:
            counted[index] = await loop.run_in_executor(self._pool, count_one, self._engine, given)


def count_one(engine: Engine, given: Given) -> Counted:
    """What becomes of one photo: its distribution or its fault."""
    result = given.fault if isinstance(given, BadRecord) else _counted(engine, given.data, given.name)
    return Counted(result=result, label=given.label)


def _counted(engine: Engine, photo: bytes, name: str) -> CountDistribution | Fault:
    try:
        return engine.count(photo, name=name)
    except PhotoError as error:
        return fault_of(error)
