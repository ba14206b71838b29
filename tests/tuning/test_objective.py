"""One trial after the other, in this process, with made-up losses."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from tests.made_up import MadeUp, losses_of, orders_for

from bintally.errors import ManifestError, SettingsError, StoppedError
from bintally.settings import RunSettings, parse_settings
from bintally.tuning.objective import Objective, Progress, check_hopeful, clear_other, reason_of, tidy
from bintally.tuning.pruning import FIRST_EPOCH
from bintally.tuning.space import with_values
from bintally.tuning.space_file import parse_space
from bintally.tuning.study import join_study
from bintally.tuning.trials import MOST_DEATHS, State, Trial, best_of, list_trials
from bintally.tuning.worker import Orders, work


def trials_of(orders: Orders) -> list[Trial]:
    return list_trials(join_study(orders.place, orders.facts))


def making(train: object) -> object:
    return lambda _place: train


def test_every_trial_is_judged_by_its_lowest_loss_and_its_cost_is_kept(tmp_path: Path) -> None:
    orders = orders_for(tmp_path / "s", budget=5, prune=False)
    work(orders)
    trials = trials_of(orders)
    assert [trial.number for trial in trials] == [0, 1, 2, 3, 4]
    for trial in trials:
        settings = with_values(orders.base, trial.params, name="x")
        assert trial.state is State.DONE
        assert list(trial.curve) == losses_of(settings)
        assert trial.value == min(losses_of(settings))
        assert trial.steps == trial.planned_steps == 640 // settings.batch_size * settings.epochs
        assert trial.seconds == 0.5 * settings.epochs
        assert trial.planned_epochs == settings.epochs
    assert list((tmp_path / "s" / "workers").iterdir()) == []


def test_a_loss_that_rises_again_does_not_count(tmp_path: Path) -> None:
    def train(settings: RunSettings, run: Path, on_epoch: object) -> Progress:
        return Progress(losses=(3.0, 1.5, float("nan"), 2.0), steps=4, steps_per_epoch=1, seconds=1.0)

    orders = orders_for(tmp_path / "s", budget=1, make_train=making(train))
    work(orders)
    (trial,) = trials_of(orders)
    assert trial.value == 1.5
    assert len(trial.curve) == 4


def test_a_trial_begun_beyond_the_budget_is_not_run_and_not_shown(tmp_path: Path) -> None:
    orders = orders_for(tmp_path / "s", budget=1)
    study = join_study(orders.place, orders.facts)
    study.ask()  # another worker's, at the same moment
    objective = Objective(
        space=orders.space, base=orders.base, trials=orders.trials, train=pytest.fail, worker="w", budget=1
    )
    study.optimize(objective, n_trials=1, catch=(RuntimeError,))
    assert [trial.number for trial in list_trials(study)] == [0]
    assert study.trials[1].params == {}, "so that no sampler learns from it"
    assert study.trials[1].state is optuna.trial.TrialState.FAIL


def test_a_study_that_is_done_does_nothing_more(tmp_path: Path) -> None:
    orders = orders_for(tmp_path / "s", budget=2)
    for _ in range(2):
        work(orders)
    assert len(trials_of(orders)) == 2


def test_no_trial_is_begun_after_its_time(tmp_path: Path) -> None:
    orders = orders_for(tmp_path / "s", budget=None, until=1.0)
    work(orders)
    assert trials_of(orders) == []


def test_poor_trials_are_pruned_and_the_rest_is_not(tmp_path: Path) -> None:
    orders = orders_for(tmp_path / "s", budget=25)
    work(orders)
    trials = trials_of(orders)
    pruned = [trial for trial in trials if trial.state is State.PRUNED]
    assert 3 < len(pruned) < 22
    for trial in pruned:
        assert trial.value is None
        assert FIRST_EPOCH <= len(trial.curve) < trial.planned_epochs
        assert trial.steps < trial.planned_steps
    assert best_of(trials) not in pruned


def test_a_trial_is_not_pruned_at_its_last_epoch(tmp_path: Path) -> None:
    """Nothing would be spared, and its loss could not be compared with the others'."""

    def train(settings: RunSettings, run: Path, on_epoch: Callable[[Progress], None]) -> Progress:
        poor = int(run.name) > 6
        for epoch in range(1, settings.epochs + 1):
            progress = Progress(losses=(9.0 if poor else 1.0,) * epoch, steps=epoch, steps_per_epoch=1, seconds=1.0)
            on_epoch(progress)
        return progress

    base = orders_for(tmp_path / "s").base.model_copy(update={"epochs": FIRST_EPOCH})
    space = parse_space("[space]\noptimiser.lr = {low = 0.1, high = 0.2}", name="x")
    for epochs, state in ((FIRST_EPOCH, State.DONE), (FIRST_EPOCH + 1, State.PRUNED)):
        base = base.model_copy(update={"epochs": epochs})
        orders = orders_for(tmp_path / str(epochs), budget=9, make_train=making(train), base=base, space=space)
        work(orders)
        assert [trial.state for trial in trials_of(orders)] == [State.DONE] * 7 + [state] * 2


