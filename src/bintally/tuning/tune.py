"""Tuning from its beginning to its results: workers started, watched and replaced, results written.

The process that does this trains nothing itself. Refuses to go on where workers die again and again.
"""

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import optuna

from bintally import errors
from bintally.errors import SettingsError, StoppedError
from bintally.training.stopping import StopSignals
from bintally.tuning.alive import liveness, sweep
from bintally.tuning.objective import tidy
from bintally.tuning.results import Results, write_results
from bintally.tuning.space import Value, flatten
from bintally.tuning.storage import translated
from bintally.tuning.study import join_study
from bintally.tuning.trials import State, Trial, is_over, list_trials, requeue_dead
from bintally.tuning.worker import Orders, run_worker

OnProgress = Callable[[list[Trial]], None]
_MOST_REPLACED = 5
_LOOK_SECONDS = 1.0
_STOP_SECONDS = 30.0  # to save the trials' states in
_context = multiprocessing.get_context("spawn")  # a fork would copy locks and threads


def tune(orders: Orders, *, on_progress: OnProgress = lambda _: None) -> Results:
    """Run the study's trials, or what is left of them, and write what was found.

    Args:
        orders: what to try, on what, how long.
        on_progress: is given all trials, about once a second.

    Raises:
        SettingsError: if the study is of something else, or no trial came to its end.
        StoppedError: if it was told to stop; the results so far are written, and the same command goes on.
        StoreError: if the study cannot be read or written.
    """
    with translated(orders.place):
        study = join_study(orders.place, orders.facts)
        is_alive = liveness(orders.lives, is_shared=not orders.place.url)
        _enqueue_recipe(study, orders)

        def look() -> list[Trial]:
            requeue_dead(study, is_alive)
            trials = list_trials(study)
            on_progress(trials)
            return trials

        signals = StopSignals()
        try:
            with signals.restored():
                signals.listen()
                _run(orders, study, look, signals)
        finally:
            trials = look()
            sweep(orders.lives)
            tidy(orders.trials, trials)
            results = write_results(orders.place, orders.facts, orders.space, orders.base, trials)
    if results.best is None:
        raise SettingsError(_no_best(orders, trials))
    return results


def _no_best(orders: Orders, trials: list[Trial]) -> str:
    failed = [trial for trial in trials if trial.state is State.FAILED]
    why = f", {len(failed)} failed, the last: {failed[-1].reason}" if failed else ""
    return f"{orders.place}: no trial came to its end ({len(trials)} begun{why})"


def _enqueue_recipe(study: optuna.Study, orders: Orders) -> None:
    """A new study tries the recipe's own values first, where the space holds them: they are what is to be beaten."""
    own = flatten(orders.base)
    values: dict[str, Value] = {key: own[key] for key in orders.space.parameters}  # type: ignore[misc]  # it suits
    if orders.space.holds(values) and not study.get_trials(deepcopy=False):
        study.enqueue_trial(values)


def _run(orders: Orders, study: optuna.Study, look: Callable[[], list[Trial]], signals: StopSignals) -> None:
    """Until the budget or the time is used up.

    Raises:
        StoppedError: if a signal came.
        BintallyError: that a worker met.
        RuntimeError: if one failed for a reason it could not name.
    """
    crew = _Crew(orders)
    try:
        while True:
            trials = look()
            in_time = orders.until is None or time.time() < orders.until
            if in_time and not is_over(study, orders.budget):
                crew.fill(begun=len(trials))
            if not crew.processes:
                return
            crew.wait()
            if signals.signum:
                raise StoppedError(
                    "stopped; what was found so far is written, and the same command goes on", signum=signals.signum
                )
    finally:
        crew.stop()


@dataclass(slots=True)
class _Crew:
    """The workers on this machine."""

    orders: Orders
    processes: dict[int, tuple[SpawnProcess, Connection]] = field(default_factory=dict)
    replaced: int = 0

    def fill(self, *, begun: int) -> None:
        """Start those that are missing."""
        for place in range(self.orders.workers):
            if place not in self.processes:
                here, there = _context.Pipe(duplex=False)
                orders = replace(self.orders, place_of=place, begun=begun)
                process = _context.Process(target=run_worker, args=(orders, there), name=f"worker-{place}")
                with _ignored_interrupts():
                    process.start()
                there.close()
                self.processes[place] = process, here

    def wait(self) -> None:
        """Wait a moment, or until a worker ends.

        Raises:
            BintallyError: if it ended for a reason that the others would meet, too.
        """
        wait([process.sentinel for process, _ in self.processes.values()], timeout=_LOOK_SECONDS)
        for place, (process, messages) in list(self.processes.items()):
            if process.exitcode is None:
                continue
            del self.processes[place]
            _raise_met(messages)
            if process.exitcode > 0:
                raise RuntimeError("a worker failed for a reason it could not name: its traceback stands above")
            self.replaced += process.exitcode < 0
            if self.replaced > _MOST_REPLACED:
                raise SettingsError(
                    f"workers were killed {self.replaced} times, the last by signal {-process.exitcode} (9: perhaps "
                    "for want of memory). Fewer --workers, smaller batches or smaller photos take less of it"
                )

    def stop(self) -> None:
        """Have them save and stop."""
        for process, _ in self.processes.values():
            process.terminate()
        until = time.monotonic() + _STOP_SECONDS
        try:
            for process, _ in self.processes.values():
                process.join(max(0.0, until - time.monotonic()))
        finally:  # also after a second Ctrl-C
            for process, _ in self.processes.values():
                process.kill()
                process.join()


def _raise_met(messages: Connection) -> None:
    """Raise what a worker met, if it could say so."""
    try:
        if messages.poll():
            kind, text = messages.recv()
            raise getattr(errors, kind)(text)
    except EOFError:
        pass
    finally:
        messages.close()


@contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """What is started in here never sees Ctrl-C: it is told to stop otherwise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
