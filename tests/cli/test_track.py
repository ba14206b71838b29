"""`--track`, `track`, `promote`, `registry`: what is said, and with which code."""

import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.runner import Bintally
from tests.tiny_run import TINY, copy_dataset, fit_tiny

from bintally.data.manifest import Manifest, write_manifest
from bintally.data.splits import split
from bintally.export import export
from bintally.tracking.store import Store, find_store

SMALL = [part for change in TINY for part in ("--set", change)]
SPACE = """
[space]
optimiser.lr = { low = 0.001, high = 0.01, log = true }
batch_size = { choices = [8, 16] }
"""
WIDE = ["--margin", "20", "--margin-loss", "0.5"]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all: MLflow takes seconds to make one."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture(autouse=True)
def no_store_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def opened(uri: str, experiment: str) -> Store:
    return find_store(uri, experiment, beside=Path())


def runs_of(store: Store) -> list[Any]:
    return list(store.client.search_runs([store.experiment_id]))


def test_a_run_is_tracked_and_evaluated_and_sent_again(
    bintally: Bintally, drawn: Manifest, uri: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    place = ["--tracking-uri", uri, "--experiment", "evaluated"]
    run = bintally("train", drawn.root, "--recipe", "smallcnn", *SMALL, "--out", out, "--no-progress", *place)
    assert run.code == 0, run.err
    assert f"Recorded: {uri}, experiment 'evaluated'. To look at it: mlflow ui --backend-store-uri {uri}" in run.out
    assert run.err == "", "no log of MLflow's"
    store = opened(uri, "evaluated")
    (before,) = runs_of(store)
    assert "test/all/accuracy" not in before.data.metrics

    evaluated = bintally("evaluate", out, "--data", drawn.root, "--no-baselines")
    assert evaluated.code == 0, evaluated.err
    for _ in range(2):
        sent = bintally("track", out, *place)
        assert sent.code == 0, sent.err
        assert f"{out}: finished; " in sent.out
    (after,) = runs_of(store)
    assert after.info.run_id == before.info.run_id
    assert {"test/all/accuracy", "val/1-5-restricted/cross_entropy"} <= set(after.data.metrics)
    kept = {each.path for each in store.client.list_artifacts(after.info.run_id, "evaluation")}
    assert kept == {"evaluation/report.html", "evaluation/figures.csv"}
    assert "model.onnx" in {each.path for each in store.client.list_artifacts(after.info.run_id)}


def test_the_store_is_beside_the_runs_by_default(bintally: Bintally, tiny_run: Path, uri: str, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "runs" / "one"))
    shutil.copyfile(uri.removeprefix("sqlite:///"), tmp_path / "runs" / "mlflow.db")
    sent = bintally("track", run)
    assert sent.code == 0, sent.err
    assert f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}" in sent.out


def test_a_server_that_is_down_is_said_and_the_run_is_trained(
    bintally: Bintally, drawn: Manifest, tmp_path: Path, uri: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        down = f"http://127.0.0.1:{free.getsockname()[1]}"
    out = tmp_path / "run"
    options = ["--recipe", "smallcnn", *SMALL, "--out", out, "--no-progress", "--track", "--tracking-uri", down]
    run = bintally("train", drawn.root, *options)
    assert run.code == 0, run.err
    assert run.err.count("Training goes on") == 1
    assert f"bintally track {out} --tracking-uri {down} --experiment bintally" in run.err
    assert "Not all of" in run.err
    assert "Recorded: " not in run.out
    assert "Traceback" not in run.err
    sent = bintally("track", out, "--tracking-uri", uri, "--experiment", "later")
    assert sent.code == 0, sent.err
    assert len(runs_of(opened(uri, "later"))) == 1
    assert bintally("track", out, "--tracking-uri", down).code == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tracking-uri", "ftp://x"], "--tracking-uri: expected sqlite:///"),
        (["--tracking-uri", "mysql://me:secret@host/db"], "'mysql://***@host/db'"),
        (["--track", "--experiment", ""], "--experiment: expected a name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_store_that_cannot_be_meant_ends_it_before_training(
    options: list[str], said: str, bintally: Bintally, drawn: Manifest, tmp_path: Path
) -> None:
    run = bintally("train", drawn.root, "--recipe", "smallcnn", *SMALL, "--out", tmp_path / "run", *options)
    assert run.code == 2
    assert said in run.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["train", "track", "promote", "tune", "registry"])
