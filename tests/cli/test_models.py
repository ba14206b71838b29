"""`bintally models`."""

from pathlib import Path

import pytest
from tests.tiny_model import write_tiny_model
from typer.testing import CliRunner

from bintally.cli.app import app

run = CliRunner().invoke


@pytest.fixture(autouse=True)
def wide(no_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "run" / "model.onnx")


def test_none_says_how_to_get_one() -> None:
    done = run(app, ["models", "list"])
    assert done.exit_code == 0
    assert "Make one: bintally train" in done.stdout


def test_added_listed_shown_verified_and_used(model: Path, tmp_path: Path) -> None:
    (model.parent / "MODEL_CARD.md").write_text("# Tiny\n\nCounts nothing.\n")
    done = run(app, ["models", "add", str(model.parent)])
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("bintally count PHOTO --model tiny\n")

    listed = run(app, ["models", "list"]).stdout
    assert "used by default" in listed
    assert "0 to 3 or more" in listed
    assert "Apache-2.0" in listed

    shown = run(app, ["models", "show", "tiny"]).stdout
    assert "Counts nothing." in shown
    assert "squashed to 8 x 8" in shown

    verified = run(app, ["models", "verify"])
    assert verified.exit_code == 0
    assert "(as installed)" in verified.stdout

    (tmp_path / "own" / "models" / "tiny.onnx").write_bytes(b"damaged")
    assert "cannot be used" in run(app, ["models", "list"]).stdout
    broken = run(app, ["models", "verify", "tiny"])
    assert "add it again" in str(broken.exception)


def test_a_file_by_its_path(model: Path) -> None:
    assert "it does not say what it answered" in run(app, ["models", "verify", str(model)]).stdout
    assert str(model) in run(app, ["models", "show", str(model)]).stdout
