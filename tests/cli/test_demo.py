"""`bintally demo`: the whole path once."""

from pathlib import Path

import pytest
from tests.cli.runner import Bintally

from bintally.data.manifest import read_manifest
from bintally.inference.engine import Engine


def test_the_whole_path(bintally: Bintally, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    run = bintally("demo", "--photos", "200", "--out", out)
    assert run.code == 0, run.err
    for verb in ("draw", "ingest", "split", "train", "evaluate", "verify"):
        assert f"$ bintally {verb} " in run.out, "each step is shown as a command that a person can type"
    for name in ("majority", "prior", "cues", "smallcnn"):
        assert name in run.out
    assert run.out.count("expected (") == 4
    assert run.out.count("made wrong on purpose") == 1
    assert f"Report: {out / 'evaluation' / 'report.html'}" in run.out
    assert (out / "evaluation" / "report.html").is_file()
    assert read_manifest(out / "data").frame.height == 200
    assert Engine(out / "runs" / "smallcnn" / "model.onnx").name == "smallcnn"
    assert "Lightning" not in run.out + run.err


@pytest.mark.parametrize(
    ("options", "said"), [((), "new or empty folder"), (("--photos", "199"), "200")], ids=["used folder", "too few"]
)
def test_what_cannot_be_done_is_said_before_anything_is_made(
    options: tuple[str, ...], said: str, bintally: Bintally, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    run = bintally("demo", "--out", tmp_path, *options)
    assert run.code == 2
    assert said in run.err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
