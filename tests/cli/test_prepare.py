"""`bintally prepare`, from its options to its summary and exit codes."""

import json
from pathlib import Path

import pytest
from tests.cli.runner import Bintally
from tests.preparing import copy_of, files, odd_dataset
from tests.s3_server import S3Server

from bintally.data.manifest import Manifest, read_manifest


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Nine photos: seven that can be prepared, one that is none, one that ends early."""
    return odd_dataset(tmp_path_factory.mktemp("odd"))


def note(dest: Path) -> dict[str, object]:
    found = json.loads(read_manifest(dest).header.extra["prepared"])
    assert isinstance(found, dict)
    return found


def test_it_prepares_and_says_what_it_did(bintally: Bintally, odd: Manifest, tmp_path: Path) -> None:
    run = bintally("prepare", odd.root, tmp_path / "dest")
    assert run.code == 0, run.err
    said = run.out.splitlines()
    assert said[0].startswith(f"{(tmp_path / 'dest').as_uri()}: 7 photos prepared (0.1 MB became 0.3)")
    assert "0 were there already; 9 in all. Settings 807c9bb72e22: 224 px, JPEG of quality 95" in said[0]
    assert said[1] == "1 flagged as unusable: there was nothing to prepare"
    assert said[2] == "1 could not be decoded, and are flagged so now:"
    assert "bin-images/00008.jpg: expected a whole photo" in said[3]
    assert said[4] == f"Next: bintally train {tmp_path / 'dest'} --recipe NAME"
    assert "7 were there already" in bintally("prepare", odd.root, tmp_path / "dest").out


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], (224, "jpeg", 95)),
        (["--recipe", "smallcnn"], (128, "jpeg", 95)),
        (["--side", "64", "--quality", "80"], (64, "jpeg", 80)),
        (["--side", "64", "--format", "png"], (64, "png", None)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_options_say_how(
    bintally: Bintally, odd: Manifest, tmp_path: Path, options: list[str], expected: tuple[int, str, int | None]
) -> None:
    assert bintally("prepare", odd.root, tmp_path, *options).code == 0
    said = note(tmp_path)
    assert (said["side_px"], said["format"], said["quality"]) == expected


def test_a_settings_file_says_the_side(bintally: Bintally, odd: Manifest, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[data]\nside_px = 96\n")
    assert bintally("prepare", odd.root, tmp_path / "dest", "--config", tmp_path / "own.toml").code == 0
    assert note(tmp_path / "dest")["side_px"] == 96


@pytest.mark.parametrize(
    "options",
    [
        ["--side", "64", "--recipe", "smallcnn"],
        ["--recipe", "nothing-like-it"],
        ["--side", "8"],
        ["--quality", "101"],
        ["--format", "png", "--quality", "90"],
        ["--format", "webp"],
        ["--concurrency", "0"],
        ["--rate", "0"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_refused(bintally: Bintally, odd: Manifest, tmp_path: Path, options: list[str]) -> None:
    assert bintally("prepare", odd.root, tmp_path / "dest", *options).code == 2
    assert not files(tmp_path)


def test_a_photo_that_could_not_be_prepared_is_told_and_counts(
    bintally: Bintally, odd: Manifest, tmp_path: Path
) -> None:
    manifest = copy_of(odd, tmp_path / "data")
    path = manifest.root / "bin-images" / "00002.jpg"
    path.write_bytes(b"[bold]another")
    run = bintally("prepare", manifest.root, tmp_path / "dest")
    assert run.code == 3
    assert "1 could not be prepared; run the same command again to try those alone:" in run.out
    assert f"  {path}: not the file that the manifest knows" in run.out
    assert "Next:" not in run.out


def test_refusals_have_their_exit_codes(bintally: Bintally, odd: Manifest, tmp_path: Path) -> None:
    assert bintally("prepare", tmp_path / "nothing", tmp_path / "dest").code == 5
    assert bintally("prepare", odd.root, odd.root).code == 5
    assert bintally("prepare", odd.root, "ftp://somewhere").code == 3
    (tmp_path / "file").touch()
    assert bintally("prepare", odd.root, tmp_path / "file").code == 3


def test_a_bucket_is_prepared_into(bintally: Bintally, odd: Manifest, tmp_path: Path) -> None:
    with S3Server() as server:
        run = bintally("prepare", odd.root, "s3://bucket/small", "--endpoint", server.endpoint, "--anonymous")
        keys = set(server.objects)
    assert run.code == 0, run.err
    assert run.out.startswith(f"s3://bucket/small at {server.endpoint}: 7 photos prepared")
    assert run.out.splitlines()[-1] == "Next: bintally ingest s3://bucket/small FOLDER"
    assert {"small/manifest.parquet", "small/bin-images/00000.jpg", "small/metadata/00008.json"} < keys
    assert len(keys) == 1 + 7 + 9
