"""A process that runs one trial after the other, until the study's budget or time is used up.

Refuses to outlive the process that started it: without it, it stops where its trial can go on later.
"""

import multiprocessing
import os
import signal
import socket
import threading
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import optuna
from optuna.trial import TrialState

from bintally.errors import BintallyError, StoppedError
from bintally.settings import RunSettings
from bintally.tuning.alive import alive
from bintally.tuning.objective import Objective, Train, check_hopeful, tidy
from bintally.tuning.pruning import make_pruner
from bintally.tuning.space import Space
from bintally.tuning.storage import Place, translated
from bintally.tuning.study import StudyFacts, join_study
from bintally.tuning.trials import is_over, list_trials, try_again

_LAST_SECONDS = 30.0  # to save a trial's state in, once nobody waits for it
_RANDOM_TRIALS = 10  # before the sampler learns from what it saw


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a worker is told.

    Attributes:
        place: where the study is.
        facts: what it is a study of.
        space: what to try.
        base: the settings around it.
        make_train: gives what trains a trial, in the worker's own process.
        budget: in trials, over the whole study; None: none.
        until: when no trial is begun any more, as `time.time()` has it; None: never.
        prune: whether poor trials end early.
        place_of: the worker's number among those that were started together.
        workers: how many those are.
        begun: how many trials there were when it was started.
    """

    place: Place
    facts: StudyFacts
    space: Space
    base: RunSettings
    make_train: "MakeTrain"
    budget: int | None
    until: float | None
    prune: bool
    place_of: int = 0
    workers: int = 1
    begun: int = 0

    @property
    def trials(self) -> Path:
        """The folder of the trials' folders."""
        return self.place.folder / "trials"

    @property
    def lives(self) -> Path:
        """The folder in which workers hold their locks."""
        return self.place.folder / "workers"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnPhotos:
    """Makes what trains a trial on a dataset's photos; small, so that it travels to another process."""

    data: Path
    weights: Path | None
    limit_photos: int | None
    base: RunSettings

    def __call__(self, place: int) -> Train:
        """In the worker's process: torch is imported here, not before."""
        from bintally.data.manifest import read_manifest  # noqa: PLC0415
        from bintally.tuning.subset import limit_photos  # noqa: PLC0415
        from bintally.tuning.trainer import FitTrial, take_gpu  # noqa: PLC0415

        take_gpu(place)
        manifest = limit_photos(read_manifest(self.data), self.base, self.limit_photos)
        return FitTrial(manifest=manifest, weights=self.weights)


MakeTrain = Callable[[int], Train]


def run_worker(orders: Orders, errors: Connection) -> None:
    """The body of a worker's process: what ends it that it can name goes into `errors`, as (class, text)."""
    threads = max(1, len(os.sched_getaffinity(0)) // orders.workers) if hasattr(os, "sched_getaffinity") else 1
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        work(orders)
    except StoppedError:
        pass  # as it was told to
    except BintallyError as error:
        errors.send((type(error).__name__, str(error)))


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LAST_SECONDS)
    os._exit(1)


def work(orders: Orders) -> None:
    """Run trials, one after the other.

    Raises:
        BintallyError: what no other trial would escape, or that this worker was told to stop.
    """
    with translated(orders.place), alive(orders.lives) as name:
        study = join_study(orders.place, orders.facts, sampler=_sampler(orders), pruner=make_pruner(prune=orders.prune))
        objective = Objective(
            space=orders.space,
            base=orders.base,
            trials=orders.trials,
            train=orders.make_train(orders.place_of),
            worker=name,
            budget=orders.budget,
        )
        while not is_over(study, orders.budget) and not (orders.until and time.time() >= orders.until):
            _run_one(study, objective)
            trials = list_trials(study)
            tidy(orders.trials, trials)
            check_hopeful(trials)


def _run_one(study: optuna.Study, objective: Objective) -> None:
    """One trial; broken off, it is put back into the queue.

    Raises:
        BaseException: what no other trial would escape.
    """
    ran: list[int] = []

    def train(trial: optuna.Trial) -> float:
        ran.append(trial.number)
        return objective(trial)

    try:
        study.optimize(train, n_trials=1, catch=(Exception,), gc_after_trial=True)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        # Another process held this one for dead, and has the trial tried again.
        if not ran or study.get_trials(deepcopy=False)[ran[0]].state is not TrialState.FAIL:
            raise
    finally:
        if objective.fatal is not None:
            try_again(study, study.get_trials(deepcopy=False)[ran[0]], died=False)
    if objective.fatal is not None:
        raise objective.fatal


def _sampler(orders: Orders) -> optuna.samplers.BaseSampler:
    """TPE; workers draw different numbers, one that is started again goes on with others."""
    seed = f"{orders.base.seed}/{orders.begun}/{orders.place_of}/{socket.gethostname()}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            n_startup_trials=_RANDOM_TRIALS,
            constant_liar=True,  # what others are trying counts as poor, or all would try alike
            seed=zlib.crc32(seed.encode()),
        )
