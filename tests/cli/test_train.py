"""`bintally train`: options to settings, and what it says."""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import timm
from safetensors.torch import save_file
from tests.cli.runner import Bintally
from tests.tiny_run import TINY, copy_dataset

from bintally.cli.train import choose_settings
from bintally.data.audit import audit
from bintally.data.manifest import SCHEMA, Manifest, Split, read_manifest, write_manifest
from bintally.data.prepare import prepare
from bintally.data.prepare_settings import PrepareSettings
from bintally.data.store import open_store
from bintally.errors import SettingsError
from bintally.models.checkpoint import load_checkpoint

SMALL = [part for change in TINY for part in ("--set", change)]


def test_a_run_is_trained_and_said(bintally: Bintally, drawn: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ["--recipe", "smallcnn", *SMALL, "--counts", "1-5", "--seed", "7", "--epochs", "1", "--out", out]
    run = bintally("train", drawn.root, *options, "--licence", "ours alone", "--no-progress")
    assert run.code == 0, run.err
    assert f"{out}: best epoch 1 of 1, validation loss" in run.out
    assert f"Next: bintally evaluate {out} --data {drawn.root}" in run.out
    assert "Lightning" not in run.err + run.out
    facts = load_checkpoint(out).facts
    assert (facts.low, facts.high, facts.open_ended) == (1, 5, False)
    assert facts.provenance.licence == "ours alone"
    assert (facts.settings.seed, facts.settings.epochs, facts.settings.data.side_px) == (7, 1, 32)
    again = bintally("train", drawn.root, *options, "--no-progress")
    assert again.code == 6
    assert "holds a finished run already" in again.err


def test_a_teacher_is_named_to_the_end(bintally: Bintally, drawn: Manifest, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    options = ["--recipe", "smallcnn", *SMALL, "--epochs", "1", "--teacher", tiny_run, "--out", out]
    run = bintally("train", drawn.root, *options)
    assert run.code == 0, run.err
    assert bintally("export", out).code == 0
    assert "tiny (settings" in bintally("models", "show", out / "model.onnx").out.partition("taught by")[2]
    run = bintally("train", drawn.root, *options[:-3], tmp_path / "nowhere", "--out", tmp_path / "other")
    assert run.code == 6
    assert "nowhere/checkpoint.json: no finished run there" in run.err


def test_the_benchmark_takes_two_steps_from_a_weights_file(bintally: Bintally, drawn: Manifest, tmp_path: Path) -> None:
    weights, out = tmp_path / "mine.safetensors", tmp_path / "run"
    state = timm.create_model("resnet50").state_dict()
    save_file(state, weights)
    options = ["--recipe", "resnet50", "--weights", weights, "--max-steps", "2", "--out", out, *SMALL]
    run = bintally("train", drawn.root, *options, "--set", "batch_size=4", "--no-progress")
    assert run.code == 0, run.err
    checkpoint = load_checkpoint(out)
    assert checkpoint.facts.provenance.weights == "mine.safetensors"
    assert checkpoint.facts.epochs_run == 1
    trained = checkpoint.network.backbone.state_dict()["conv1.weight"]
    moved = (trained - state["conv1.weight"]).abs().max().item()
    assert 0 < moved <= 2 * 0.001 * 1.01, "two steps of Adam, 0.001 each at most"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], 2, "either --recipe NAME or --config FILE"),
        (["--recipe", "smallcnn", "--config", "x.toml"], 2, "either --recipe NAME or --config FILE"),
        (["--recipe", "resnet9"], 2, "no recipe is called 'resnet9'"),
        (["--config", "nowhere.toml"], 2, "nowhere.toml: cannot be read"),
        (["--recipe", "smallcnn", "--set", "optimiser.rate=1"], 2, "optimiser.rate"),
        (["--recipe", "smallcnn", "--set", "data.excluded_flags=['dim']"], 2, "'dim': there is no such flag"),
        (["--recipe", "smallcnn", "--set", "data.excluded_flags=dark"], 2, "data.excluded_flags"),
        (["--recipe", "smallcnn", "--counts", "5-1"], 2, "such as 1-5"),
        (["--recipe", "smallcnn", "--counts", "1-9"], 5, "no training photo has [6, 7, 8, 9] items"),
        (["--recipe", "smallcnn", "--weights", "x.pth"], 2, "trains from nothing"),
        (["--recipe", "smallcnn", "--max-steps", "0"], 2, "--max-steps"),
        (["--recipe", "smallcnn", "--seed", "-1"], 2, "seed"),
        (["--recipe", "resnet50", "--weights", "nowhere.pth"], 6, "nowhere.pth: no such weights file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_a_sentence_and_leaves_nothing(
    options: list[str], code: int, said: str, bintally: Bintally, drawn: Manifest, tmp_path: Path
) -> None:
    run = bintally("train", drawn.root, *options, "--out", tmp_path / "run")
    assert run.code == code
    assert said in run.err
    assert run.out == ""
    assert len(run.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def spoilt(drawn: Manifest, root: Path, **extra: str) -> Manifest:
    """A copy of which three training photos are dark, one of them contradicting itself, and one is truncated."""
    made = copy_dataset(drawn, root)
    first, second, third, fourth, *_ = made.usable(Split.TRAIN)["photo_id"]
    flags = {first: ["dark"], second: ["dark"], third: ["total-mismatch", "dark"], fourth: ["truncated"]}
    rows = [{**row, "flags": flags.get(row["photo_id"], row["flags"])} for row in made.frame.to_dicts()]
    header = replace(made.header, extra={**made.header.extra, **extra})
    changed = replace(made, frame=pl.DataFrame(rows, schema=SCHEMA), header=header)
    write_manifest(changed)
    return changed


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("['dark', 'blurred']", "1 truncated, 3 dark, 0 blurred"),
        ("['total-mismatch']", "1 truncated, 1 total-mismatch"),
        ("[]", "1 truncated"),
    ],
)
def test_it_says_how_many_photos_each_flag_keeps_out(
    flags: str, said: str, bintally: Bintally, drawn: Manifest, tmp_path: Path
) -> None:
    data = spoilt(drawn, tmp_path / "data")
    options = ["--recipe", "smallcnn", *SMALL, "--max-steps", "1", "--out", tmp_path / "run", "--no-progress"]
    run = bintally("train", data.root, *options, "--set", f"data.excluded_flags={flags}")
    assert run.code == 0, run.err
    assert f"Kept out of train, val and calibration: {said}\n" in run.out


