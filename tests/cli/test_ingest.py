"""`bintally ingest`, from its options to its summary."""

import json
import sys
from io import BytesIO
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from bintally.cli.ingest import ingest
from bintally.data.manifest import read_manifest
from bintally.errors import BintallyError, MissingExtraError, ObjectNotFoundError, SettingsError

app = typer.Typer()
app.command()(ingest)


def run(*options: object) -> Result:
    """Run the verb; errors of ours are raised, as `cli.app` expects them."""
    result = CliRunner().invoke(app, [str(option) for option in options])
    if isinstance(result.exception, BintallyError):
        raise result.exception
    return result


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    folder = tmp_path / "bucket"
    (folder / "bin-images").mkdir(parents=True)
    (folder / "metadata").mkdir()
    buffer = BytesIO()
    Image.new("RGB", (6, 4)).save(buffer, "JPEG")
    for count, key in enumerate(["00001", "00002", "01012", "1012"]):
        (folder / f"bin-images/{key}.jpg").write_bytes(buffer.getvalue())
        record = {"EXPECTED_QUANTITY": count, "BIN_FCSKU_DATA": {"A": {"quantity": count}}}
        (folder / f"metadata/{key}.json").write_text(json.dumps(record))
    return folder


def ids(dest: Path) -> list[str]:
    return read_manifest(dest).frame["photo_id"].to_list()


def test_everything_by_default(bucket: Path, tmp_path: Path) -> None:
    result = run(bucket, tmp_path / "dest")
    assert result.exit_code == 0
    assert "4 photos fetched, 4 of them new; 4 in all, 4 with a count" in result.stdout
    assert f"Next: bintally split {tmp_path / 'dest'}" in result.stdout
    assert ids(tmp_path / "dest") == ["00001", "00002", "01012", "1012"]


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (["--key", "1012"], ["1012"]),
        (["--key", "01012", "--key", "00001"], ["00001", "01012"]),
        (["--range", "00001-00010"], ["00001", "00002"]),
        (["--range", "1-1200", "--key", "00002"], ["00002", "1012"]),
        (["--limit", "2"], ["00001", "00002"]),
        (["--concurrency", "1", "--rate", "9", "--anonymous", "--limit", "1"], ["00001"]),
    ],
)
def test_options_select(bucket: Path, tmp_path: Path, options: list[str], keys: list[str]) -> None:
    assert run(bucket, tmp_path / "dest", *options).exit_code == 0
    assert ids(tmp_path / "dest") == keys


def test_a_list_selects_and_what_is_missing_is_named(bucket: Path, tmp_path: Path) -> None:
    listing = {"1": ["data/metadata/00002.json"], "3": ["data/metadata/1012.json"]}
    listing["5"] = [f"data/metadata/{number}.json" for number in range(20, 27)]
    (tmp_path / "list.json").write_text(json.dumps(listing))
    result = run(bucket, tmp_path / "dest", "--list", tmp_path / "list.json")
    assert ids(tmp_path / "dest") == ["00002", "1012"]
    assert "7 asked for are not in the source: 20, 21, 22, 23, 24, ..." in result.stdout


def test_problems_are_counted_and_told(bucket: Path, tmp_path: Path) -> None:
    (bucket / "bin-images/00002.jpg").write_text("no photo [at all]")
    (bucket / "metadata/01012.json").write_text("[red]")
    (bucket / "metadata/1012.json").unlink()
    (bucket / "bin-images/notes.txt").touch()
    result = run(bucket, tmp_path / "dest")
    assert result.exit_code == 0
    assert "4 in all, 2 with a count" in result.stdout
    assert "1 other files ignored: bin-images/notes.txt" in result.stdout
    for said in ("1 flagged bad-photo:", "1 flagged bad-record:", "1 flagged no-record:", "b'[red]'"):
        assert said in result.stdout


@pytest.mark.parametrize("option", [["--limit", "0"], ["--concurrency", "0"], ["--list", "nowhere.json"]])
def test_options_that_cannot_be_meant_are_usage_errors(bucket: Path, tmp_path: Path, option: list[str]) -> None:
    assert run(bucket, tmp_path / "dest", *option).exit_code == 2
    assert not (tmp_path / "dest").exists()


def test_errors_are_ours(bucket: Path, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFoundError, match="expected a folder"):
        run(tmp_path / "nowhere", tmp_path / "dest")
    with pytest.raises(SettingsError, match=r"'01012\.jpg'"):
        run(bucket, tmp_path / "dest", "--key", "01012.jpg")
    assert not (tmp_path / "dest").exists()


def test_without_the_data_extra_it_says_how_to_get_it(
    bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("bintally.data")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sys.modules["bintally"], "data", raising=False)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingExtraError, match=r"bintally ingest needs .*pip install 'bintally\[data\]'"):
        run(bucket, tmp_path / "dest")
