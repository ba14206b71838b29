"""`bintally export`: where the model goes and what is said."""

import shutil
from pathlib import Path

import pytest
from tests.cli.runner import Bintally

from bintally.data.manifest import Manifest
from bintally.errors import ModelError
from bintally.inference.engine import Engine


@pytest.fixture
def run_folder(tiny_run: Path, tmp_path: Path) -> Path:
    """The tiny run, not exported yet."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run", ignore=shutil.ignore_patterns("*.onnx")))


def test_a_run_is_exported_and_said(bintally: Bintally, run_folder: Path, tiny_engine: Engine) -> None:
    done = bintally("export", run_folder)
    assert done.code == 0, done.err
    path = run_folder / "model.onnx"
    assert f"{path}: " in done.out
    assert "differs from the checkpoint by" in done.out
    assert "CC BY-NC-SA" in done.out
    assert f"Next: bintally count PHOTO --model {path}" in done.out
    assert Engine(path).facts == tiny_engine.facts


def test_elsewhere_and_parity_failing(
    bintally: Bintally, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(_: object, path: Path, **__: object) -> float:
        raise ModelError(f"{path}: differs")

    monkeypatch.setattr("bintally.export.export", differs)
    done = bintally("export", run_folder, "--out", tmp_path / "elsewhere.onnx")
    assert done.code == 6
    assert done.err == f"bintally: {tmp_path / 'elsewhere.onnx'}: differs\n"


def test_a_folder_where_the_file_is_to_be(bintally: Bintally, run_folder: Path, tmp_path: Path) -> None:
    done = bintally("export", run_folder, "--out", tmp_path)
    assert "cannot write: a folder is where the file is to be. To do: choose another name" in done.err
    assert done.code == bintally("export", run_folder, "--out", run_folder / "settings.toml" / "m.onnx").code == 3


def test_photos_to_calibrate_on_are_refused_where_nothing_is_calibrated(
    bintally: Bintally, run_folder: Path, tmp_path: Path
) -> None:
    done = bintally("export", run_folder, "--data", tmp_path)
    assert done.code == 2
    assert "one run is calibrated already; leave --data out" in done.err


def test_no_run_is_6(bintally: Bintally, tmp_path: Path) -> None:
    done = bintally("export", tmp_path / "nowhere")
    assert done.code == 6
    assert "no finished run there" in done.err
    assert list(tmp_path.iterdir()) == []


def test_several_answer_as_one(
    bintally: Bintally, tiny_run: Path, run_folder: Path, tmp_path: Path, drawn: Manifest
) -> None:
    file = tmp_path / "both.onnx"
    done = bintally("export", tiny_run, run_folder, "--mirror", "--data", drawn.root, "--out", file, "--name", "two")
    assert done.code == 0, done.err
    assert "calibrated: temperature" in done.out
    facts = Engine(file).facts
    assert (facts.name, facts.mirror, len(facts.members)) == ("two", True, 2)
    assert "the mean of 2 runs, over a photo and its mirror image" in bintally("models", "show", file).out


@pytest.mark.parametrize(("more", "said"), [([], "need --out FILE"), (["--out", "m.onnx"], "pass --data")])
def test_several_need_to_be_told_where_and_what_on(
    more: list[str], said: str, bintally: Bintally, run_folder: Path
) -> None:
    done = bintally("export", run_folder, run_folder, *more)
    assert done.code == 2
    assert said in done.err
