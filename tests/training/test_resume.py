"""A run that is broken off goes on, and ends as if it had never been broken off."""

import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import polars as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback, LambdaCallback
from safetensors.torch import save_file
from tests.tiny_run import TINY, fit_tiny

from bintally.data.manifest import Manifest
from bintally.errors import CannotWriteError, CheckpointError, SettingsError, StoppedError, WeightsError
from bintally.evaluation.results import read_curves
from bintally.models.checkpoint import load_checkpoint
from bintally.training.curves import CURVES_NAME
from bintally.training.resume import STATE_KEY, STATE_NAME, StateFile, flat, random_state, set_random_state

FINISHED = ["checkpoint.json", "checkpoint.safetensors", "curves.csv", "settings.toml"]
# Three epochs of five steps, in which everything moves that can: dropout, averages, a schedule, augmentation.
EPOCHS, STEPS = 3, 5
PLAIN = ("epochs=3", "seed=4")
MOVING = (
    *PLAIN,
    "model.dropout=0.5",
    "optimiser.ema_decay=0.7",
    "optimiser.schedule='cosine'",
    "optimiser.warmup_share=0.2",
    "augment.shrink=0.2",
)
KILLS = int(os.environ.get("BINTALLY_KILLS", "2"))


class KilledError(BaseException):
    """Nobody may save anything after this."""


@dataclass(frozen=True)
class Place:
    """A hook of Lightning's, and the how-manieth call of it."""

    hook: str
    call: int

    def __str__(self) -> str:
        return f"{self.hook} {self.call}"


class At(Callback):
    """Does something at a place."""

    def __init__(self, place: Place, act: Callable[[], None]) -> None:
        self.calls = 0
        setattr(self, place.hook, self._act)
        self._place, self._do = place, act

    def _act(self, *_: object) -> None:
        self.calls += 1
        if self.calls == self._place.call:
            self._do()


class Counting(Callback):
    """A watcher with a memory."""

    def __init__(self) -> None:
        self.steps, self.loss = 0, torch.zeros(())

    def on_train_batch_end(self, _trainer: object, _module: object, outputs: Any, *_: object) -> None:
        self.steps += 1
        self.loss += outputs["loss"]

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "loss": self.loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self.loss = state_dict["steps"], state_dict["loss"]


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def die() -> None:
    raise KilledError


def names(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir())


def state_of(run: Path) -> dict[str, Any]:
    held: dict[str, Any] = torch.load(run / STATE_NAME, weights_only=True)
    return held


def found(run: Path) -> dict[str, Any]:
    """Everything a run ends with but how long it took; floats as they are, weights by their bytes."""
    checkpoint = load_checkpoint(run)
    facts = checkpoint.facts.model_dump(exclude={"name", "seconds", "sittings", "provenance"})
    curves = [line.rpartition(",")[0] for line in (run / CURVES_NAME).read_text().splitlines()]
    state = checkpoint.network.state_dict()
    weights = {name: sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in state.items()}
    return {"facts": facts, "curves": curves, "weights": weights}


