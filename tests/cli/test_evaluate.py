"""`bintally evaluate`: runs and baselines beside each other, in files and on the screen."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import polars as pl
import pytest
from tests.cli.runner import Bintally
from tests.fixed_model import write_fixed_model
from tests.tiny_run import copy_dataset

from bintally.cli.evaluate import _task, load_engine
from bintally.data.manifest import Manifest, Split, write_manifest
from bintally.errors import BintallyError, CheckpointError, ModelError
from bintally.inference.engine import Engine
from bintally.inference.model_file import METADATA_KEY

BASELINES = ["majority", "prior", "cues"]


def test_a_run_and_the_baselines(bintally: Bintally, drawn: Manifest, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = bintally("evaluate", tiny_run, "--data", drawn.root, "--out", out, "--max-train-photos", "20")
    assert done.code == 0, done.err
    assert {path.name for path in out.iterdir()} >= {"report.html", *(f"{name}.json" for name in ("tiny", *BASELINES))}
    assert f"Report: {out / 'report.html'}" in done.out
    assert all(name in done.out for name in ("tiny", *BASELINES))
    found = json.loads((out / "tiny.json").read_text())
    assert [split["split"] for split in found["splits"]] == ["train", "val", "test"]
    assert found["splits"][0]["photos"] == 20
    assert found["provenance"]["split_hash"] == drawn.split_hash
    assert len(found["curves"]["epoch"]) == 6
    hashes = {json.loads((out / f"{name}.json").read_text())["provenance"]["split_hash"] for name in BASELINES}
    assert hashes == {drawn.split_hash}


def test_without_baselines_into_the_runs_folder(
    bintally: Bintally, drawn: Manifest, tiny_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    done = bintally("evaluate", run, "--data", drawn.root, "--no-baselines")
    assert done.code == 0, done.err
    assert {path.name for path in (run / "evaluation").iterdir()} == {"report.html", "figures.csv", "tiny.json"}


def named(model: Path, folder: Path, name: str, *excluded: str) -> Path:
    """The same model under another name, of a run that left out photos with these flags."""
    path = Path(shutil.copy(model, folder / f"{name}.onnx"))
    proto = onnx.load(path)
    facts = Engine(path).facts
    provenance = facts.provenance.model_copy(update={"excluded_flags": excluded})
    changed = facts.model_copy(update={"name": name, "provenance": provenance})
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {METADATA_KEY: changed.model_dump_json()})
    onnx.save(proto, path)
    return path


def test_all_are_measured_without_what_any_left_out(
    bintally: Bintally, drawn: Manifest, tiny_run: Path, tmp_path: Path
) -> None:
    made = copy_dataset(drawn, tmp_path / "data")
    dark, blurred = (made.usable(split)["photo_id"][0] for split in (Split.TRAIN, Split.VAL))
    flags = pl.when(pl.col("photo_id") == dark).then(pl.lit(["dark"])).when(pl.col("photo_id") == blurred)
    frame = made.frame.with_columns(flags=flags.then(pl.lit(["blurred"])).otherwise("flags"))
    write_manifest(replace(made, frame=frame))
    (made.root / "bin-images" / f"{dark}.jpg").unlink()  # nor is it read for the baselines
    model, out = tiny_run / "model.onnx", tmp_path / "out"
    one, two = named(model, tmp_path, "one", "dark"), named(model, tmp_path, "two", "blurred", "dark")
    done = bintally("evaluate", one, two, "--data", made.root, "--out", out)
    assert done.code == 0, done.err
    assert "Different flags kept photos out of these runs (one: dark; two: blurred, dark)" in done.out
    for name in ("one", "two", *BASELINES):
        found = json.loads((out / f"{name}.json").read_text())
        photos = [split["photos"] for split in found["splits"]]
        wanted = [made.usable(split).height for split in (Split.TRAIN, Split.VAL, Split.TEST)]
        assert photos == [wanted[0] - 1, wanted[1] - 1, wanted[2]]
        assert found["provenance"]["excluded_flags"] == ["dark", "blurred"]
    alone = bintally("evaluate", two, "--data", made.root, "--out", out, "--no-baselines")
    assert alone.code == 0
    assert "Different flags" not in alone.out


def test_photos_prepared_at_another_side_are_refused(
    bintally: Bintally, drawn: Manifest, tiny_run: Path, tmp_path: Path
) -> None:
    made = copy_dataset(drawn, tmp_path / "data")
    for side_px, code in ((64, 5), (32, 0)):
        note = {"side_px": side_px, "format": "png", "quality": None, "resize": "squash-bicubic", "hash": "0" * 12}
        write_manifest(replace(made, header=replace(made.header, extra={"prepared": json.dumps(note)})))
        run = bintally("evaluate", tiny_run, "--data", made.root, "--out", tmp_path / "out", "--no-baselines")
        assert run.code == code, run.err
        if code:
            assert f"prepared at 64 px, but {tiny_run} sees 32 px" in run.err
            assert "--set" not in run.err
            assert not (tmp_path / "out").exists()


def test_two_of_one_name_are_refused(bintally: Bintally, drawn: Manifest, tiny_run: Path, tmp_path: Path) -> None:
    done = bintally("evaluate", tiny_run, tiny_run / "model.onnx", "--data", drawn.root, "--out", tmp_path / "out")
    assert done.code == 2
    assert "different names" in done.err


def test_a_run_called_as_a_baseline_is_refused(bintally: Bintally, drawn: Manifest, tiny_run: Path) -> None:
    model = tiny_run / "model.onnx"
    assert bintally("evaluate", model, "--data", drawn.root, "--benchmark", "prior", "--no-baselines").code == 2
    facts = Engine(model).facts.model_copy(update={"name": "prior"})
    metadata = {METADATA_KEY: facts.model_copy(update={"side_px": 8, "last_count": 1}).model_dump_json()}
    other = write_fixed_model(tiny_run.parent / "prior.onnx", [0.5, 0.5], metadata=metadata)
    done = bintally("evaluate", other, "--data", drawn.root)
    assert done.code == 2
    assert "different names" in done.err


@pytest.mark.parametrize(("what", "code"), [("no data", 5), ("no run", 6), ("no such benchmark", 2)])
def test_what_is_missing_is_said(
    what: str, code: int, bintally: Bintally, drawn: Manifest, tiny_run: Path, tmp_path: Path
) -> None:
    data = tmp_path if what == "no data" else drawn.root
    run = tmp_path / "gone" if what == "no run" else tiny_run
    options = ["--benchmark", "nobody"] if what == "no such benchmark" else []
    done = bintally("evaluate", run, "--data", data, "--out", tmp_path / "out", "--no-baselines", *options)
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert done.err.startswith("bintally: ")
    assert not (tmp_path / "out").exists()


class TestLoadEngine:
    def test_a_model_file_that_is_newer_than_the_checkpoint_is_taken(
        self, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bintally.export.export", None)
        assert load_engine(tiny_run).name == load_engine(tiny_run / "model.onnx").name == "tiny"

    @pytest.mark.parametrize("why", ["missing", "older"])
    def test_otherwise_it_is_exported_first(
        self, why: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
        if why == "missing":
            (run / "model.onnx").unlink()
        else:
            os.utime(run / "model.onnx", (1, 1))
        written: list[Path] = []

        def write(_: object, path: Path) -> float:
            written.append(path)
            shutil.copy(tiny_run / "model.onnx", path)
            return 0.0

        monkeypatch.setattr("bintally.export.export", write)
        assert load_engine(run).name == "tiny"
        assert written == [run / "model.onnx"]

    @pytest.mark.parametrize(("name", "error"), [("gone", CheckpointError), ("gone.onnx", ModelError)])
    def test_what_is_not_there(self, name: str, error: type[BintallyError], tmp_path: Path) -> None:
        with pytest.raises(error, match=name):
            load_engine(tmp_path / name)


@pytest.mark.parametrize(
    ("known", "low", "high", "open_ended"),
    [
        ([(0, None, 5)], 0, 5, True),
        ([(1, 5, 6)], 1, 5, False),
        ([(1, 5, 6), (1, 5, 6)], 1, 5, False),
        ([(0, None, 5), (0, None, 9)], 0, 9, True),
        ([(1, 5, 6), (0, None, 9)], 0, 9, True),
        ([(1, 5, 6), (1, 4, 5)], 0, 20, True),
    ],
    ids=["every count", "five", "five twice", "the larger K", "five beside every count", "nothing common"],
)
def test_baselines_get_the_runs_own_task(
    known: list[tuple[int, int | None, int]], low: int, high: int, open_ended: bool, tmp_path: Path
) -> None:
    engines = []
    for number, (first, last, k) in enumerate(known):
        path = tmp_path / f"{number}.onnx"
        write_fixed_model(path, [1 / (k + 1)] * (k + 1), known_low=first, known_high=last)
        engines.append(Engine(path))
    classes = _task(engines)
    assert (classes.low, classes.high, classes.open_ended) == (low, high, open_ended)
