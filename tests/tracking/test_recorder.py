"""A run is recorded while it trains; nothing that happens to the store changes the run."""

import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback, LambdaCallback
from tests.tiny_run import fit_tiny, tiny_settings
from tests.tracking.conftest import Server

from bintally.data.manifest import Manifest
from bintally.errors import SettingsError, StoppedError
from bintally.tracking import sender
from bintally.tracking.after import send_folder
from bintally.tracking.record import Origin, read_record
from bintally.tracking.recorder import Recorder
from bintally.tracking.send import KEY_TAG
from bintally.tracking.store import Store, find_store

MOVING = ("epochs=3", "seed=4", "model.dropout=0.5", "augment.shrink=0.2", "optimiser.ema_decay=0.7")
EPOCHS = 3
CURVES = tuple(f"curves/{key}" for key in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds"))


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny run has fifteen steps."""
    monkeypatch.setattr(sender, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(sender, "_FIRST_PAUSE", 0.2)


def record(
    store: Store, manifest: Manifest, run: Path, *others: Callback, said: list[str] | None = None, **options: Any
) -> Recorder:
    """Train, recorded."""
    settings = tiny_settings(*MOVING)
    origin = Origin.of_run(manifest, settings, weights=None, licence="none")
    say = (said if said is not None else []).append
    recorder = Recorder(store, run, origin, say=say, resume=options.get("resume", True), every=2)
    recorder.check()
    with recorder.recording():
        fit_tiny(manifest, run, *MOVING, callbacks=(recorder, *others), **options)
    return recorder


def the_run(store: Store) -> Any:
    """The only one in the store."""
    (run,) = store.client.search_runs([store.experiment_id])
    return run


def steps(store: Store, run: Any, key: str) -> list[int]:
    return sorted(each.step for each in store.client.get_metric_history(run.info.run_id, key))


def result(run: Path) -> Any:
    """What a run ends with, but for its times."""
    curves = [line.rpartition(",")[0] for line in (run / "curves.csv").read_text().splitlines()]
    return curves, (run / "checkpoint.safetensors").read_bytes()


@pytest.fixture(scope="module")
def unrecorded(drawn: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the run ends with that nobody records."""
    run = tmp_path_factory.mktemp("unrecorded") / "run"
    fit_tiny(drawn, run, *MOVING)
    return result(run)


def check_whole(store: Store, run: Path) -> Any:
    """One run, with every point once, its settings, origin and files."""
    held = the_run(store)
    for key in CURVES:
        assert steps(store, held, key) == list(range(1, EPOCHS + 1)), key
    assert steps(store, held, "curves/batch_loss") == list(range(2, 16, 2))
    cpu = steps(store, held, "system/cpu_utilization_percentage")
    assert cpu == list(range(len(cpu)))
    assert cpu, "a last look at least"
    assert held.info.status == "FINISHED"
    assert held.data.params["augment.shrink"] == "0.2"
    assert held.data.params["model.backbone"] == "smallcnn"
    files = {each.path for each in store.client.list_artifacts(held.info.run_id)}
    assert {"settings.toml", "curves.csv", "checkpoint.json"} <= files
    assert read_record(run).key == held.data.tags[KEY_TAG]  # type: ignore[union-attr]
    return held


def test_a_run_is_recorded_and_not_changed(store: Store, drawn: Manifest, tmp_path: Path, unrecorded: Any) -> None:
    said: list[str] = []
    record(store, drawn, tmp_path / "run", said=said)
    assert said == []
    assert result(tmp_path / "run") == unrecorded, "bit for bit"
    held = check_whole(store, tmp_path / "run")
    tags, data = held.data.tags, held.data.metrics
    assert tags["bintally.dataset_hash"] == drawn.content_hash
    assert tags["bintally.split_hash"] == drawn.split_hash
    assert tags["bintally.settings_hash"] == tiny_settings(*MOVING).content_hash
    assert tags["bintally.weights"] == "none"
    assert held.inputs.dataset_inputs[0].dataset.digest == drawn.content_hash
    assert data["final/val_loss"] == pytest.approx(min(float(row.split(",")[3]) for row in unrecorded[0][1:]), abs=1e-4)


def test_sent_once_more_nothing_is_twice(store: Store, drawn: Manifest, tmp_path: Path) -> None:
    record(store, drawn, tmp_path / "run")
    once = the_run(store).data.to_dictionary()
    for _ in range(2):
        send_folder(store, tmp_path / "run")
    check_whole(store, tmp_path / "run")
    assert the_run(store).data.to_dictionary() == once
    for key in once["metrics"]:
        held = Counter(steps(store, the_run(store), key))
        assert set(held.values()) == {1}, key


def test_a_killed_run_goes_on_in_the_same_record(store: Store, drawn: Manifest, tmp_path: Path) -> None:
    """The process is killed within the second epoch, after its figures have reached the store."""
    run = tmp_path / "run"
    program = f"""
    import os, signal, time
    from pathlib import Path
    from lightning.pytorch.callbacks import LambdaCallback
    from tests.tracking import test_recorder as here
    from bintally.data.manifest import read_manifest
    from bintally.tracking import sender
    from bintally.tracking.store import find_store

    sender.EVERY_SECONDS = 0.05
    def die(trainer, *_):
        if trainer.global_step == 8:
            time.sleep(1.5)
            os.kill(os.getpid(), signal.SIGKILL)
    store = find_store({store.uri!r}, {store.experiment!r}, beside=Path())
    manifest = read_manifest(Path({str(drawn.root)!r}))
    killer = LambdaCallback(on_train_batch_end=die)
    here.record(store, manifest, Path({str(run)!r}), killer, checkpoint_every=3)
    """
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = the_run(store)
    assert before.info.status == "RUNNING"
    assert steps(store, before, "curves/batch_loss") == [2, 4, 6, 8], "saved after 6 steps: two of them come again"
    assert steps(store, before, "curves/val_loss") == [1]
    record(store, drawn, run)
    after = check_whole(store, run)
    assert after.info.run_id == before.info.run_id


def test_a_stopped_run_goes_on_in_the_same_record(store: Store, drawn: Manifest, tmp_path: Path) -> None:
    stop = LambdaCallback(on_train_epoch_end=lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(StoppedError):
        record(store, drawn, tmp_path / "run", stop)
    stopped = the_run(store)
    seen: list[str] = []

    def look(trainer: Any, *_: object) -> None:
        until_sent(recorder_of(trainer))
        seen.append(the_run(store).info.status)

    record(store, drawn, tmp_path / "run", LambdaCallback(on_train_epoch_end=look))
    assert set(seen) == {"RUNNING"}
    assert check_whole(store, tmp_path / "run").info.run_id == stopped.info.run_id


def test_begun_anew_it_is_another_run(store: Store, drawn: Manifest, tmp_path: Path) -> None:
    stop = LambdaCallback(on_train_epoch_end=lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(StoppedError):
        record(store, drawn, tmp_path / "run", stop)
    first = the_run(store)
    assert first.info.status == "KILLED"
    record(store, drawn, tmp_path / "run", resume=False)
    second, *others = store.client.search_runs([store.experiment_id])
    assert [each.info.run_id for each in others] == [first.info.run_id]
    assert second.info.status == "FINISHED"
    assert steps(store, second, "curves/val_loss") == [1, 2, 3]


def test_a_run_that_fails_is_recorded_as_such(store: Store, drawn: Manifest, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise SettingsError("the loss went to infinity")

    with pytest.raises(SettingsError, match="infinity"):
        record(store, drawn, tmp_path / "run", LambdaCallback(on_train_epoch_end=fail))
    assert the_run(store).info.status == "FAILED"
    assert steps(store, the_run(store), "curves/val_loss") == [1]


@pytest.mark.parametrize("kind", ["closed", "hanging"])
def test_a_server_that_does_not_answer_stops_nothing(
    kind: str, store: Store, drawn: Manifest, tmp_path: Path, unrecorded: Any, request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(sender, "LIVE_SECONDS", 1)
    uri, run = request.getfixturevalue(kind), tmp_path / "run"
    said: list[str] = []
    record(find_store(uri, "elsewhere", beside=tmp_path, seconds=1), drawn, run, said=said)
    assert result(run) == unrecorded
    begin, end = said
    assert "Training goes on" in begin
    assert f"bintally track {run} --tracking-uri {uri} --experiment elsewhere" in begin
    assert "Not all of" in end
    send_folder(store, run)
    check_whole(store, run)


def test_a_server_that_dies_in_mid_run_gets_the_rest_later(
    server: Server, store: Store, drawn: Manifest, tmp_path: Path, unrecorded: Any
) -> None:
    run, said = tmp_path / "run", list[str]()
    remote = find_store(server.url, store.experiment, beside=tmp_path, seconds=5)

    def die(trainer: Any, *_: object) -> None:
        if trainer.current_epoch == 1:
            until_sent(recorder_of(trainer))
            server.die()

    record(remote, drawn, run, LambdaCallback(on_train_epoch_end=die), said=said)
    assert result(run) == unrecorded
    assert 1 <= len(said) <= 2, "it died so late that the end may come first"
    assert "Not all of" in said[-1]
    held = the_run(store)
    assert held.info.status == "RUNNING"
    assert steps(store, held, "curves/val_loss") == [1, 2]
    server.start()
    send_folder(find_store(server.url, store.experiment, beside=tmp_path), run)
    after = check_whole(remote, run)
    assert after.info.run_id == held.info.run_id


def recorder_of(trainer: Any) -> Recorder:
    return next(each for each in trainer.callbacks if isinstance(each, Recorder))


def until_sent(recorder: Recorder) -> None:
    """Wait until all that was noted so far is in the store."""
    for _ in range(600):
        thread, journal = recorder._sender, recorder._journal
        if thread is not None and journal is not None and thread._sent >= len(journal.points):
            return
        time.sleep(0.05)
    raise AssertionError("nothing was sent in half a minute")


def test_a_server_that_comes_back_gets_the_rest_while_the_run_goes_on(
    server: Server, store: Store, drawn: Manifest, tmp_path: Path
) -> None:
    server.die()
    said: list[str] = []

    def come_back(trainer: Any, *_: object) -> None:
        if trainer.current_epoch == 0:
            server.start()
        if trainer.current_epoch == 1:
            until_sent(recorder_of(trainer))

    remote = find_store(server.url, store.experiment, beside=tmp_path, seconds=5)
    record(remote, drawn, tmp_path / "run", LambdaCallback(on_train_epoch_end=come_back), said=said)
    assert len(said) == 1
    assert "Training goes on" in said[0]
    check_whole(remote, tmp_path / "run")


def test_a_store_that_cannot_be_meant_ends_it_before_training(drawn: Manifest, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database at all, but long enough" * 40)
    with pytest.raises(SettingsError, match="no SQLite database"):
        record(find_store(None, beside=tmp_path), drawn, tmp_path / "run")
    assert not (tmp_path / "run").exists()
