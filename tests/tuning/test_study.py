"""What a study is of, its budget, and what becomes of a trial whose worker died."""

import multiprocessing
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from tests.made_up import orders_for

from bintally.errors import SettingsError
from bintally.settings import RunSettings
from bintally.tuning.alive import alive, liveness, sweep
from bintally.tuning.study import comparable, join_study, list_differences
from bintally.tuning.trials import (
    MOST_DEATHS,
    Attribute,
    State,
    best_of,
    is_over,
    is_surplus,
    list_trials,
    requeue_dead,
)


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    orders = orders_for(tmp_path / "s")
    return join_study(orders.place, orders.facts)


def begin(study: optuna.Study, worker: str = "w") -> optuna.Trial:
    trial = study.ask()
    trial.set_user_attr(Attribute.WORKER, worker)
    trial.suggest_int("epochs", 2, 10)
    return trial


def dead(_worker: str) -> bool:
    return False


def test_the_same_study_is_joined(tmp_path: Path) -> None:
    orders = orders_for(tmp_path / "s")
    begin(join_study(orders.place, orders.facts))
    assert len(join_study(orders.place, orders.facts).trials) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recipe": "resnet50"}, "recipe was smallcnn, is resnet50"),
        ({"settings": {"patience": 9}}, "settings.seed was 0, is None"),
        ({"space": {}}, "space.optimiser.lr was"),
        ({"manifest_hash": "other"}, "manifest_hash was m, is other"),
        ({"split_hash": "other"}, "split_hash was s, is other"),
        ({"limit_photos": 5}, "limit_photos was None, is 5"),
        ({"weights": "x.pth abc"}, "weights was , is x.pth abc"),
        ({"format_version": 2}, "of version 1"),
    ],
)
def test_a_study_of_something_else_is_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    orders = orders_for(tmp_path / "s")
    join_study(orders.place, orders.facts)
    with pytest.raises(SettingsError) as caught:
        join_study(orders.place, orders.facts.model_copy(update=change))
    assert said in str(caught.value)
    assert "choose another --study" in str(caught.value)
    join_study(orders.place, orders.facts)


def test_a_study_of_another_version_is_refused(study: optuna.Study, tmp_path: Path) -> None:
    study.set_user_attr("facts", {"nothing": "known"})
    orders = orders_for(tmp_path / "s")
    with pytest.raises(SettingsError, match="another version of Bintally"):
        join_study(orders.place, orders.facts)


def test_differences_are_named_at_any_depth_and_not_all_of_them() -> None:
    assert list_differences({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}) == ["a.b.c was 1, is 2"]
    assert len(list_differences({}, dict.fromkeys("abcdefgh", 1))) == 5
    assert list_differences({"a": 1}, {"a": 1}) == []


def test_what_only_decides_how_fast_a_run_is_may_change() -> None:
    base = RunSettings()
    other = base.model_copy(update={"workers": 3, "cache_mib": 1, "description": "x"})
    assert comparable(base) == comparable(other)
    assert comparable(base) != comparable(base.model_copy(update={"patience": 9}))
    assert "patience" not in comparable(base, ["patience"])


def test_the_budget_counts_trials_begun_and_those_that_failed(study: optuna.Study) -> None:
    assert not is_over(study, 1)
    assert is_over(study, None) is False
    begin(study)
    assert is_over(study, 1)
    assert not is_over(study, 2)
    study.tell(begin(study), state=TrialState.FAIL)
    assert is_over(study, 2)


def test_a_trial_whose_worker_died_is_tried_again_under_its_number(study: optuna.Study) -> None:
    trial = begin(study)
    trial.report(2.0, 1)
    trial.set_user_attr(Attribute.STEPS, 7)
    study.tell(begin(study), 1.0)
    assert is_over(study, 2)
    requeue_dead(study, dead)
    assert [each.state for each in list_trials(study)] == [State.WAITING, State.DONE]
    assert not is_over(study, 2), "what waits to be tried again is still to be done"
    again = study.ask()
    assert again.number == 2
    assert again.suggest_int("epochs", 2, 10) == trial.params["epochs"]
    study.tell(again, 0.5)
    first, second = list_trials(study)
    assert (first.number, first.state, first.value, first.steps) == (0, State.DONE, 0.5, 7)
    assert second.number == 1
    assert best_of([first, second]) == first
    assert is_over(study, 2)


def test_only_the_dead_are_tried_again_and_only_once(study: optuna.Study) -> None:
    for worker in ("living", "dead", "elsewhere"):
        begin(study, worker)
    answers = {"living": True, "dead": False, "elsewhere": None}
    for _ in range(3):
        requeue_dead(study, answers.__getitem__)
    states = [(trial.number, trial.state) for trial in list_trials(study)]
    assert states == [(0, State.RUNNING), (1, State.WAITING), (2, State.RUNNING)]


def test_a_trial_that_no_worker_has_signed_is_given_a_minute(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.ask()
    requeue_dead(study, dead)
    assert [trial.state for trial in list_trials(study)] == [State.RUNNING]
    monkeypatch.setattr("bintally.tuning.trials._UNMARKED_SECONDS", -1)
    requeue_dead(study, dead)
    assert [trial.state for trial in list_trials(study)] == [State.WAITING]


def test_a_trial_that_kills_its_workers_is_given_up(study: optuna.Study) -> None:
    begin(study)
    for death in range(MOST_DEATHS):
        assert [trial.state for trial in list_trials(study)] == [State.RUNNING], death
        requeue_dead(study, dead)
        if death < MOST_DEATHS - 1:
            begin(study)
    (trial,) = list_trials(study)
    assert (trial.number, trial.state) == (0, State.FAILED)
    assert "workers died" in trial.reason
    assert is_over(study, 1)


def test_of_two_that_begin_the_last_trial_at_once_the_later_one_is_surplus(study: optuna.Study) -> None:
    first, second = begin(study), begin(study)
    assert not is_surplus(study, first, 1)
    assert is_surplus(study, second, 1)
    assert not is_surplus(study, second, 2)
    assert not is_surplus(study, second, None)
    second.set_user_attr(Attribute.SURPLUS, True)
    assert [trial.number for trial in list_trials(study)] == [0]


def test_one_that_is_tried_again_is_no_surplus(study: optuna.Study) -> None:
    begin(study)
    study.tell(begin(study), 1.0)
    requeue_dead(study, dead)
    again = study.ask()
    assert again.number == 2
    assert not is_surplus(study, again, 2)


def _hold(folder: Path, there: object) -> None:
    with alive(folder) as name:
        there.send(name)  # type: ignore[attr-defined]
        there.recv()  # type: ignore[attr-defined]


def test_a_worker_is_alive_until_its_process_ends_however_that_is(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_hold, args=(tmp_path, there))
    process.start()
    name = here.recv()
    is_alive = liveness(tmp_path, is_shared=True)
    assert is_alive(name) is True
    sweep(tmp_path)
    assert is_alive(name) is True
    process.kill()
    process.join()
    assert is_alive(name) is False
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert is_alive(name) is False
    assert liveness(tmp_path, is_shared=False)(name) is None, "it may be on another machine"


def test_a_worker_that_ends_by_itself_leaves_no_file(tmp_path: Path) -> None:
    with alive(tmp_path) as one, alive(tmp_path) as other:
        assert one != other
        assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []
