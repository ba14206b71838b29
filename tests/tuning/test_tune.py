"""Workers as processes: two at once, killed, stopped, orphaned; and the results that are left."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.made_up import MadeUp, orders_for

from bintally.errors import ManifestError, SettingsError
from bintally.settings import read_settings
from bintally.tuning.objective import folder_of
from bintally.tuning.study import join_study
from bintally.tuning.trials import State, Trial, best_of, list_trials
from bintally.tuning.tune import tune

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
from tests.made_up import MadeUp, orders_for
from bintally.tuning.tune import tune
if __name__ == "__main__":
    study, budget, workers, seconds = sys.argv[1:]
    tune(orders_for(study, budget=int(budget), workers=int(workers), make_train=MadeUp(seconds=float(seconds))))
"""


@pytest.fixture
def start(tmp_path: Path) -> "Callable[..., subprocess.Popen[bytes]]":
    """Starts `tune` as a process of its own, in a session of its own."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def begin(budget: int, workers: int, seconds: float) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, program, tmp_path / "s", str(budget), str(workers), str(seconds)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
            stderr=subprocess.PIPE,
        )

    return begin


def trials_in(folder: Path) -> list[Trial]:
    orders = orders_for(folder)
    return list_trials(join_study(orders.place, orders.facts))


def wait_for(condition: Callable[[], object], seconds: float = 90.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.1)


def states_in(folder: Path) -> list[State]:
    return [trial.state for trial in trials_in(folder)]


def test_two_workers_share_one_study_and_no_trial_is_begun_twice(tmp_path: Path) -> None:
    seen: list[int] = []
    orders = orders_for(tmp_path / "s", budget=9, workers=2, prune=False, make_train=MadeUp(seconds=0.1))
    results = tune(orders, on_progress=lambda trials: seen.append(len(trials)))
    assert [trial.number for trial in results.trials] == list(range(9))
    assert {trial.state for trial in results.trials} == {State.DONE}
    assert len({trial.worker for trial in results.trials}) == 2
    for trial in results.trials:
        begun = (folder_of(orders.trials, trial.number) / "begun").exists()
        assert not begun, "tidied"
    assert len({tuple(sorted(trial.params.items())) for trial in results.trials}) > 6, "they try different settings"
    assert seen[-1] == 9


def test_what_is_found_is_written(tmp_path: Path) -> None:
    orders = orders_for(tmp_path / "s", budget=6)
    results = tune(orders)
    best = results.best
    assert best is not None
    assert best == best_of(results.trials)
    settings = read_settings(results.settings)
    assert (settings.epochs, settings.batch_size) == (best.params["epochs"], best.params["batch_size"])
    assert settings.optimiser.lr == best.params["optimiser.lr"]
    assert (settings.recipe, settings.patience) == ("smallcnn-tuned", orders.base.patience)
    assert f"{best.value:.4f}" in settings.description
    rows = list(csv.DictReader(results.table.open()))
    assert [int(row["trial"]) for row in rows] == list(range(6))
    assert float(rows[best.number]["value"]) == best.value
    assert {"optimiser.lr", "batch_size", "epochs", "epochs_run", "steps_run", "seconds", "reason"} <= set(rows[0])
    assert results.report.exists()


def test_the_recipes_own_values_come_first_where_the_space_holds_them(tmp_path: Path) -> None:
    base = orders_for(tmp_path / "s").base.model_copy(update={"epochs": 7})
    results = tune(orders_for(tmp_path / "s", budget=2, base=base))
    own = {"optimiser.lr": 0.002, "batch_size": 32, "epochs": 7}
    assert results.trials[0].params == own
    more = tune(orders_for(tmp_path / "s", budget=4, base=base))
    assert [trial.params for trial in more.trials].count(own) == 1, "once in a study"
    beyond = tune(orders_for(tmp_path / "t", budget=2))
    assert beyond.trials[0].params["epochs"] != orders_for(tmp_path).base.epochs


def test_a_worker_that_is_killed_is_replaced_and_its_trial_done(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.touch()
    results = tune(orders_for(tmp_path / "s", budget=3, prune=False, make_train=MadeUp(dies_in=trap)))
    assert not trap.exists()
    assert [trial.state for trial in results.trials] == [State.DONE] * 3
    assert [trial.number for trial in results.trials] == [0, 2, 3], "the second attempt at 0 took Optuna's number 1"


def test_what_a_worker_met_is_said_as_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="a photo of the manifest cannot be read"):
        tune(orders_for(tmp_path / "s", workers=2, make_train=MadeUp(fault="photo")))
    with pytest.raises(SettingsError, match="first 5 trials all failed alike"):
        tune(orders_for(tmp_path / "t", make_train=MadeUp(fault="infinite")))
    assert "the loss went to infinity" in (tmp_path / "t" / "trials.csv").read_text()
    with pytest.raises(SettingsError, match=r"no trial came to its end \(3 begun, 3 failed, the last: the loss"):
        tune(orders_for(tmp_path / "u", budget=3, make_train=MadeUp(fault="infinite")))


def test_killed_half_way_and_started_again_it_goes_on(tmp_path: Path, start: Callable[..., object]) -> None:
    folder = tmp_path / "s"
    process = start(8, 2, 0.2)
    wait_for(lambda: states_in(folder).count(State.DONE) >= 2 and State.RUNNING in states_in(folder))
    os.killpg(process.pid, signal.SIGKILL)  # its workers with it
    process.wait()
    before = trials_in(folder)
    assert not (folder / "best.toml").exists()
    assert start(8, 2, 0.0).wait() == 0
    after = trials_in(folder)
    assert len(after) == 8
    # A worker that was killed before it put its name on a trial: that one counts as under way for a minute more.
    named = [trial for trial in after if trial.worker or trial.is_over]
    assert len(named) >= 6
    assert {trial.state for trial in named} <= {State.DONE, State.PRUNED}
    for old, new in zip(before, after, strict=False):
        assert old.number == new.number
        assert old.params.items() <= new.params.items()
        if old.state is State.DONE:
            assert old == new, "it was not done again"
    assert list((folder / "workers").iterdir()) == []


def test_workers_do_not_outlive_who_started_them(tmp_path: Path, start: Callable[..., object]) -> None:
    folder = tmp_path / "s"
    process = start(50, 2, 0.2)
    wait_for(lambda: states_in(folder).count(State.RUNNING) == 2)
    workers = list((folder / "workers").iterdir())
    assert len(workers) == 2
    process.kill()
    process.wait()
    pids = [int(path.name.split("-")[-2]) for path in workers]
    wait_for(lambda: not any(is_running(pid) for pid in pids))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_writes_what_it_found_and_goes_on_later(
    signum: signal.Signals, tmp_path: Path, start: Callable[..., object]
) -> None:
    folder = tmp_path / "s"
    process = start(8, 2, 0.3)
    wait_for(lambda: State.DONE in states_in(folder) and State.RUNNING in states_in(folder))
    if signum == signal.SIGINT:
        os.killpg(process.pid, signum)  # as a terminal does
    else:
        process.send_signal(signum)
    said = process.stderr.read().decode()
    assert process.wait() == 1
    assert said.strip().splitlines()[-1] == (
        "bintally.errors.StoppedError: stopped; what was found so far is written, and the same command goes on"
    )
    assert (folder / "best.toml").exists()
    states = states_in(folder)
    assert State.RUNNING not in states
    assert State.WAITING in states
    assert start(8, 1, 0.0).wait() == 0
    assert set(states_in(folder)) <= {State.DONE, State.PRUNED}


def test_a_second_command_joins_in(tmp_path: Path, start: Callable[..., object]) -> None:
    """Two commands, as on two machines that share the folder."""
    folder = tmp_path / "s"
    one, other = start(10, 1, 0.15), start(10, 1, 0.15)
    assert (one.wait(), other.wait()) == (0, 0)
    trials = trials_in(folder)
    assert [trial.number for trial in trials] == list(range(10))
    assert len({trial.worker for trial in trials}) == 2
