"""What a pruner would have spared: trials that all ran out are gone through again, as if it had been there.

Refuses trials that were pruned: nobody knows where they would have gone.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import optuna
from optuna.trial import TrialState

from bintally.errors import SettingsError
from bintally.tuning.study import passing_study
from bintally.tuning.trials import State, Trial

MakePruner = Callable[[], optuna.pruners.BasePruner]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What became of the trials, in one order.

    Attributes:
        steps: optimiser steps that were run.
        all_steps: that would have been run without a pruner.
        pruned: the numbers of trials that were ended early.
        regret: by how much the best loss that is left is above the best of all; 0: the best trial was kept.
    """

    steps: int
    all_steps: int
    pruned: tuple[int, ...]
    regret: float

    @property
    def spared(self) -> float:
        """The share of steps that was not run."""
        return 1 - self.steps / self.all_steps


def recorded(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that ran out.

    Raises:
        SettingsError: if one was pruned, or fewer than two ran out.
    """
    if any(trial.state is State.PRUNED for trial in trials):
        raise SettingsError("this study was pruned, so that its curves are not whole: tune another with --no-prune")
    whole = [trial for trial in trials if trial.state is State.DONE and trial.steps_per_epoch]
    if len(whole) < 2:  # noqa: PLR2004
        raise SettingsError(f"expected two or more trials that ran out, found {len(whole)}")
    return whole


def replay(trials: Sequence[Trial], make_pruner: MakePruner, *, workers: int = 1) -> Replay:
    """Go through whole curves in the order given, each worker taking the next trial when it is done with one.

    Args:
        trials: those that ran out, in the order in which they are begun.
        make_pruner: a fresh pruner.
        workers: how many train at once; a step takes each of them equally long.
    """
    study = passing_study(make_pruner())
    waiting = iter(trials)
    runs: list[tuple[int, int, Iterator[int]]] = []  # (steps so far in all, worker, the epochs left)
    kept: list[Trial] = []
    pruned: list[Trial] = []
    for worker in range(workers):
        heapq.heappush(runs, (0, worker, _run(study, waiting, kept, pruned)))
    steps = 0
    while runs:
        clock, worker, run = heapq.heappop(runs)
        taken = next(run, None)
        if taken is not None:
            steps += taken
            heapq.heappush(runs, (clock + taken, worker, run))
    best = min(trial.value for trial in trials if trial.value is not None)
    left = min((trial.value for trial in kept if trial.value is not None), default=float("inf"))
    return Replay(
        steps=steps,
        all_steps=sum(len(trial.curve) * trial.steps_per_epoch for trial in trials),
        pruned=tuple(sorted(trial.number for trial in pruned)),
        regret=left - best,
    )


def _run(study: optuna.Study, waiting: Iterator[Trial], kept: list[Trial], pruned: list[Trial]) -> Iterator[int]:
    """One worker: gives the steps of each epoch before it judges it, as they take their time before."""
    for trial in waiting:
        running = study.ask()
        for epoch, loss in enumerate(trial.curve, 1):
            yield trial.steps_per_epoch
            running.report(loss, epoch)
            if epoch < len(trial.curve) and running.should_prune():
                study.tell(running, state=TrialState.PRUNED)
                pruned.append(trial)
                break
        else:
            study.tell(running, trial.value)
            kept.append(trial)


def with_patience(trial: Trial, patience: int) -> Trial:
    """The trial as early stopping would have left it."""
    best_at = 0
    for place, loss in enumerate(trial.curve):
        if loss < trial.curve[best_at]:
            best_at = place
        elif place - best_at >= patience:
            curve = trial.curve[: place + 1]
            return replace(trial, curve=curve, value=min(curve))
    return trial
