"""Which trials end early."""

from collections.abc import Sequence

import optuna
import pytest
from optuna.trial import TrialState

from bintally.tuning.pruning import FIRST_EPOCH, make_pruner
from bintally.tuning.study import passing_study

GOOD = (3.0, 2.0, 1.0, 0.9, 0.8)


def ended_at(curve: Sequence[float], before: Sequence[Sequence[float]], *, prune: bool = True) -> int:
    """The epoch that a trial ends after, where others have run out before."""
    study = passing_study(make_pruner(prune=prune))
    for each in before:
        trial = study.ask()
        for epoch, loss in enumerate(each, 1):
            trial.report(loss, epoch)
        study.tell(trial, min(each))
    trial = study.ask()
    for epoch, loss in enumerate(curve, 1):
        trial.report(loss, epoch)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch
    return len(curve)


@pytest.mark.parametrize(
    ("curve", "before", "epoch"),
    [
        ((9.0,) * 5, [GOOD] * 5, 3),
        ((9.0,) * 5, [GOOD] * 4, 5),
        ((9.0,) * 5, [GOOD[:2]] * 9, 5),
        ((9.0,) * 5, [GOOD] * 2 + [GOOD[:2]] * 9, 5),
        ((9.0,) * 5, [GOOD] * 3 + [GOOD[:2]] * 9, 3),
        (GOOD, [GOOD] * 9, 5),
        ((1.0, 9.0, 9.0, 9.0, 9.0), [GOOD] * 9, 4),
        ((3.0, 2.5, 1.5, 1.2, 1.0), [GOOD] * 4 + [(9.0,) * 5] * 5, 5),
        ((float("nan"),) * 5, [GOOD] * 5, 3),
    ],
    ids=[
        "poor: at the third epoch",
        "four trials are too few",
        "no trial came so far",
        "two that came so far are too few",
        "three are enough",
        "as good as the others",
        "its best epoch counts",
        "better than most",
        "never a number",
    ],
)
def test_a_trial_ends_that_is_worse_than_most(
    curve: Sequence[float], before: Sequence[Sequence[float]], epoch: int
) -> None:
    assert ended_at(curve, before) == epoch
    assert ended_at(curve, before, prune=False) == len(curve)


def test_the_default_prunes() -> None:
    assert isinstance(make_pruner(), optuna.pruners.MedianPruner)
    assert FIRST_EPOCH == 3
