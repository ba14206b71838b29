"""`train --profile`: time divided without a gap, a slow loader called so, a run that stays as it would have been."""

import gc
import gzip
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from tests.tiny_run import fit_tiny, tiny_settings

from bintally.data.manifest import Manifest
from bintally.errors import CheckpointError, StoppedError
from bintally.models.checkpoint import load_checkpoint
from bintally.models.dataset import untimed
from bintally.models.preprocess import served
from bintally.training.health.watch import HealthWatch
from bintally.training.profile.phases import COMPUTING, LOADING, Phase
from bintally.training.profile.result import FILE_NAME, PAGE_NAME, Profile, read_profile
from bintally.training.profile.trials import Budget, Tried
from bintally.training.profile.watch import ProfileWatch
from bintally.training.profile.window import TRACE_NAME
from bintally.training.resume import random_state

QUICK = Budget(seconds=0.0, rounds=2, steps=1)
CHANGES = ("batch_size=8", "epochs=3", "optimiser.ema_decay=0.9", "model.dropout=0.3", "seed=2")


def profiled(manifest: Manifest, run: Path, *changes: str, **options: object) -> Profile:
    """The profile of a tiny run, watched as well."""
    settings = tiny_settings(*CHANGES, *changes)
    watch = ProfileWatch(run, manifest, settings, budget=QUICK)
    health = HealthWatch(run, manifest, settings, say=lambda _: None)
    checkpoint = fit_tiny(manifest, run, *CHANGES, *changes, callbacks=(health, watch), **options)
    profile = watch.finish(checkpoint)
    assert profile is not None
    return profile


@pytest.fixture(scope="module")
def run(drawn: Manifest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Profile]:
    """A profiled run: nobody changes it."""
    folder = tmp_path_factory.mktemp("profiled") / "run"
    return folder, profiled(drawn, folder)


def test_phases_and_idle_add_up_to_the_time_on_another_clock(run: tuple[Path, Profile]) -> None:
    _, profile = run
    assert profile.covered == pytest.approx(1, abs=0.05)
    assert profile.explained == pytest.approx(1 - profile.share(Phase.IDLE), abs=0.05)
    for phase in (Phase.READ, Phase.DECODE, Phase.AUGMENT, Phase.COLLATE, *COMPUTING, Phase.VALIDATION, Phase.IDLE):
        assert profile.phases[phase] > 0, phase
    assert Phase.TRACING not in profile.phases
    assert profile.wall_seconds == pytest.approx(profile.plain_seconds + profile.traced_seconds)


def test_traced_steps_stand_apart(run: tuple[Path, Profile]) -> None:
    _, profile = run
    traced = [step.number for step in profile.steps if step.traced]
    assert traced
    assert traced == list(range(traced[0], traced[0] + len(traced)))
    assert profile.plain_steps == len(profile.steps) - len(traced)
    assert len({step.epoch for step in profile.steps if step.traced}) == 1
    assert profile.traced_seconds >= sum(step.total for step in profile.steps if step.traced) - 1e-3


def test_operators_and_a_trace_that_names_the_phases(run: tuple[Path, Profile]) -> None:
    folder, profile = run
    assert any("conv" in each.name for each in profile.operators)
    assert not any("bintally" in each.name for each in profile.operators)
    costs = [each.cpu_ms for each in profile.operators]
    assert costs == sorted(costs, reverse=True)
    with gzip.open(folder / TRACE_NAME, "rt", encoding="utf-8") as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert {"bintally: forward", "bintally: backward", "aten::convolution"} <= names


def test_the_page_and_the_file_hold_the_same(run: tuple[Path, Profile]) -> None:
    folder, profile = run
    assert read_profile(folder / FILE_NAME) == profile
    page = (folder / PAGE_NAME).read_text(encoding="utf-8")
    assert profile.complete
    assert page.count("<svg") == 3
    assert "http" not in page.replace("http://www.w3.org", "")
    for shown in (
        "loading: decode",
        "What to change",
        "Trials",
        TRACE_NAME,
        f"{profile.photos_per_second:.0f} photos a",
    ):
        assert shown in page
    assert all(sample.rss_mib > 10 for sample in profile.memory)


def test_a_run_ends_as_it_would_have_without(drawn: Manifest, run: tuple[Path, Profile], tmp_path: Path) -> None:
    folder, _ = run
    plain = fit_tiny(drawn, tmp_path / "run", *CHANGES)
    mine = load_checkpoint(folder)
    assert mine.facts.calibration == plain.facts.calibration
    assert mine.facts.metrics == plain.facts.metrics
    for name, weights in plain.network.state_dict().items():
        assert torch.equal(weights, mine.network.state_dict()[name]), name


def test_trials_leave_checkpoint_and_random_numbers_alone(drawn: Manifest, tmp_path: Path) -> None:
    settings = tiny_settings(*CHANGES)
    watch = ProfileWatch(tmp_path / "run", drawn, settings, budget=QUICK)
    checkpoint = fit_tiny(drawn, tmp_path / "run", *CHANGES, callbacks=(watch,))
    weights = {name: each.clone() for name, each in checkpoint.network.state_dict().items()}
    before = random_state()
    assert watch.finish(checkpoint) is not None
    after = random_state()
    assert torch.equal(before["torch"], after["torch"])
    assert before["python"] == after["python"]
    assert torch.equal(before["numpy"][1], after["numpy"][1])
    assert all(torch.equal(each, weights[name]) for name, each in checkpoint.network.state_dict().items())


