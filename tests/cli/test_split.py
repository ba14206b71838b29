"""`bintally split`, from its options to its table."""

import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner, Result

from bintally.cli.split import parse_required_counts, split
from bintally.data.manifest import SCHEMA, Header, Manifest, read_manifest, write_manifest
from bintally.errors import BintallyError, ManifestError, SettingsError, SplitError

app = typer.Typer()
app.command()(split)


def run(*options: object) -> Result:
    """Run the verb; errors of ours are raised, as `cli.app` expects them."""
    result = CliRunner().invoke(app, [str(option) for option in options])
    if isinstance(result.exception, BintallyError):
        raise result.exception
    return result


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """1800 photos in sibling pairs, counts 1-12, and one that is unlabelled."""
    rows = [
        {
            "photo_id": f"{number:05d}",
            "photo_key": f"bin-images/{number:05d}.jpg",
            "sha256": "0" * 64,
            "size_bytes": 1,
            "count": None if number == 1800 else number % 12 + 1,
            "items": [{"sku": f"SKU-{number // 2}", "quantity": 1}],
            "flags": [],
        }
        for number in range(1, 1801)
    ]
    frame, header = pl.DataFrame(rows, schema=SCHEMA), Header(source="memory://bins")
    write_manifest(Manifest(frame=frame, root=tmp_path, header=header))
    return tmp_path


def cells(stdout: str, first: str) -> list[int]:
    """The numbers in the table's row that begins with `first`."""
    row = next(line for line in stdout.splitlines() if re.match(rf"\W*{re.escape(first)}\W", line))
    return [int(cell.replace(",", "")) for cell in re.findall(r"[\d,]+", row.replace(first, "", 1))]


def test_splits_are_written_and_told(data: Path) -> None:
    result = run(data)
    made = read_manifest(data)
    assert made.salt == "bintally-1"
    found = made.frame["split"].value_counts()
    in_splits = [
        found.filter(pl.col("split") == name)["count"].item() for name in ("train", "val", "calibration", "test")
    ]
    assert cells(result.stdout, "all") == [*in_splits, 1800]
    assert cells(result.stdout, "1")[-1] == 149  # and the unlabelled one
    assert cells(result.stdout, "10+")[-1] == 450
    assert cells(result.stdout, "unlabelled")[-1] == 1
    assert "1798 of 1800 photos have a sibling; 901 groups" in result.stdout
    assert re.search(r"Split by photo instead, \d+ of \d+ test photos \(\d+%\)", result.stdout)
    assert f"Split {made.split_hash}, salt 'bintally-1'." in result.stdout
    assert "could not be fetched" not in result.stdout


def test_photos_that_could_not_be_fetched_are_told(data: Path) -> None:
    made = read_manifest(data)
    rows = made.frame.to_dicts()
    for row in rows[:3]:
        row |= {"sha256": None, "size_bytes": None, "flags": ["not-fetched"]}
    write_manifest(replace(made, frame=pl.DataFrame(rows, schema=SCHEMA)))
    stdout = run(data).stdout
    assert cells(stdout, "all")[-1] == 1797
    assert "of 1797 photos have a sibling" in stdout
    assert "3 photos could not be fetched and are in no split. Ingest again, then split again" in stdout
    assert read_manifest(data).frame["split"].null_count() == 3


def test_another_salt_is_told_loudly(data: Path) -> None:
    run(data)
    before = read_manifest(data).split_hash
    assert "placed anew" not in run(data, "--salt", "bintally-1").stdout
    result = run(data, "--salt", "other")
    assert "The salt was 'bintally-1': every photo was placed anew" in result.stdout
    assert read_manifest(data).split_hash != before


def test_a_required_count_that_is_lacking_writes_nothing(data: Path) -> None:
    with pytest.raises(SplitError, match="count 13 to split: 0 groups"):
        run(data, "--require-counts", "1,13")
    assert read_manifest(data).salt == ""
    assert run(data, "--require-counts", "none").exit_code == 0


def test_without_a_dataset_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="bintally ingest"):
        run(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "counts"), [("1-5", (1, 2, 3, 4, 5)), ("3", (3,)), (" 0, 2-3,2", (0, 2, 3)), ("none", ())]
)
def test_counts_are_read(text: str, counts: tuple[int, ...]) -> None:
    assert parse_required_counts(text) == counts


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "5-1", "1,,2", "1-2-3", "1-100000000", "1.5"])
def test_counts_that_cannot_be_meant_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--require-counts"):
        parse_required_counts(text)
