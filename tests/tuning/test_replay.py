"""What a pruner would have spared."""

import optuna
import pytest

from bintally.errors import SettingsError
from bintally.tuning.replay import recorded, replay, with_patience
from bintally.tuning.trials import State, Trial


def trial(number: int, *curve: float, steps: int = 10, state: State = State.DONE) -> Trial:
    return Trial(
        number=number,
        state=state,
        params={},
        curve=curve,
        value=min(curve) if state is State.DONE else None,
        planned_epochs=len(curve),
        steps=steps * len(curve),
        steps_per_epoch=steps,
        seconds=1.0,
        reason="",
        worker="w",
    )


GOOD = [trial(number, 3.0, 2.0 + number / 10, 1.0 + number / 10) for number in range(4)]
POOR = trial(9, 5.0, 5.0, 5.0)


def median() -> optuna.pruners.BasePruner:
    return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)


def test_without_a_pruner_nothing_is_spared() -> None:
    result = replay([*GOOD, POOR], optuna.pruners.NopPruner)
    assert (result.steps, result.all_steps, result.pruned, result.regret) == (150, 150, (), 0)
    assert result.spared == 0


def test_what_is_pruned_is_not_run() -> None:
    result = replay([*GOOD, POOR], median)
    assert (result.steps, result.pruned, result.regret) == (140, (9,), 0)
    assert result.spared == pytest.approx(1 / 15)


def test_the_order_matters() -> None:
    assert replay([POOR, *GOOD], median).pruned == (3,), "nothing was known yet when the poor one ran"


def test_a_lost_best_trial_is_a_regret() -> None:
    late = trial(9, 5.0, 5.0, 0.2)
    result = replay([*GOOD, late], median)
    assert result.pruned == (9,)
    assert result.regret == pytest.approx(0.8)


def test_several_workers_see_less_of_each_other() -> None:
    trials = [*GOOD, trial(9, 5.0, 5.0, 5.0, steps=9), trial(10, 5.0, 5.0, 5.0, steps=9)]
    assert replay(trials, median, workers=1).pruned == (9, 10)
    assert replay(trials, median, workers=6).pruned == (), "nothing was known yet when the poor ones ended"


def test_a_slow_trial_is_judged_later() -> None:
    """Steps are time: while one trial takes 100 a step, the others come to their end."""
    slow = trial(9, 5.0, 5.0, 5.0, steps=100)
    assert replay([slow, *GOOD], median, workers=2).pruned == (9,)


def test_patience_ends_a_trial_as_early_stopping_would() -> None:
    assert with_patience(trial(0, 3.0, 2.0, 2.5, 2.4, 1.0), 2).curve == (3.0, 2.0, 2.5, 2.4)
    assert with_patience(trial(0, 3.0, 2.0, 2.5, 2.4, 1.0), 2).value == 2.0
    assert with_patience(trial(0, 3.0, 2.0, 2.5, 2.4, 1.0), 3).value == 1.0
    whole = trial(0, 3.0, 2.0)
    assert with_patience(whole, 1) == whole


def test_curves_that_are_not_whole_are_refused() -> None:
    with pytest.raises(SettingsError, match="--no-prune"):
        recorded([*GOOD, trial(9, 3.0, state=State.PRUNED)])
    with pytest.raises(SettingsError, match="two or more"):
        recorded([trial(9, 3.0), trial(10, 3.0, state=State.FAILED)])
    assert recorded([*GOOD, trial(10, 3.0, state=State.FAILED)]) == GOOD