def test_what_was_tried_leaves_no_process(drawn: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python waits at its end for those that are left, and they do not heed its SIGTERM."""
    monkeypatch.setattr("bintally.training.profile.trials._numbers_of_workers", lambda *_: [1])
    gc.disable()
    try:
        profile = profiled(drawn, tmp_path / "run", "epochs=1", "cache_mib=0")
        assert any("1 loader process" in trial.what for trial in profile.trials)
        assert not multiprocessing.active_children()
    finally:
        gc.enable()


def test_a_slow_loader_is_called_so(drawn: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(data: bytes, side_px: int, *, name: str = "photo") -> object:
        time.sleep(0.05)
        return served(data, side_px, name=name)

    monkeypatch.setattr("bintally.models.dataset.served", slowly)
    monkeypatch.setattr("bintally.training.profile.trials._numbers_of_workers", lambda *_: [])
    profile = profiled(drawn, tmp_path / "run", "cache_mib=0")
    stage, seconds = next(profile.loading_stages())
    assert stage is Phase.DECODE
    assert seconds >= 0.05 * 8 * profile.plain_steps
    assert profile.share(*LOADING) > 0.3, "of a machine that others use as well"
    cache = next(each for each in profile.advice if each.kind == "cache")
    assert cache.todo == "--set cache_mib=1"
    per_epoch = seconds / profile.plain_steps * profile.work.steps_per_epoch
    assert cache.saves_later == pytest.approx(per_epoch, rel=0.3)
    assert cache.saves_first == 0
    assert "cache_mib" in (tmp_path / "run" / PAGE_NAME).read_text(encoding="utf-8")


def test_a_run_that_goes_on_profiles_its_sitting(drawn: Manifest, tmp_path: Path) -> None:
    settings = tiny_settings(*CHANGES)
    out = tmp_path / "run"
    steps: list[int] = []

    def break_off(*_: object) -> None:
        steps.append(1)
        if len(steps) == 6:
            raise StoppedError("told to stop", signum=15)

    watch = ProfileWatch(out, drawn, settings, budget=QUICK)
    callbacks = (watch, LambdaCallback(on_train_batch_start=break_off))
    with pytest.raises(StoppedError):
        fit_tiny(drawn, out, *CHANGES, callbacks=callbacks, checkpoint_every=2)
    first = read_profile(out / FILE_NAME)
    assert not first.complete
    assert len(first.steps) == 6
    assert "broken off" in first.summary
    second = profiled(drawn, out)
    assert second.complete
    total = 3 * second.work.steps_per_epoch
    assert len(second.steps) == total - 4  # saved after four of them
    assert second.covered == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_short_runs_are_profiled_too(drawn: Manifest, tmp_path: Path, steps: int) -> None:
    profile = profiled(drawn, tmp_path / "run", max_steps=steps)
    assert len(profile.steps) == steps
    assert bool(profile.operators) == (steps >= 4)
    assert profile.covered == pytest.approx(1, abs=0.05)
    assert (tmp_path / "run" / PAGE_NAME).exists()


def test_with_processes_that_load_the_wait_is_seen(
    drawn: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bintally.training.profile.watch.try_out", lambda *_: Tried())  # processes start slowly
    profile = profiled(drawn, tmp_path / "run", "workers=1", "epochs=1", "cache_mib=0")
    assert profile.phases[Phase.WAIT] > 0
    assert profile.phases[Phase.DECODE] == 0
    assert profile.phases[Phase.START] > 0
    assert profile.covered == pytest.approx(1, abs=0.05)
    assert profile.advised == "Nothing to gain"


def test_the_dataset_is_let_go(drawn: Manifest, tmp_path: Path) -> None:
    watch = ProfileWatch(tmp_path / "run", drawn, tiny_settings(*CHANGES), budget=QUICK)
    fit_tiny(drawn, tmp_path / "run", *CHANGES, "epochs=1", callbacks=(watch,))
    assert watch._dataset is not None
    assert watch._dataset.clock is untimed


def test_a_file_that_is_no_profile_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("{}")
    with pytest.raises(CheckpointError, match=r"cannot be read as a profile .* Profile the run again"):
        read_profile(tmp_path / FILE_NAME)


def test_of_two_processes_the_first_writes_and_says_so(drawn: Manifest, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    address = ("--master-addr", "127.0.0.1", "--master-port", str(port))
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *address)
    script = Path(__file__).with_name("two_profiled.py")
    done = subprocess.run(
        [*torchrun, str(script), str(drawn.root), str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "rank-1").read_text() == "nothing"
    profile = read_profile(tmp_path / "run" / FILE_NAME)
    assert (tmp_path / "rank-0").read_text() == profile.summary
    assert profile.work.processes == 2
    assert profile.covered == pytest.approx(1, abs=0.05)
    assert any("2 processes trained" in note for note in profile.notes)
    assert not profile.trials