@pytest.fixture(scope="module")
def unbroken(drawn: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """What a run finds that nobody breaks off; trained once for each kind."""
    known: dict[tuple[object, ...], dict[str, Any]] = {}

    def find(*changes: str, **options: object) -> dict[str, Any]:
        key = (*changes, *options.items())
        if key not in known:
            run = tmp_path_factory.mktemp("unbroken") / "run"
            assert fit_tiny(drawn, run, *changes, **options, resume=False, checkpoint_every=10**6).facts.sittings == 1
            assert names(run) == FINISHED
            known[key] = found(run)
        return known[key]

    return find


@pytest.fixture(autouse=True)
def handlers_are_put_back() -> Iterator[None]:
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    yield
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before


def test_saving_does_not_change_a_run(drawn: Manifest, tmp_path: Path, unbroken: Callable[..., dict[str, Any]]) -> None:
    for every in (1, None):
        fit_tiny(drawn, tmp_path / str(every), *MOVING, checkpoint_every=every)
        assert found(tmp_path / str(every)) == unbroken(*MOVING)


STOPS = [
    (Place("on_train_batch_end", 1), PLAIN),
    (Place("on_train_batch_start", STEPS), MOVING),
    (Place("on_train_batch_end", STEPS + 2), MOVING),
    (Place("on_validation_start", 1), MOVING),
    (Place("on_validation_batch_end", 2), PLAIN),
    (Place("on_validation_batch_end", 2), MOVING),
    (Place("on_validation_epoch_end", 2), MOVING),
    (Place("on_train_epoch_end", 2), PLAIN),
    (Place("on_train_epoch_end", 2), MOVING),
    (Place("on_train_batch_end", EPOCHS * STEPS), MOVING),
    (Place("on_validation_batch_start", EPOCHS), MOVING),
    (Place("on_train_epoch_end", EPOCHS), MOVING),
    (Place("on_train_end", 1), MOVING),
]


@pytest.mark.parametrize(
    ("place", "changes"), STOPS, ids=[f"{place} {'moving' if kind is MOVING else 'plain'}" for place, kind in STOPS]
)
def test_told_to_stop_it_saves_at_once_and_goes_on(
    place: Place, changes: tuple[str, ...], drawn: Manifest, tmp_path: Path, unbroken: Callable[..., dict[str, Any]]
) -> None:
    run = tmp_path / "run"
    said: list[str] = []
    with pytest.raises(StoppedError, match=r"stopped after \d+ steps.*The same command goes on, with --out") as stop:
        fit_tiny(drawn, run, *changes, callbacks=(At(place, terminate),), checkpoint_every=10**6, say=said.append)
    assert stop.value.signum == signal.SIGTERM
    assert STATE_NAME in names(run)
    assert "checkpoint.json" not in names(run)
    assert said == []
    facts = fit_tiny(drawn, run, *changes, say=said.append).facts
    assert found(run) == unbroken(*changes)
    assert facts.sittings == 2
    assert names(run) == FINISHED
    assert len(said) == 1
    assert "goes on after" in said[0]


def test_each_sitting_may_be_a_single_step(
    drawn: Manifest, tmp_path: Path, unbroken: Callable[..., dict[str, Any]]
) -> None:
    places = []
    for sitting in range(1, EPOCHS * STEPS + 2):
        counting = Counting()
        try:
            facts = fit_tiny(
                drawn, tmp_path / "run", *MOVING, callbacks=(counting, At(Place("on_train_batch_end", 1), terminate))
            ).facts
            break
        except StoppedError:
            state = state_of(tmp_path / "run")
            places.append((state[STATE_KEY]["epoch"], state[STATE_KEY]["batches"]))
            assert state["global_step"] == counting.steps == sitting
    assert found(tmp_path / "run") == unbroken(*MOVING)
    assert facts.sittings == EPOCHS * STEPS + 1
    assert places == [(epoch, step) for epoch in range(EPOCHS) for step in range(1, STEPS + 1)]


CRASHES = [
    (Place("on_train_batch_start", 4), 2),
    (Place("on_train_batch_end", STEPS), 1),
    (Place("on_train_batch_end", 2 * STEPS + 4), 3),
    (Place("on_validation_batch_start", 2), 2),
    (Place("on_validation_batch_end", 2), 5),
    (Place("on_train_epoch_end", 2), STEPS),
    (Place("on_train_batch_end", STEPS + 1), STEPS),
    (Place("on_train_end", 1), 4),
]


@pytest.mark.parametrize(("place", "every"), CRASHES, ids=str)
def test_killed_it_goes_on_from_what_was_saved(
    place: Place, every: int, drawn: Manifest, tmp_path: Path, unbroken: Callable[..., dict[str, Any]]
) -> None:
    counting = Counting()
    with pytest.raises(KilledError):
        fit_tiny(drawn, tmp_path, *MOVING, callbacks=(counting, At(place, die)), checkpoint_every=every)
    fit_tiny(drawn, tmp_path, *MOVING, callbacks=(again := Counting(),), checkpoint_every=every)
    assert found(tmp_path) == unbroken(*MOVING)
    assert again.steps == EPOCHS * STEPS, "a watcher remembers what was before"
    assert names(tmp_path) == FINISHED


def test_killed_before_anything_was_saved_it_begins_anew(
    drawn: Manifest, tmp_path: Path, unbroken: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(KilledError):
        fit_tiny(drawn, tmp_path, *PLAIN, callbacks=(At(Place("on_train_batch_end", 3), die),), checkpoint_every=9)
    assert STATE_NAME not in names(tmp_path)
    assert fit_tiny(drawn, tmp_path, *PLAIN).facts.sittings == 1
    assert found(tmp_path) == unbroken(*PLAIN)


def test_killed_while_saving_it_goes_on_from_the_state_before(
    drawn: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: Callable[..., dict[str, Any]]
) -> None:
    save, calls = torch.save, []

    def halfway(state: object, file: Any) -> None:
        calls.append(state)
        if len(calls) == 3:
            file.write(b"half of a state")
            raise KilledError
        save(state, file)

    monkeypatch.setattr(torch, "save", halfway)
    with pytest.raises(KilledError):
        fit_tiny(drawn, tmp_path, *MOVING, checkpoint_every=2)
    assert state_of(tmp_path)["global_step"] == 4
    (tmp_path / f".{STATE_NAME}.part").write_bytes(b"what a process leaves that is killed for real")
    fit_tiny(drawn, tmp_path, *MOVING, checkpoint_every=10**6)
    assert found(tmp_path) == unbroken(*MOVING)
    assert names(tmp_path) == FINISHED


def test_workers_may_have_read_ahead(drawn: Manifest, tmp_path: Path, unbroken: Callable[..., dict[str, Any]]) -> None:
    """And how many there are may change: they decide nothing."""
    with pytest.raises(StoppedError):
        fit_tiny(
            drawn,
            tmp_path,
            *MOVING,
            "workers=1",
            callbacks=(At(Place("on_train_batch_end", STEPS + 2), terminate),),
        )
    fit_tiny(drawn, tmp_path, *MOVING, "workers=1", "cache_mib=0")
    ours, theirs = found(tmp_path), unbroken(*MOVING)
    for setting in ("workers", "cache_mib"):
        ours["facts"]["settings"].pop(setting)
    theirs["facts"] = {
        **theirs["facts"],
        "settings": {k: v for k, v in theirs["facts"]["settings"].items() if k not in ("workers", "cache_mib")},
    }
    assert ours == theirs


@pytest.mark.parametrize("max_steps", [STEPS + 2, 2 * STEPS], ids=["within an epoch", "at its end"])
@pytest.mark.parametrize(
    "place",
    [
        Place("on_train_batch_end", 2),
        Place("on_train_batch_end", STEPS + 1),
        Place("on_train_batch_start", STEPS + 2),
        Place("on_validation_batch_end", 2),
    ],
    ids=str,
)
def test_a_limit_of_steps_counts_all_sittings(
    max_steps: int, place: Place, drawn: Manifest, tmp_path: Path, unbroken: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(StoppedError):
        fit_tiny(drawn, tmp_path, *MOVING, callbacks=(At(place, terminate),), max_steps=max_steps)
    fit_tiny(drawn, tmp_path, *MOVING, max_steps=max_steps)
    assert found(tmp_path) == unbroken(*MOVING, max_steps=max_steps)


class Spoiler(Callback):
    """Spoils the head before every epoch from the second on, so that the first is the best one."""

    def on_train_batch_start(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: object) -> None:
        if trainer.current_epoch >= 1:
            with torch.no_grad():
                module.network.head.weight.mul_(-100)  # type: ignore[operator,union-attr]


@pytest.mark.parametrize("ema", ["0.0", "0.7"], ids=["plain", "averaged"])
def test_the_best_epoch_and_patience_survive(ema: str, drawn: Manifest, tmp_path: Path) -> None:
    changes = ("epochs=9", "patience=3", f"optimiser.ema_decay={ema}")
    whole = fit_tiny(drawn, tmp_path / "whole", *changes, callbacks=(Spoiler(),)).facts
    assert (whole.best_epoch, whole.epochs_run) == (1, 4)
    stops = (At(Place("on_train_batch_end", 2 * STEPS + 1), terminate), At(Place("on_train_end", 1), terminate))
    for stop in stops:
        with pytest.raises(StoppedError):
            fit_tiny(drawn, tmp_path / "broken", *changes, callbacks=(Spoiler(), stop))
    fit_tiny(drawn, tmp_path / "broken", *changes, callbacks=(Spoiler(),))
    assert found(tmp_path / "broken") == found(tmp_path / "whole")


def test_time_is_counted_over_all_sittings(drawn: Manifest, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        fit_tiny(drawn, tmp_path, *PLAIN, callbacks=(At(Place("on_train_batch_end", STEPS + 1), terminate),))
    state = state_of(tmp_path)
    state[STATE_KEY]["seconds"] += 1000
    torch.save(state, tmp_path / STATE_NAME)
    facts = fit_tiny(drawn, tmp_path, *PLAIN).facts
    assert 1000 < facts.seconds < 1100
    assert facts.sittings == 2
    seconds = [float(line.rpartition(",")[2]) for line in (tmp_path / CURVES_NAME).read_text().splitlines()[1:]]
    assert [value > 1000 for value in seconds] == [False, True, True]


def test_rows_beyond_the_state_are_trained_again(drawn: Manifest, tmp_path: Path) -> None:
    die_late = At(Place("on_train_batch_end", 2 * STEPS + 2), die)
    with pytest.raises(KilledError):
        fit_tiny(drawn, tmp_path, *PLAIN, callbacks=(die_late,), checkpoint_every=STEPS + 2)
    assert len(read_curves(tmp_path / CURVES_NAME).val_loss) == 2
    seen: list[int] = []
    look = At(Place("on_train_start", 1), lambda: seen.append(len((tmp_path / CURVES_NAME).read_text().splitlines())))
    fit_tiny(drawn, tmp_path, *PLAIN, callbacks=(look,))
    assert seen == [2], "a heading and the epoch that the state knows"


class TestSignals:
    def test_ctrl_c_is_answered_like_sigterm(
        self, drawn: Manifest, tmp_path: Path, unbroken: Callable[..., dict[str, Any]]
    ) -> None:
        press = At(Place("on_train_batch_start", 3), lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(StoppedError) as stop:
            fit_tiny(drawn, tmp_path, *PLAIN, callbacks=(press,))
        assert stop.value.signum == signal.SIGINT
        fit_tiny(drawn, tmp_path, *PLAIN)
        assert found(tmp_path) == unbroken(*PLAIN)

    def test_a_second_ctrl_c_interrupts_at_once(self, drawn: Manifest, tmp_path: Path) -> None:
        def press_twice() -> None:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            fit_tiny(drawn, tmp_path, callbacks=(At(Place("on_train_batch_start", 2), press_twice),))

    def test_in_a_thread_they_are_left_alone(self, drawn: Manifest, tmp_path: Path) -> None:
        thread = threading.Thread(target=lambda: fit_tiny(drawn, tmp_path, "epochs=1"))
        thread.start()
        thread.join()
        assert names(tmp_path) == FINISHED

    def test_ctrl_c_that_was_switched_off_stays_so(self, drawn: Manifest, tmp_path: Path) -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            press = At(Place("on_train_batch_start", 2), lambda: os.kill(os.getpid(), signal.SIGINT))
            fit_tiny(drawn, tmp_path, "epochs=1", callbacks=(press,))
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def broken_off(drawn: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was told to stop in its second epoch; nobody may change it."""
    run = tmp_path_factory.mktemp("broken") / "run"
    with pytest.raises(StoppedError):
        fit_tiny(drawn, run, *PLAIN, callbacks=(At(Place("on_train_batch_end", STEPS + 1), terminate),))
    return run


@pytest.fixture
def unfinished(broken_off: Path, tmp_path: Path) -> Path:
    return shutil.copytree(broken_off, tmp_path / "run")


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "options", "said"),
        [
            ("optimiser.lr=0.01", {}, r"optimiser\.lr was 0\.\d+, is 0\.01"),
            ("data.excluded_flags=[]", {}, r"data\.excluded_flags was \['total-mismatch'.*\], is \[\]"),
            ("epochs=4", {}, "epochs was 3, is 4"),
            ("seed=4", {"max_steps": 99}, "--max-steps was -1, is 99"),
        ],
        ids=["a setting", "flags", "epochs", "steps"],
    )
    def test_a_run_of_another_kind_is_refused_and_left_alone(
        self, change: str, options: dict[str, int], said: str, drawn: Manifest, unfinished: Path
    ) -> None:
        before = {path: path.read_bytes() for path in unfinished.iterdir()}
        with pytest.raises(CheckpointError, match=rf"unfinished run of another kind: {said}\. .*--no-resume"):
            fit_tiny(drawn, unfinished, *PLAIN, change, **options)
        assert {path: path.read_bytes() for path in unfinished.iterdir()} == before

    def test_other_photos_are_refused(self, drawn: Manifest, unfinished: Path) -> None:
        moved = drawn.frame.with_columns(
            pl.when(pl.col("photo_id") == drawn.frame["photo_id"][0]).then(0).otherwise(pl.col("count")).alias("count")
        )
        with pytest.raises(CheckpointError, match=r"photos was [0-9a-f]{12}, is [0-9a-f]{12}"):
            fit_tiny(replace(drawn, frame=moved), unfinished, *PLAIN)

    def test_other_weights_are_refused(self, drawn: Manifest, tmp_path: Path) -> None:
        changes = ("model.backbone=resnet10t", "model.pretrained=true", "epochs=1")
        weights = tmp_path / "mine.safetensors"
        begun = fit_tiny(drawn, tmp_path / "other", *changes[:1], "model.pretrained=false", max_steps=1).network
        save_file({name: each.contiguous() for name, each in begun.backbone.state_dict().items()}, weights)
        stop = At(Place("on_train_batch_end", 1), terminate)
        with pytest.raises(StoppedError):
            fit_tiny(drawn, tmp_path / "run", *changes, weights=weights, callbacks=(stop,))
        elsewhere = shutil.move(weights, tmp_path / "moved.safetensors")
        with pytest.raises(WeightsError, match="no such weights file"):
            fit_tiny(drawn, tmp_path / "run", *changes, weights=weights)
        fit_tiny(drawn, shutil.copytree(tmp_path / "run", tmp_path / "copy"), *changes, weights=elsewhere)
        with elsewhere.open("ab") as file:
            file.write(b"\0")
        with pytest.raises(CheckpointError, match=r"weights was [0-9a-f]{12}, is [0-9a-f]{12}"):
            fit_tiny(drawn, tmp_path / "run", *changes, weights=elsewhere)

    @pytest.mark.parametrize("damage", [b"", b"no state", None], ids=["empty", "other bytes", "cut off"])
    def test_a_damaged_state_is_refused(self, damage: bytes | None, drawn: Manifest, unfinished: Path) -> None:
        path = unfinished / STATE_NAME
        path.write_bytes(path.read_bytes()[:-5000] if damage is None else damage)
        with pytest.raises(CheckpointError, match=r"resume\.pt: cannot be read.*--no-resume"):
            fit_tiny(drawn, unfinished, *PLAIN)

    def test_a_state_of_another_version_is_refused(self, drawn: Manifest, unfinished: Path) -> None:
        state = state_of(unfinished)
        state[STATE_KEY]["version"] = 99
        torch.save(state, unfinished / STATE_NAME)
        with pytest.raises(CheckpointError, match="version 99, but this Bintally reads 1"):
            fit_tiny(drawn, unfinished, *PLAIN)

    def test_code_in_a_state_is_never_run(self, drawn: Manifest, unfinished: Path, tmp_path: Path) -> None:
        class Sly:
            def __reduce__(self) -> tuple[object, ...]:
                return (Path.touch, (tmp_path / "owned",))

        torch.save({**state_of(unfinished), "more": Sly()}, unfinished / STATE_NAME)
        with pytest.raises(CheckpointError, match="cannot be read"):
            fit_tiny(drawn, unfinished, *PLAIN)
        assert not (tmp_path / "owned").exists()

    def test_another_number_of_processes_is_refused(self, drawn: Manifest, unfinished: Path) -> None:
        state = state_of(unfinished)
        state[STATE_KEY]["processes"] *= 2
        torch.save(state, unfinished / STATE_NAME)
        with pytest.raises(CheckpointError, match="trained by 2 processes, now there are 1"):
            fit_tiny(drawn, unfinished, *PLAIN)

    def test_a_watcher_with_code_in_its_state_is_refused_at_once(self, drawn: Manifest, tmp_path: Path) -> None:
        class Careless(Callback):
            def state_dict(self) -> dict[str, Any]:
                return {"path": tmp_path}

        with pytest.raises(TypeError, match="plain values and tensors"):
            fit_tiny(drawn, tmp_path / "run", callbacks=(Careless(),))


def test_no_resume_begins_anew(drawn: Manifest, unfinished: Path, unbroken: Callable[..., dict[str, Any]]) -> None:
    (unfinished / f".{STATE_NAME}.part").write_bytes(b"half")
    seen: list[list[str]] = []
    look = At(
        Place("on_train_batch_start", 1), lambda: seen.append([path.name for path in unfinished.glob("*resume*")])
    )
    assert fit_tiny(drawn, unfinished, *PLAIN, resume=False, callbacks=(look,)).facts.sittings == 1
    assert seen == [[]], "nor can it go on from the old state, if it is killed before it has one of its own"
    assert found(unfinished) == unbroken(*PLAIN)
    assert names(unfinished) == FINISHED


def test_a_run_may_go_on_elsewhere(
    drawn: Manifest, unfinished: Path, tmp_path: Path, unbroken: Callable[..., dict[str, Any]]
) -> None:
    """As on another machine, from a folder that was copied there."""
    run = shutil.move(unfinished, tmp_path / "another")
    data = shutil.copytree(drawn.root, tmp_path / "data")
    fit_tiny(replace(drawn, root=data), run, *PLAIN)
    assert found(run) == unbroken(*PLAIN)


def test_what_a_process_leaves_that_is_killed_at_the_very_end_is_removed(
    drawn: Manifest, unfinished: Path, tmp_path: Path
) -> None:
    fit_tiny(drawn, tmp_path / "whole", *PLAIN)
    shutil.copy(unfinished / STATE_NAME, tmp_path / "whole")
    with pytest.raises(CheckpointError, match="finished run already"):
        fit_tiny(drawn, tmp_path / "whole", *PLAIN)
    assert names(tmp_path / "whole") == FINISHED


def test_a_run_that_diverged_does_not_go_on(drawn: Manifest, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"optimiser\.lr"):
        fit_tiny(drawn, tmp_path, "optimiser.lr=1e30")
    assert STATE_NAME not in names(tmp_path)
    fit_tiny(drawn, tmp_path)


def test_a_disk_that_refuses_is_said_and_the_state_before_is_kept(tmp_path: Path) -> None:
    path, file = tmp_path / STATE_NAME, StateFile()
    file.save_checkpoint({"a": torch.zeros(10)}, path)
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CannotWriteError, match=r"resume\.pt: cannot write: File too large.*same command again"):
            file.save_checkpoint({"a": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
    assert names(tmp_path) == [STATE_NAME]
    assert torch.equal(file.load_checkpoint(path)["a"], torch.zeros(10))


def test_by_default_saving_takes_a_small_share_of_the_time(
    drawn: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that knows of saving alone: 0.2 s each time, and 1 s for each step."""
    now, saved = [0.0], []
    monkeypatch.setattr("bintally.training.keeper.time", SimpleNamespace(monotonic=lambda: now[0]))
    save = StateFile.save_checkpoint

    def slowly(self: StateFile, state: dict[str, Any], path: Path, storage_options: object = None) -> None:
        now[0] += 0.2
        saved.append(state["global_step"])
        save(self, state, path, storage_options)

    def tick() -> None:
        now[0] += 1

    monkeypatch.setattr(StateFile, "save_checkpoint", slowly)
    ticking = LambdaCallback(on_train_batch_start=lambda *_: tick())
    fit_tiny(drawn, tmp_path, "epochs=10", "patience=10", callbacks=(ticking,))
    assert saved == [1, 21, 41], "20 s after 0.2 s"


def test_random_numbers_go_on_where_they_were() -> None:
    import numpy as np

    def draw() -> list[float]:
        return [random.gauss(0, 1), float(np.random.standard_normal()), float(torch.rand(()))]

    for _ in range(2):
        state = random_state()
        first = draw()
        draw()
        set_random_state(state)
        assert draw() == first


def test_nested_settings_are_flattened() -> None:
    assert flat({"a": {"b": {"c": 1}}, "d": [2]}) == {"a.b.c": 1, "d": [2]}


class Command:
    """`bintally train` in a process of its own, which may be killed."""

    def __init__(self, data: Path, run: Path, *options: str) -> None:
        self.run = run
        changes = [part for change in (*TINY, *MOVING) for part in ("--set", change)]
        self._arguments = [
            *(sys.executable, "-c", "from bintally.cli.app import main; main()", "train", str(data)),
            *("--recipe", "smallcnn", "--out", str(run), "--no-progress", "--checkpoint-every", "1"),
            *changes,
            *options,
        ]

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self._arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for_states(self, process: subprocess.Popen[str], how_many: int) -> bool:
        """Until it has written so many; False: it ended before."""
        path, seen = self.run / STATE_NAME, set()
        if path.exists():
            seen.add(path.stat().st_mtime_ns)
            how_many += 1
        while len(seen) < how_many and process.poll() is None:
            if path.exists():
                seen.add(path.stat().st_mtime_ns)
            time.sleep(0.001)
        return process.poll() is None


SLOWLY = ("--set", "batch_size=8")  # twice as many steps


def test_sigterm_from_outside_ends_the_command_with_143(
    drawn: Manifest, tmp_path: Path, unbroken: Callable[..., dict[str, Any]]
) -> None:
    command = Command(drawn.root, tmp_path / "run", *SLOWLY)
    process = command.start()
    assert command.wait_for_states(process, 2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert f"bintally: {tmp_path / 'run'}: stopped after" in said
    assert "Traceback" not in said
    again = command.start()
    out, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert "goes on after" in out
    assert found(tmp_path / "run") == unbroken(*MOVING, "batch_size=8")


def test_killed_at_random_moments_it_ends_the_same(
    drawn: Manifest, tmp_path: Path, unbroken: Callable[..., dict[str, Any]]
) -> None:
    """`kill -9`, as often as BINTALLY_KILLS says."""
    command = Command(drawn.root, tmp_path / "run", *SLOWLY)
    dice = random.Random()  # noqa: S311 - other moments each time
    places: list[tuple[int, int]] = []
    while len(places) < KILLS:
        process = command.start()
        steps = 3 * 11 // KILLS
        assert command.wait_for_states(process, dice.randint(1, max(1, steps))), process.communicate()
        time.sleep(dice.uniform(0, 0.05))
        process.kill()
        process.communicate()
        state = state_of(tmp_path / "run")[STATE_KEY]
        places.append((state["epoch"], state["batches"]))
    process = command.start()
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert found(tmp_path / "run") == unbroken(*MOVING, "batch_size=8")
    assert names(tmp_path / "run") == sorted([*FINISHED, "health.json"])
    assert load_checkpoint(tmp_path / "run").facts.sittings == KILLS + 1
    assert 2 * sum(batches > 0 for _, batches in places) >= KILLS, f"half of them within an epoch: {places}"
    sys.stdout.write(f"killed at (epoch, batches): {places}\n")


def test_of_two_processes_either_may_be_told_to_stop(drawn: Manifest, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    address = ("--master-addr", "127.0.0.1", "--master-port", str(port))
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *address)
    script = Path(__file__).with_name("two_processes.py")
    done = subprocess.run(
        [*torchrun, str(script), str(drawn.root), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [(tmp_path / f"stopped-{rank}").read_text() for rank in (0, 1)] == ["15 7"] * 2
    assert found(tmp_path / "broken") == found(tmp_path / "whole")
    assert names(tmp_path / "broken") == FINISHED
