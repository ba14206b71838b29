"""`bintally draw`: what it leaves in the folder and what it says."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bintally.cli.draw import draw
from bintally.errors import SettingsError

app = typer.Typer()
app.command()(draw)


def test_it_draws_and_says_what_comes_next(tmp_path: Path):
    result = CliRunner().invoke(app, [str(tmp_path / "new"), "--photos", "4", "--seed", "2"])
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "new" / "bin-images").iterdir())) == 4
    assert result.stdout == "", "standard output is for results"
    said = result.stderr
    assert "Drew 4 photos" in said
    assert f"Next: bintally ingest {tmp_path}" in said


def test_a_folder_with_other_things_is_refused(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("mine")
    result = CliRunner().invoke(app, [str(tmp_path), "--photos", "4"])
    assert isinstance(result.exception, SettingsError)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("option", ["--photos", "--max-count"])
def test_what_cannot_be_drawn_is_refused(option: str, tmp_path: Path):
    result = CliRunner().invoke(app, [str(tmp_path), option, "0"])
    assert isinstance(result.exception, SettingsError)
