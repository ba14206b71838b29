"""One trial: its settings trained in a folder of its own, judged by validation loss after every epoch.

Never looks at the test split. Refuses to end a study for one trial's fault: it is recorded with its reason.
"""

import math
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import optuna

from bintally.errors import BintallyError, ManifestError, PhotoError, SettingsError, StoppedError, StoreError
from bintally.settings import RunSettings, read_settings
from bintally.tuning.space import Space, with_values
from bintally.tuning.study import comparable
from bintally.tuning.trials import Attribute, State, Trial, best_of, first_number, is_surplus

_EVERY_TRIALS = (ManifestError, PhotoError, StoreError)
"""What no other settings would mend."""
_ALIKE = 5  # so many trials that fail alike, the study's first, are the study's fault
SETTINGS_NAME = "settings.toml"
_KEPT = (SETTINGS_NAME, "curves.csv", "health.json")
_WEIGHTS = ("checkpoint.json", "checkpoint.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is at an epoch's end.

    Attributes:
        losses: validation cross entropy after each epoch so far, those before it was broken off included.
        steps: optimiser steps so far.
        steps_per_epoch: of this run.
        seconds: so far.
    """

    losses: tuple[float, ...]
    steps: int
    steps_per_epoch: int
    seconds: float


class Train(Protocol):
    """Trains one run into a folder, going on where it was broken off, and tells of each epoch."""

    def __call__(self, settings: RunSettings, run: Path, on_epoch: Callable[[Progress], None]) -> Progress:
        """Whatever `on_epoch` raises ends the run."""


@dataclass(slots=True, kw_only=True)
class Objective:
    """Called by Optuna with each trial.

    Attributes:
        space: what to try.
        base: the settings around it.
        trials: the folder of the trials' folders.
        train: how.
        worker: who runs them.
        budget: of the whole study, in trials.
        fatal: why this worker must stop, once it must.
    """

    space: Space
    base: RunSettings
    trials: Path
    train: Train
    worker: str
    budget: int | None
    fatal: BaseException | None = None

    def __call__(self, trial: optuna.Trial) -> float:
        """The lowest validation cross entropy of all epochs.

        Raises:
            Exception: if the trial failed; its reason is recorded, or `fatal` is set.
        """
        trial.set_user_attr(Attribute.WORKER, self.worker)
        if is_surplus(trial.study, trial, self.budget):
            trial.set_user_attr(Attribute.SURPLUS, True)
            raise RuntimeError("beyond the budget: another worker has begun the last trial")
        run = folder_of(self.trials, first_number(trial))
        try:
            return self._train(trial, run)
        except (optuna.TrialPruned, optuna.exceptions.UpdateFinishedTrialError):
            raise
        except (KeyboardInterrupt, StoppedError, *_EVERY_TRIALS) as stop:
            self.fatal = stop
            raise
        except Exception as error:
            trial.set_user_attr(Attribute.REASON, reason_of(error, run))
            raise

    def _train(self, trial: optuna.Trial, run: Path) -> float:
        settings = with_values(self.base, self.space.suggest(trial), name=f"trial {first_number(trial)}")
        trial.set_user_attr(Attribute.PLANNED_EPOCHS, settings.epochs)
        clear_other(run, settings)
        judge = _Judge(trial, settings.epochs)
        progress = self.train(settings, run, judge)
        judge.record(progress)
        return lowest_of(progress.losses)


def lowest_of(losses: Iterable[float]) -> float:
    """The lowest loss that is a number.

    Raises:
        SettingsError: if none is.

    >>> lowest_of([float("nan"), 2.0, 1.5, float("inf")])
    1.5
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        raise SettingsError("the loss was never a number; try a lower rate")
    return min(finite)


def folder_of(trials: Path, number: int) -> Path:
    """A trial's folder.

    >>> folder_of(Path("trials"), 12).as_posix()
    'trials/00012'
    """
    return trials / f"{number:05d}"


def reason_of(error: BaseException, run: Path) -> str:
    r"""Why a trial failed, in one line that reads alike for trials that failed alike.

    >>> reason_of(ValueError("a\nb"), Path("x"))
    'ValueError: a'
    """
    first = (str(error).splitlines() or [""])[0].replace(f"{run}: ", "")
    first = re.sub(r"^trial \d+: ", "", first)
    return first if isinstance(error, BintallyError) else f"{type(error).__name__}: {first}"


@dataclass(slots=True)
class _Judge:
    """Reports epochs as they come, each once, with what they cost."""

    trial: optuna.Trial
    epochs: int
    reported: int = 0

    def __call__(self, progress: Progress) -> None:
        """Report.

        Raises:
            TrialPruned: if the epochs that are left are not worth their time.
        """
        self.record(progress)
        if len(progress.losses) < self.epochs and self.trial.should_prune():
            raise optuna.TrialPruned

    def record(self, progress: Progress) -> None:
        for epoch in range(self.reported, len(progress.losses)):
            self.trial.report(progress.losses[epoch], epoch + 1)
        self.reported = max(self.reported, len(progress.losses))
        if progress.steps_per_epoch:
            self.trial.set_user_attr(Attribute.STEPS, progress.steps)
            self.trial.set_user_attr(Attribute.STEPS_PER_EPOCH, progress.steps_per_epoch)
        self.trial.set_user_attr(Attribute.SECONDS, round(progress.seconds, 1))


def clear_other(run: Path, settings: RunSettings) -> None:
    """Remove a run of other settings, which another study left in this folder."""
    path = run / SETTINGS_NAME
    if not path.exists():
        return
    try:
        there = comparable(read_settings(path))
    except SettingsError:
        there = {}
    if there != comparable(settings):
        shutil.rmtree(run)


def tidy(folder: Path, trials: list[Trial]) -> None:
    """Remove weights and states of trials that are over, but for the best one's weights."""
    best = best_of(trials)
    for trial in trials:
        run = folder_of(folder, trial.number)
        if not (trial.is_over and run.is_dir()):
            continue
        kept = (*_KEPT, *_WEIGHTS) if trial is best else _KEPT
        for path in run.iterdir():
            if path.name not in kept and path.is_file():
                path.unlink(missing_ok=True)


def check_hopeful(trials: list[Trial]) -> None:
    """Refuse to go on where every trial fails alike.

    Raises:
        SettingsError: with what they all say.
    """
    first = trials[:_ALIKE]
    reasons = {trial.reason for trial in first if trial.state is State.FAILED}
    if len(first) == _ALIKE and len(reasons) == 1 and all(trial.state is State.FAILED for trial in first):
        raise SettingsError(
            f"the first {_ALIKE} trials all failed alike: {reasons.pop()}. Mend that, then begin another --study"
        )
