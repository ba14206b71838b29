"""Many small jobs against a store at once: bounded, paced, and ended when the store fails for good.

Retrying a request is the store's; here is decided what one job's failure means for the others. Refuses to hold
more jobs than are under way, and twice as many that are next.
"""

import asyncio
import math
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bintally.errors import CannotWriteError, ObjectNotFoundError, SettingsError, StoreError

T = TypeVar("T")
_LET_GO_SECONDS = 1.0
_BEGIN_SECONDS = 5.0  # until a thread is under way, at most
_LOOK_SECONDS = 0.5  # from one look for an interrupt to the next, at most
_PATIENCE = 16  # failures in a row, at least, before a store is taken to be down


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run of jobs is.

    Attributes:
        done: jobs dealt with, failed ones too.
        total: jobs found so far.
        counted: whether `total` is final.
        done_bytes: what was moved so far.
    """

    done: int = 0
    total: int = 0
    counted: bool = False
    done_bytes: int = 0


OnProgress = Callable[[Progress], None]
"""Told of progress: after each job, and once all are found."""


def run(job: Coroutine[Any, Any, T]) -> T:
    """Run `job` to its end, from anywhere: a notebook's running event loop is left alone, and waits.

    Interrupted, it ends the job before it raises.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(job)
    return _run_apart(job)


def _run_apart(job: Coroutine[Any, Any, T]) -> T:
    """Run it in a thread of its own: an executor would not wait for one that is interrupted as it starts."""
    begun: Future[Callable[[], object]] = Future()
    ended: Future[T] = Future()

    async def watched() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        begun.set_result(lambda: loop.call_soon_threadsafe(task.cancel) if task else None)
        return await job

    def work() -> None:
        try:
            ended.set_result(_run(watched()))
        except BaseException as error:  # noqa: BLE001 - raised where the result is waited for
            ended.set_exception(error)

    thread = threading.Thread(target=work)
    try:
        thread.start()
        while not wait([ended], _LOOK_SECONDS).done:  # an interrupt just as a wait begins is seen at its end
            pass
        return ended.result()
    except BaseException:
        with suppress(RuntimeError, TimeoutError):  # it has ended by itself, or never began
            begun.result(_BEGIN_SECONDS)()
        raise
    finally:
        thread.join()


def _run(job: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(job)
    finally:
        _let_go()


def _let_go() -> None:
    """Wait until none of obstore's threads is inside Python any more, handing over a result.

    One that still is when the interpreter ends aborts the process, and the exit code is lost: see issue 40 of
    PyO3/pyo3-async-runtimes.
    """
    latest = time.monotonic() + _LET_GO_SECONDS
    while time.monotonic() < latest:
        if sys._current_frames().keys() <= {thread.ident for thread in threading.enumerate()}:
            return
        time.sleep(0.001)


class Pace:
    """Lets so many pass in a second: each gets the next free moment, so none is lost and none comes too early."""

    def __init__(self, per_second: float) -> None:
        self._interval_seconds = 1 / per_second
        self._free = 0.0  # the next moment that nobody has, by the event loop's clock

    async def turn(self) -> None:
        """Wait until it is one's turn."""
        now = asyncio.get_running_loop().time()
        mine = max(now, self._free)
        self._free = mine + self._interval_seconds
        if mine > now:
            await asyncio.sleep(mine - now)


@dataclass(kw_only=True)
class Transfer(Generic[T]):
    """Works off jobs as they are found.

    Attributes:
        work: does one job and returns how many bytes it moved. A `StoreError` is the job's own failure.
        failed: told of each job that failed, and why, but for the one that ends it all.
        on_progress: told how far it is.
        concurrency: how many jobs are under way at once.
        per_second: at most so many begin in a second; None: as many as the store bears.
    """

    work: Callable[[T], Awaitable[int]]
    failed: Callable[[T, StoreError], None]
    on_progress: OnProgress = lambda _: None
    concurrency: int = 64
    per_second: float | None = None

    def __post_init__(self) -> None:
        """Refuse limits under which nothing moves."""
        if self.concurrency < 1:
            raise SettingsError(f"concurrency: expected 1 or more, got {self.concurrency}")
        if self.per_second is not None and not 0 < self.per_second < math.inf:
            raise SettingsError(f"rate: expected more than 0 a second, got {self.per_second}")
        self._done = self._total = self._bytes = self._failures_in_a_row = 0
        self._counted = False

    async def all(self, jobs: AsyncIterable[T]) -> None:
        """Do every job; returns, or raises, once none is under way any more. For one run of jobs only.

        Raises:
            StoreError: the last failure, when jobs fail one after the other and none succeeds between. That an object
                is not there is no such failure: the store is there.
            CannotWriteError: the first, at once.
        """
        pace = Pace(self.per_second) if self.per_second else None
        queue: asyncio.Queue[T | _End] = asyncio.Queue(maxsize=2 * self.concurrency)

        async def work_off() -> None:
            while not isinstance(job := await queue.get(), _End):
                if pace:
                    await pace.turn()
                await self._do(job)

        ended: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._find(jobs, queue))
                for _ in range(self.concurrency):
                    group.create_task(work_off())
        except BaseExceptionGroup as errors:
            ended = _first(errors)
        if ended is not None:
            raise ended  # out here, so that what caused it stays its cause

    async def _find(self, jobs: AsyncIterable[T], queue: "asyncio.Queue[T | _End]") -> None:
        try:
            async for job in jobs:
                self._total += 1
                await queue.put(job)
        finally:
            if isinstance(jobs, AsyncGenerator):
                await jobs.aclose()
        self._counted = True
        self._tell()
        for _ in range(self.concurrency):
            await queue.put(_End())

    async def _do(self, job: T) -> None:
        try:
            moved = await self.work(job)  # in a line of its own: others add to the sum meanwhile
            self._bytes += moved
            self._failures_in_a_row = 0
        except CannotWriteError:
            raise
        except StoreError as error:
            self._failures_in_a_row += 1
            if isinstance(error, ObjectNotFoundError):
                self._failures_in_a_row = 0
            if self._failures_in_a_row >= max(_PATIENCE, self.concurrency):
                raise
            self.failed(job, error)
        self._done += 1
        self._tell()

    def _tell(self) -> None:
        self.on_progress(Progress(done=self._done, total=self._total, counted=self._counted, done_bytes=self._bytes))


class _End:
    """Stands behind the last job, once for each worker."""


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended a group of tasks: the group's first, unless it is a group itself."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