def test_without_mlflow_the_extra_is_named(
    verb: str, bintally: Bintally, drawn: Manifest, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    (tmp_path / "mine.toml").write_text(SPACE)
    options: list[object] = {
        "train": ["train", drawn.root, "--recipe", "smallcnn", *SMALL, "--out", tmp_path / "run", "--track"],
        "tune": ["tune", drawn.root, "--recipe", "smallcnn", "--space", tmp_path / "mine.toml", "--study",
                 tmp_path / "study", "--track"],
        "track": ["track", tiny_run],
        "promote": ["promote", tiny_run, "--data", drawn.root],
        "registry": ["registry", "list"],
    }[verb]  # fmt: skip
    run = bintally(*options)
    assert run.code == 7, run.err
    assert "pip install 'bintally[track]'" in run.err
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.toml"]


def test_what_is_no_run_is_a_sentence(bintally: Bintally, tmp_path: Path, uri: str) -> None:
    run = bintally("track", tmp_path, "--tracking-uri", uri)
    assert (run.code, run.out) == (6, "")
    assert f"{tmp_path}: no run there; train one" in run.err


def test_promote_refuses_fetches_and_lists(
    bintally: Bintally, drawn: Manifest, tiny_run: Path, uri: str, tmp_path: Path
) -> None:
    good, bad = Path(shutil.copytree(tiny_run, tmp_path / "good")), tmp_path / "bad"
    (good / "model.onnx").unlink()  # exported by the way
    export(fit_tiny(drawn, bad, "optimiser.lr=0.5"), bad / "model.onnx")
    place = ["--name", "cli", "--tracking-uri", uri]

    assert "no model 'cli' is registered" in bintally("registry", "list", *place).out
    dry = bintally("promote", good, "--data", drawn.root, *place, "--dry-run")
    assert dry.code == 0, dry.err
    assert "would be promoted" in dry.out
    assert "no model 'cli'" in bintally("registry", "list", *place).out

    first = bintally("promote", good, "--data", drawn.root, *place, *WIDE)
    assert first.code == 0, first.err
    assert "tiny (version 1): promoted. The first champion, better than the baseline prior: accuracy +" in first.out
    worse = bintally("promote", bad / "model.onnx", "--data", drawn.root, *place, *WIDE)
    assert worse.code == 13
    assert "bad (version 2): refused: worse. Worse than tiny (version 1), the champion, in" in worse.out
    assert worse.err.strip() == ""
    again = bintally("promote", good, "--data", drawn.root, *place)
    assert again.code == 0
    assert "the champion already" in again.out

    listed = bintally("registry", "list", *place)
    assert "version 2: worse than tiny (version 1)" in listed.out
    assert "version 1: the first champion" in listed.out
    assert "candidate" in listed.out
    fetched = bintally("registry", "fetch", "champion", "--out", tmp_path / "champion.onnx", *place)
    assert fetched.code == 0, fetched.err
    assert (tmp_path / "champion.onnx").read_bytes() == (good / "model.onnx").read_bytes()
    missing = bintally("registry", "fetch", "5", "--out", tmp_path / "x.onnx", *place)
    assert missing.code == 6
    assert "there are: 1/champion, 2/candidate" in missing.err


def test_promote_refuses_other_splits_and_odd_options(
    bintally: Bintally, drawn: Manifest, tiny_run: Path, uri: str, tmp_path: Path
) -> None:
    other = split(copy_dataset(drawn, tmp_path / "other"), salt="another", required_counts=()).manifest
    write_manifest(other)
    run = bintally("promote", tiny_run / "model.onnx", "--data", other.root, "--tracking-uri", uri)
    assert run.code == 6
    assert "learned from other splits" in run.err
    for options, said in (
        (["--margin", "-1"], "--margin: expected 0 or more"),
        (["--name", "a/b"], "--name: expected"),
    ):
        run = bintally("promote", tiny_run / "model.onnx", "--data", drawn.root, "--tracking-uri", uri, *options)
        assert run.code == 2
        assert said in run.err


def test_a_study_is_one_run_with_its_trials_below(
    bintally: Bintally, drawn: Manifest, uri: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(SPACE)
    fixed = [part for change in TINY if "batch" not in change for part in ("--set", change)]
    options = ["--recipe", "smallcnn", *fixed, "--space", tmp_path / "mine.toml", "--study", tmp_path / "study"]
    options += ["--limit-photos", "60", "--no-progress", "--tracking-uri", uri, "--experiment", "study"]
    for _ in range(2):  # the second time there is nothing left to train
        run = bintally("tune", drawn.root, *options, "--trials", "2")
        assert run.code == 0, run.err
    assert "Recorded: " in run.out
    store = opened(uri, "study")
    held = {each.info.run_name: each for each in runs_of(store)}
    assert sorted(held) == ["study", "trial 0", "trial 1"]
    parent = held.pop("study")
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["final/trials"] == 2
    assert {each.path for each in store.client.list_artifacts(parent.info.run_id)} == {
        "best.toml", "trials.csv", "report.html",
    }  # fmt: skip
    for trial in held.values():
        assert trial.data.tags["mlflow.parentRunId"] == parent.info.run_id
        state = trial.data.tags["bintally.state"]
        assert trial.info.status == {"done": "FINISHED", "pruned": "KILLED"}[state]
        assert trial.data.params["batch_size"] in ("8", "16")
        curve = store.client.get_metric_history(trial.info.run_id, "curves/val_loss")
        assert [each.step for each in curve] == list(range(1, len(curve) + 1))
        assert min(each.value for each in curve) == pytest.approx(trial.data.metrics["final/val_loss"], abs=1e-4)