def test_a_trials_own_fault_is_recorded_and_the_study_goes_on(tmp_path: Path) -> None:
    good = MadeUp()

    def train(settings: RunSettings, run: Path, on_epoch: object) -> Progress:
        if run.name == "00001":
            raise SettingsError(f"{run}: the loss went to infinity; try a lower rate")
        if run.name == "00002":
            raise RuntimeError("CUDA out of memory.\nTried to allocate")
        return good.train(settings, run, on_epoch)  # type: ignore[arg-type]

    orders = orders_for(tmp_path / "s", budget=4, prune=False, make_train=making(train))
    work(orders)
    trials = trials_of(orders)
    assert [trial.state for trial in trials] == [State.DONE, State.FAILED, State.FAILED, State.DONE]
    assert [trial.reason for trial in trials] == [
        "",
        "the loss went to infinity; try a lower rate",
        "RuntimeError: CUDA out of memory.",
        "",
    ]
    assert trials[1].params


def test_five_that_fail_alike_at_the_start_end_the_study(tmp_path: Path) -> None:
    orders = orders_for(tmp_path / "s", budget=20, make_train=MadeUp(fault="infinite"))
    with pytest.raises(SettingsError, match="first 5 trials all failed alike: the loss went to infinity"):
        work(orders)
    assert len(trials_of(orders)) == 5


def failed(number: int, reason: str = "x", state: State = State.FAILED) -> Trial:
    return Trial(
        number=number,
        state=state,
        params={},
        curve=(),
        value=None,
        planned_epochs=0,
        steps=0,
        steps_per_epoch=0,
        seconds=0,
        reason=reason if state is State.FAILED else "",
        worker="",
    )


def test_only_the_first_trials_and_only_alike() -> None:
    check_hopeful([failed(number) for number in range(4)])
    check_hopeful([*(failed(number) for number in range(4)), failed(4, "y")])
    check_hopeful([failed(0, state=State.DONE), *(failed(number) for number in range(1, 9))])
    check_hopeful([*(failed(number) for number in range(4)), failed(4, state=State.RUNNING)])
    with pytest.raises(SettingsError):
        check_hopeful([*(failed(number) for number in range(5)), failed(5, state=State.RUNNING)])


@pytest.mark.parametrize(
    "error",
    [ManifestError("a photo is gone"), StoppedError("told to"), KeyboardInterrupt()],
    ids=lambda e: type(e).__name__,
)
def test_what_no_trial_would_escape_ends_the_worker_and_costs_no_trial(error: BaseException, tmp_path: Path) -> None:
    def train(settings: RunSettings, run: Path, on_epoch: object) -> Progress:
        raise error

    orders = orders_for(tmp_path / "s", budget=3, make_train=making(train))
    with pytest.raises(type(error)):
        work(orders)
    (trial,) = trials_of(orders)
    assert (trial.number, trial.state) == (0, State.WAITING)
    params = trial.params
    work(orders_for(tmp_path / "s", budget=1))
    (trial,) = trials_of(orders)
    assert (trial.number, trial.state, trial.params) == (0, State.DONE, params)


