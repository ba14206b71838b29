"""Many jobs at once: the bounds they are kept in, and how they end."""

import asyncio
import contextlib
import gc
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from bintally.data import transfer
from bintally.data.transfer import Pace, Progress, Transfer
from bintally.errors import (
    CannotWriteError,
    ObjectNotFoundError,
    SettingsError,
    StoreAccessError,
    StoreError,
    StoreUnavailableError,
)


async def found(jobs: Iterable[int]) -> AsyncIterator[int]:
    for job in jobs:
        yield job


async def nothing(_: int) -> int:
    await asyncio.sleep(0)
    return 1


def ignore(_: int, __: StoreError) -> None:
    pass


def failing(when: Callable[[int], bool], error: StoreError) -> Callable[[int], "asyncio.Future[int]"]:
    async def work(job: int) -> int:
        await asyncio.sleep(0)
        if when(job):
            raise error
        return 1

    return work


# --- bounds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 7])
def test_as_many_are_under_way_as_allowed_and_no_more(concurrency: int) -> None:
    under_way = most = 0

    async def work(_: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return 1

    asyncio.run(Transfer(work=work, failed=ignore, concurrency=concurrency).all(found(range(50))))
    assert most == concurrency
    assert under_way == 0


def test_every_job_is_done_once() -> None:
    done: list[int] = []

    async def work(job: int) -> int:
        await asyncio.sleep(0)
        done.append(job)
        return 1

    asyncio.run(Transfer(work=work, failed=ignore, concurrency=8).all(found(range(1000))))
    assert sorted(done) == list(range(1000))


def test_jobs_are_asked_for_as_they_are_done() -> None:
    given = done = most_ahead = 0

    async def jobs() -> AsyncIterator[int]:
        nonlocal given, most_ahead
        for job in range(1000):
            given += 1
            most_ahead = max(most_ahead, given - done)
            yield job

    async def work(_: int) -> int:
        nonlocal done
        await asyncio.sleep(0)
        done += 1
        return 1

    asyncio.run(Transfer(work=work, failed=ignore, concurrency=4).all(jobs()))
    assert done == 1000
    assert most_ahead <= 4 + 8 + 1, "those under way, those that wait, and the one in hand"


@pytest.mark.parametrize(
    ("concurrency", "per_second"), [(0, None), (-1, None), (1, 0.0), (1, -2.0), (1, float("nan")), (1, float("inf"))]
)
def test_limits_that_let_nothing_through_or_are_none_are_refused(concurrency: int, per_second: float | None) -> None:
    with pytest.raises(SettingsError, match="expected"):
        Transfer(work=nothing, failed=ignore, concurrency=concurrency, per_second=per_second)


# --- pace --------------------------------------------------------------------------------------------------------


class Clock:
    """The event loop's clock and sleep, without waiting: whoever sleeps is back at just the right moment, or late."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, late_seconds: float = 0.0) -> None:
        self.now = 100.0
        self.late_seconds = late_seconds
        monkeypatch.setattr(transfer.asyncio, "get_running_loop", lambda: self)
        monkeypatch.setattr(transfer.asyncio, "sleep", self.sleep)

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late_seconds


def passes(clock: Clock, pace: Pace, count: int) -> list[float]:
    async def through() -> list[float]:
        times = []
        for _ in range(count):
            await pace.turn()
            times.append(clock.now)
        return times

    coroutine = through()
    try:
        coroutine.send(None)
    except StopIteration as end:
        return list(end.value)
    raise AssertionError("it waited for something else")


def test_turns_are_evenly_spaced_from_the_first_on(monkeypatch: pytest.MonkeyPatch) -> None:
    times = passes(Clock(monkeypatch), Pace(4), 5)
    assert times == pytest.approx([100.0, 100.25, 100.5, 100.75, 101.0])


def test_whoever_is_late_costs_nobody_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    times = passes(Clock(monkeypatch, late_seconds=0.1), Pace(4), 5)
    assert times == pytest.approx([100.0, 100.35, 100.6, 100.85, 101.1])


def test_turns_that_nobody_took_are_not_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pace = Clock(monkeypatch), Pace(4)
    passes(clock, pace, 2)
    clock.now += 60
    start = clock.now
    assert passes(clock, pace, 3) == pytest.approx([start, start + 0.25, start + 0.5])


def test_fewer_than_one_in_a_second_is_a_pace_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert passes(Clock(monkeypatch), Pace(0.5), 3) == pytest.approx([100.0, 102.0, 104.0])


def test_jobs_take_turns_however_many_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = 0

    async def turn(_: Pace) -> None:
        nonlocal turns
        turns += 1

    monkeypatch.setattr(Pace, "turn", turn)
    asyncio.run(Transfer(work=nothing, failed=ignore, per_second=1.0).all(found(range(200))))
    assert turns == 200


# --- failures ----------------------------------------------------------------------------------------------------


def test_a_failed_job_is_told_and_the_others_are_done() -> None:
    told: list[tuple[int, StoreError]] = []
    error = StoreUnavailableError("no")
    moved: list[Progress] = []
    work = failing(lambda job: job % 3 == 0, error)
    asyncio.run(Transfer(work=work, failed=lambda *it: told.append(it), on_progress=moved.append).all(found(range(30))))
    assert sorted(job for job, _ in told) == list(range(0, 30, 3))
    assert {why for _, why in told} == {error}
    assert moved[-1] == Progress(done=30, total=30, counted=True, done_bytes=20)


@pytest.mark.parametrize(("concurrency", "patience"), [(1, 16), (4, 16), (40, 40)])
def test_failures_in_a_row_end_it(concurrency: int, patience: int) -> None:
    told: list[int] = []
    begun: list[int] = []

    async def work(job: int) -> int:
        begun.append(job)
        await asyncio.sleep(0)
        raise StoreUnavailableError(f"job {job}")

    moving = Transfer(work=work, failed=lambda job, _: told.append(job), concurrency=concurrency)
    with pytest.raises(StoreUnavailableError, match=f"job {patience - 1}"):
        asyncio.run(moving.all(found(range(1000))))
    assert len(told) == patience - 1
    assert len(begun) <= patience + concurrency


def test_a_success_now_and_then_keeps_it_going() -> None:
    told: list[int] = []
    work = failing(lambda job: job % 16 != 15, StoreUnavailableError("no"))
    asyncio.run(Transfer(work=work, failed=lambda job, _: told.append(job), concurrency=1).all(found(range(160))))
    assert len(told) == 150


def test_fewer_failures_than_patience_are_the_callers_to_judge() -> None:
    told: list[int] = []
    work = failing(lambda _: True, StoreAccessError("no"))
    asyncio.run(Transfer(work=work, failed=lambda job, _: told.append(job)).all(found(range(15))))
    assert len(told) == 15


def test_objects_that_are_not_there_do_not_mean_that_the_store_is_down() -> None:
    told: list[int] = []
    work = failing(lambda _: True, ObjectNotFoundError("no"))
    moving = Transfer(work=work, failed=lambda job, _: told.append(job), concurrency=2)
    asyncio.run(moving.all(found(range(100))))
    assert len(told) == 100


def test_a_full_disk_ends_it_at_once() -> None:
    told: list[int] = []
    begun: list[int] = []

    async def work(job: int) -> int:
        begun.append(job)
        await asyncio.sleep(0)
        raise CannotWriteError("full")

    with pytest.raises(CannotWriteError, match="full"):
        asyncio.run(Transfer(work=work, failed=lambda job, _: told.append(job), concurrency=3).all(found(range(100))))
    assert told == []
    assert len(begun) == 3


@pytest.mark.parametrize("error", [StoreAccessError("listing"), RuntimeError("a bug")])
def test_an_error_where_jobs_are_found_ends_it(error: Exception) -> None:
    async def jobs() -> AsyncIterator[int]:
        for job in range(20):
            yield job
        raise error

    with pytest.raises(type(error)) as caught:
        asyncio.run(Transfer(work=nothing, failed=ignore, concurrency=2).all(jobs()))
    assert caught.value is error


def test_a_bug_in_a_job_is_no_failure_of_the_stores() -> None:
    async def work(_: int) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(Transfer(work=work, failed=ignore).all(found(range(100))))


def test_the_error_that_ends_it_keeps_its_cause() -> None:
    async def work(_: int) -> int:
        raise CannotWriteError("full") from OSError("ENOSPC")

    with pytest.raises(CannotWriteError) as caught:
        asyncio.run(Transfer(work=work, failed=ignore).all(found(range(3))))
    assert isinstance(caught.value.__cause__, OSError)


# --- progress ----------------------------------------------------------------------------------------------------


def test_progress_grows_and_ends_at_the_total() -> None:
    told: list[Progress] = []

    async def work(job: int) -> int:
        await asyncio.sleep(0)
        return job

    asyncio.run(Transfer(work=work, failed=ignore, on_progress=told.append, concurrency=3).all(found(range(10))))
    assert [now.done for now in told] == sorted(now.done for now in told)
    assert all(now.done <= now.total for now in told)
    assert [now.done for now in told if now.counted][-1] == 10
    assert told[-1] == Progress(done=10, total=10, counted=True, done_bytes=sum(range(10)))
    assert len(told) == 11, "each job, and once when all were found"


def test_no_jobs_at_all_are_told_too() -> None:
    told: list[Progress] = []
    asyncio.run(Transfer(work=nothing, failed=ignore, on_progress=told.append).all(found([])))
    assert told == [Progress(counted=True)]


# --- the end -----------------------------------------------------------------------------------------------------


def others() -> set["asyncio.Task[object]"]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.mark.parametrize("how", ["cancelled", "failed", "done"])
def test_no_task_is_left(how: str) -> None:
    closed = threading.Event()

    async def jobs() -> AsyncIterator[int]:
        try:
            for job in range(100 if how != "done" else 5):
                yield job
        finally:
            closed.set()

    async def work(job: int) -> int:
        if how == "cancelled":
            await asyncio.sleep(60)
        if how == "failed" and job == 3:
            raise CannotWriteError("full")
        return 1

    async def main() -> None:
        moving = asyncio.create_task(Transfer(work=work, failed=ignore, concurrency=4).all(jobs()))
        await asyncio.sleep(0.01)
        moving.cancel()
        with contextlib.suppress(asyncio.CancelledError, CannotWriteError):
            await moving
        assert others() == set()
        assert closed.is_set(), "what finds the jobs is closed, too"

    asyncio.run(main())


@pytest.mark.filterwarnings("error")
def test_an_interrupt_in_a_job_ends_them_all() -> None:
    under_way: set[int] = set()

    async def work(job: int) -> int:
        under_way.add(job)
        try:
            await asyncio.sleep(0 if job == 3 else 60)
            raise KeyboardInterrupt
        finally:
            under_way.discard(job)

    with pytest.raises(KeyboardInterrupt):
        transfer.run(Transfer(work=work, failed=ignore, concurrency=4).all(found(range(100))))
    assert under_way == set()
    gc.collect()


def test_runs_without_a_loop_and_inside_one() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    async def notebook() -> int:
        return transfer.run(answer()) + transfer.run(answer())

    assert transfer.run(answer()) == 42
    assert asyncio.run(notebook()) == 84


def test_an_error_inside_a_running_loop_comes_out() -> None:
    async def fail() -> int:
        raise StoreAccessError("no")

    async def notebook() -> None:
        transfer.run(fail())

    with pytest.raises(StoreAccessError, match="no"):
        asyncio.run(notebook())


def test_an_interrupted_notebook_ends_the_job_first() -> None:
    cancelled = threading.Event()

    async def long() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def notebook() -> None:
        with pytest.raises(KeyboardInterrupt):
            transfer.run(long())
        assert cancelled.is_set()

    loop = asyncio.new_event_loop()  # a notebook's loop leaves the interrupt to Python; asyncio.run's would not
    loop.run_until_complete(notebook())
    loop.close()