@pytest.mark.parametrize(
    ("done", "said"),
    [
        ([], "Never audited: duplicates and broken photos may be among the photos. "),
        (["audit"], ""),
        (["audit", "prepare"], ""),
        (["audit", "split"], "Split anew since the audit: a photo and its duplicate may lie in two splits, "),
        (["audit", "ingest"], "1 photos came after the audit: duplicates may be among them. "),
    ],
    ids=["never", "audited", "prepared then", "split anew", "another photo"],
)
def test_a_dataset_whose_duplicates_are_not_known_is_said_to_be(
    done: list[str], said: str, bintally: Bintally, drawn: Manifest, tmp_path: Path
) -> None:
    made = copy_dataset(drawn, tmp_path / "data")
    if "audit" in done:
        made = audit(made).manifest
    if "ingest" in done:
        last = pl.int_range(pl.len()) == 0
        seen = pl.when(last).then(None).otherwise(pl.col("brightness")).alias("brightness")
        made = replace(made, frame=made.frame.with_columns(seen))
    write_manifest(made)
    if "prepare" in done:
        prepare(made, open_store(str(tmp_path / "small"), create=True), PrepareSettings(side_px=32))
        made = read_manifest(tmp_path / "small")
    if "split" in done:
        again = bintally("split", made.root, "--salt", "another", "--require-counts", "none")
        assert "Split anew since the audit: a photo and its duplicate may lie in two splits" in again.out
    options = ["--recipe", "smallcnn", *SMALL, "--max-steps", "1", "--out", tmp_path / "run", "--no-progress"]
    run = bintally("train", made.root, *options)
    assert run.code == 0, run.err
    lines = [line for line in run.out.splitlines() if "audit" in line]
    assert len(lines) == bool(said)
    assert all(line.startswith(said) and f"First: bintally audit {made.root}" in line for line in lines)


def test_a_dataset_prepared_at_another_side_is_5(bintally: Bintally, drawn: Manifest, tmp_path: Path) -> None:
    note = {"side_px": 64, "format": "jpeg", "quality": 95, "resize": "squash-bicubic", "hash": "0123456789ab"}
    data = spoilt(drawn, tmp_path / "data", prepared=json.dumps(note))
    options = ["--recipe", "smallcnn", "--max-steps", "1", "--out", tmp_path / "run", "--no-progress"]
    run = bintally("train", data.root, *options)
    assert (run.code, run.out) == (5, "")
    assert "prepared at 64 px, but recipe 'smallcnn' sees 128 px" in run.err
    assert "--set data.side_px=64" in run.err
    assert bintally("train", data.root, *options, "--set", "data.side_px=64").code == 0
    assert load_checkpoint(tmp_path / "run").facts.provenance.prepared == "0123456789ab"


def test_no_dataset_is_5(bintally: Bintally, tmp_path: Path) -> None:
    run = bintally("train", tmp_path, "--recipe", "smallcnn", "--out", tmp_path / "run")
    assert run.code == 5
    assert "bintally ingest" in run.err


def test_no_hub_is_6_and_says_what_to_do(
    bintally: Bintally, drawn: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(timm, "create_model", unreachable)
    run = bintally("train", drawn.root, "--recipe", "resnet50", "--out", tmp_path / "run")
    assert run.code == 6
    assert "--weights FILE" in run.err
    assert not (tmp_path / "run").exists()


def test_without_out_the_run_is_named_by_recipe_and_time(
    bintally: Bintally, drawn: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bintally("train", drawn.root, "--recipe", "smallcnn", *SMALL, "--max-steps", "1", "--no-progress").code == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("smallcnn-2")
    assert json.loads((run / "checkpoint.json").read_text())["name"] == run.name


def test_options_go_before_changes_and_changes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("epochs = 9\nseed = 9\nbatch_size = 9")
    settings = choose_settings(
        None, tmp_path / "mine.toml", counts="2-4", seed=1, changes=["seed=2", "epochs=2", "data.counts=[0, 9]"]
    )
    assert (settings.epochs, settings.seed, settings.batch_size) == (2, 1, 9)
    assert settings.data.counts == (2, 4)
    with pytest.raises(SettingsError, match="recipe smallcnn: epochs"):
        choose_settings("smallcnn", None, changes=["epochs=0"])