def test_a_trial_may_be_stopped_as_often_as_one_likes(tmp_path: Path) -> None:
    def train(settings: RunSettings, run: Path, on_epoch: object) -> Progress:
        raise StoppedError("told to")

    for _ in range(MOST_DEATHS + 1):
        with pytest.raises(StoppedError):
            work(orders_for(tmp_path / "s", budget=1, make_train=making(train)))
    (trial,) = trials_of(orders_for(tmp_path / "s"))
    assert trial.state is State.WAITING


def test_a_trial_that_was_taken_for_dead_is_left_to_who_has_it_now(tmp_path: Path) -> None:
    orders = orders_for(tmp_path / "s", budget=2, prune=False)
    good = MadeUp()

    def train(settings: RunSettings, run: Path, on_epoch: object) -> Progress:
        study = join_study(orders.place, orders.facts)
        if len(study.trials) == 1:
            study.tell(0, state=optuna.trial.TrialState.FAIL)  # another process did, as this one was silent
        return good.train(settings, run, on_epoch)  # type: ignore[arg-type]

    work(orders_for(tmp_path / "s", budget=2, prune=False, make_train=making(train)))
    states = [trial.state for trial in trials_of(orders)]
    assert states == [State.FAILED, State.DONE]


def test_only_the_best_trials_weights_are_kept(tmp_path: Path) -> None:
    orders = orders_for(tmp_path / "s", budget=8)
    work(orders)
    best = best_of(trials_of(orders))
    assert best is not None
    for run in (tmp_path / "s" / "trials").iterdir():
        names = sorted(path.name for path in run.iterdir())
        assert names == (["checkpoint.json", "checkpoint.safetensors"] if run.name == f"{best.number:05d}" else [])


def test_what_is_under_way_is_not_tidied(tmp_path: Path) -> None:
    for number in range(3):
        run = tmp_path / f"{number:05d}"
        run.mkdir()
        for name in ("settings.toml", "curves.csv", "resume.pt", ".best.part"):
            (run / name).touch()
    tidy(tmp_path, [failed(0), failed(1, state=State.RUNNING), failed(2, state=State.WAITING), failed(3)])
    assert sorted(path.name for path in (tmp_path / "00000").iterdir()) == ["curves.csv", "settings.toml"]
    for number in (1, 2):
        assert len(list((tmp_path / f"{number:05d}").iterdir())) == 4


def test_another_studys_run_in_the_folder_is_removed(tmp_path: Path) -> None:
    settings = parse_settings("epochs = 3", name="x")
    run = tmp_path / "00000"
    run.mkdir()
    (run / "settings.toml").write_text("epochs = 3\nworkers = 2")
    clear_other(run, settings)
    assert run.exists(), "only how fast it is differs"
    for text in ("epochs = 4", "nonsense = 1", "[["):
        run.mkdir(exist_ok=True)
        (run / "settings.toml").write_text(text)
        clear_other(run, settings)
        assert not run.exists(), text
    clear_other(run, settings)


def test_reasons_of_trials_that_failed_alike_are_alike() -> None:
    one = reason_of(SettingsError("s/trials/00001: the loss\nx"), Path("s/trials/00001"))
    other = reason_of(SettingsError("s/trials/00002: the loss"), Path("s/trials/00002"))
    assert one == other == "the loss"
    assert reason_of(SettingsError("trial 7: epochs: no"), Path("x")) == "epochs: no"
    assert reason_of(ValueError(""), Path("x")) == "ValueError: "


def test_the_table_of_a_run_is_there_while_others_run(tmp_path: Path) -> None:
    """What a trial costs is known after every epoch, not only at its end."""
    orders = orders_for(tmp_path / "s", budget=1)
    seen: list[Trial] = []
    good = MadeUp()

    def train(settings: RunSettings, run: Path, on_epoch: object) -> Progress:
        def look(progress: Progress) -> None:
            on_epoch(progress)  # type: ignore[operator]
            seen.extend(trials_of(orders))

        return good.train(settings, run, look)

    work(orders_for(tmp_path / "s", budget=1, make_train=making(train)))
    assert [len(trial.curve) for trial in seen] == list(range(1, len(seen) + 1))
    assert seen[0].steps == seen[0].steps_per_epoch > 0
    assert all(trial.state is State.RUNNING and trial.worker for trial in seen)
