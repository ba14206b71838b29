"""A study's trials: how far each is, what it cost, and what becomes of one whose worker died.

A trial that was broken off is tried again under a new number of Optuna's; here it keeps its first number, which also
names its folder. Refuses to try again for ever what kills its workers.
"""

import math
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

import optuna
from optuna.trial import FrozenTrial, TrialState

from bintally.tuning.space import Value

MOST_DEATHS = 3  # of workers, under one trial
_DIED = "its workers died under it: out of memory?"
_UNMARKED_SECONDS = 60  # a trial that no worker has put its name on for so long has none


class Attribute(StrEnum):
    """What a trial holds besides its values."""

    WORKER = "worker"
    FIRST = "first"  # the number it had when it was first tried
    RETRY_OF = "retry_of"  # the number it had just before
    DEATHS = "deaths"
    SURPLUS = "surplus"  # begun by two workers at once, one of them beyond the budget
    PLANNED_EPOCHS = "planned_epochs"
    STEPS_PER_EPOCH = "steps_per_epoch"
    STEPS = "steps"
    SECONDS = "seconds"
    REASON = "reason"


_COST = (Attribute.STEPS_PER_EPOCH, Attribute.STEPS, Attribute.SECONDS)


class State(StrEnum):
    """How far a trial is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    PRUNED = "pruned"
    FAILED = "failed"


_STATES = {
    TrialState.WAITING: State.WAITING,
    TrialState.RUNNING: State.RUNNING,
    TrialState.COMPLETE: State.DONE,
    TrialState.PRUNED: State.PRUNED,
    TrialState.FAIL: State.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial, as the results show it.

    Attributes:
        number: its first; also its folder's name.
        state: how far it is.
        params: settings by dotted key.
        curve: validation loss after each epoch.
        value: the lowest of them, once it is done.
        planned_epochs: as its settings say.
        steps: optimiser steps that were run.
        steps_per_epoch: 0 before the first epoch's end.
        seconds: that it took, broken-off attempts that it went on from included.
        reason: why it failed; else empty.
        worker: who runs or ran it.
    """

    number: int
    state: State
    params: Mapping[str, Value]
    curve: tuple[float, ...]
    value: float | None
    planned_epochs: int
    steps: int
    steps_per_epoch: int
    seconds: float
    reason: str
    worker: str

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state not in (State.WAITING, State.RUNNING)

    @property
    def lowest(self) -> float:
        """The lowest loss so far; infinite before the first epoch's end."""
        without = math.inf if self.value is None else self.value  # where a cloud's log could not be read
        return min((loss for loss in self.curve if math.isfinite(loss)), default=without)

    @property
    def planned_steps(self) -> int:
        """Of all its epochs."""
        return self.planned_epochs * self.steps_per_epoch


def list_trials(study: optuna.Study) -> list[Trial]:
    """Every trial once, by number."""
    return sorted((_trial(each) for each in _counted(study)), key=lambda trial: trial.number)


def _counted(study: optuna.Study) -> list[FrozenTrial]:
    """Without attempts that were made again, and those beyond the budget."""
    every = study.get_trials(deepcopy=False)
    again = {each.user_attrs.get(Attribute.RETRY_OF) for each in every}
    return [each for each in every if each.number not in again and Attribute.SURPLUS not in each.user_attrs]


def _trial(trial: FrozenTrial) -> Trial:
    held = trial.user_attrs
    state = _STATES[trial.state]
    return Trial(
        number=first_number(trial),
        state=state,
        params=dict(trial.params),
        curve=tuple(trial.intermediate_values[step] for step in sorted(trial.intermediate_values)),
        value=trial.value if state is State.DONE else None,
        planned_epochs=held.get(Attribute.PLANNED_EPOCHS, 0),
        steps=held.get(Attribute.STEPS, 0),
        steps_per_epoch=held.get(Attribute.STEPS_PER_EPOCH, 0),
        seconds=held.get(Attribute.SECONDS, 0.0),
        reason=held.get(Attribute.REASON, _DIED) if state is State.FAILED else "",
        worker=held.get(Attribute.WORKER, ""),
    )


def first_number(trial: FrozenTrial | optuna.Trial) -> int:
    """The number that a trial had when it was first tried."""
    return int(trial.user_attrs.get(Attribute.FIRST, trial.number))


def best_of(trials: list[Trial]) -> Trial | None:
    """The trial with the lowest validation loss, of those that ran to their end; None before the first."""
    done = [trial for trial in trials if trial.value is not None]
    return min(done, key=lambda trial: (trial.value, trial.number), default=None)


def is_over(study: optuna.Study, budget: int | None) -> bool:
    """Whether as many trials as the budget has are begun or done; one that waits to be tried again is not."""
    return budget is not None and sum(each.state is not TrialState.WAITING for each in _counted(study)) >= budget


def is_surplus(study: optuna.Study, trial: optuna.Trial, budget: int | None) -> bool:
    """Whether two workers began the last trial at once, and this is the later one."""
    first = first_number(trial)
    return budget is not None and sum(first_number(each) < first for each in _counted(study)) >= budget


def try_again(study: optuna.Study, trial: FrozenTrial, *, died: bool = True) -> None:
    """Put a failed trial back into the queue, with the same values and the same folder.

    Args:
        study: its study.
        trial: it.
        died: its worker died under it; that may be the trial's own fault, so it is not repeated for ever.
    """
    deaths = trial.user_attrs.get(Attribute.DEATHS, 0) + died
    if deaths >= MOST_DEATHS:
        return
    held = {key: trial.user_attrs[key] for key in _COST if key in trial.user_attrs}
    held |= {Attribute.FIRST: first_number(trial), Attribute.RETRY_OF: trial.number, Attribute.DEATHS: deaths}
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={str(key): value for key, value in held.items()},
        )
    )


def requeue_dead(study: optuna.Study, is_alive: Callable[[str], bool | None]) -> None:
    """Have the trials of dead workers tried again.

    Args:
        study: the study.
        is_alive: by a worker's name; None: it is elsewhere, and only its heartbeat tells.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)  # of a database; a journal has no heartbeats
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_dead(trial, is_alive):
            with suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):  # another process has seen to it
                study.tell(trial.number, state=TrialState.FAIL)
                try_again(study, trial)


def _is_dead(trial: FrozenTrial, is_alive: Callable[[str], bool | None]) -> bool:
    worker = trial.user_attrs.get(Attribute.WORKER)
    if worker is not None:
        return is_alive(worker) is False
    begun = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    return time.time() - begun > _UNMARKED_SECONDS
