import errno
import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from tests.small_dataset import make_dataset

from bintally.data import manifest as module
from bintally.data.manifest import FILE_NAME, SCHEMA, Flag, Manifest, Split, read_manifest, write_manifest
from bintally.errors import ManifestError


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return make_dataset(tmp_path / "bins", [count % 6 for count in range(48)])


def change(manifest: Manifest, row: int, **values: object) -> pl.DataFrame:
    """The manifest's table with one row changed."""
    rows = manifest.frame.to_dicts()
    rows[row].update(values)
    return pl.DataFrame(rows, schema=SCHEMA)


def test_what_is_written_is_read(manifest: Manifest) -> None:
    changed = replace(manifest, source="s3://bins", extra={"note": "ours"})
    assert write_manifest(changed) == manifest.root / FILE_NAME
    read = read_manifest(manifest.root)
    assert read.frame.equals(changed.frame.sort("photo_id"))
    assert (read.source, read.salt, read.extra) == ("s3://bins", changed.salt, {"note": "ours"})
    assert [path.name for path in manifest.root.glob(".*")] == []


def test_a_missing_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.parquet: no manifest there\. Make one: bintally ingest"):
        read_manifest(tmp_path)


def test_a_manifest_of_another_version_is_refused(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORMAT_VERSION", 2)
    write_manifest(manifest)
    monkeypatch.undo()
    with pytest.raises(ManifestError, match=r"manifest version 2, but this Bintally reads version 1\. Ingest again"):
        read_manifest(manifest.root)


@pytest.mark.parametrize("metadata", [{}, {"bintally": "{"}, {"bintally": "[]"}, {"bintally": json.dumps({})}])
def test_another_parquet_file_is_refused(manifest: Manifest, metadata: dict[str, str]) -> None:
    manifest.frame.write_parquet(manifest.root / FILE_NAME, metadata=metadata)
    with pytest.raises(ManifestError, match="not one that Bintally wrote"):
        read_manifest(manifest.root)


@pytest.mark.parametrize("data", [b"", b"photo_id,count\n1,2\n", b"PAR1 but no more"])
def test_what_is_no_parquet_is_refused(manifest: Manifest, data: bytes) -> None:
    (manifest.root / FILE_NAME).write_bytes(data)
    with pytest.raises(ManifestError, match="not a readable Parquet file"):
        read_manifest(manifest.root)


def test_a_damaged_manifest_is_refused(manifest: Manifest) -> None:
    path = write_manifest(manifest)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ManifestError, match=r"manifest\.parquet"):
        read_manifest(manifest.root)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        pytest.param(lambda m: m.frame.drop("sha256"), r"missing columns \['sha256'\]", id="column missing"),
        pytest.param(lambda m: m.frame.with_columns(more=1), r"unknown \['more'\]", id="column unknown"),
        pytest.param(
            lambda m: m.frame.with_columns(pl.col("count").cast(pl.String)), r"another type \['count'\]", id="type"
        ),
        pytest.param(lambda m: pl.concat([m.frame, m.frame.head(1)]), "stand there twice", id="photo twice"),
        pytest.param(lambda m: change(m, 0, count=-1), "counts of 0 or more", id="negative count"),
        pytest.param(lambda m: change(m, 0, split="dev"), r"found \['dev'\]", id="split unknown"),
        pytest.param(
            lambda m: change(m, 0, group="g", split="train").with_columns(
                group=pl.lit("g"), split=pl.Series(["train", *["test"] * (m.frame.height - 1)])
            ),
            r"siblings lie in different splits: groups \['g'\]",
            id="group torn",
        ),
    ],
)
def test_a_table_that_is_no_manifest_is_refused(manifest: Manifest, spoil, fault: str) -> None:
    with pytest.raises(ManifestError, match=fault):
        replace(manifest, frame=spoil(manifest))


def test_usable_photos_are_labelled_and_readable(manifest: Manifest) -> None:
    rows = manifest.usable(Split.TRAIN)
    before = rows.height
    first, second, third = rows["photo_id"].to_list()[:3]
    spoilt = manifest.frame.with_columns(
        count=pl.when(pl.col("photo_id") == first).then(None).otherwise(pl.col("count")),
        flags=pl.when(pl.col("photo_id") == second)
        .then(pl.lit([Flag.BAD_PHOTO.value]))
        .when(pl.col("photo_id") == third)
        .then(pl.lit([Flag.TOTAL_MISMATCH.value]))
        .otherwise(pl.col("flags")),
    )
    left = replace(manifest, frame=spoilt).usable(Split.TRAIN)["photo_id"].to_list()
    assert len(left) == before - 3
    assert {first, second, third}.isdisjoint(left)


def test_a_record_that_contradicts_itself_is_measured_in_test_only(manifest: Manifest) -> None:
    flagged = manifest.frame.with_columns(flags=pl.lit([Flag.TOTAL_MISMATCH.value]))
    contradicting = replace(manifest, frame=flagged)
    assert contradicting.usable(Split.TEST).height == manifest.usable(Split.TEST).height > 0
    for split in (Split.TRAIN, Split.VAL, Split.CALIBRATION):
        with pytest.raises(ManifestError, match=f"the {split.value} split has no labelled photo"):
            contradicting.usable(split)


def test_without_splits_nothing_is_usable(manifest: Manifest) -> None:
    unsplit = replace(manifest, salt="")
    with pytest.raises(ManifestError, match=r"no splits yet\. Make them: bintally split"):
        unsplit.usable(Split.TRAIN)
    with pytest.raises(ManifestError, match="no splits yet"):
        _ = unsplit.split_hash


def test_hashes_say_what_changed(manifest: Manifest) -> None:
    shuffled = replace(manifest, frame=manifest.frame.sample(fraction=1.0, shuffle=True, seed=1))
    assert (shuffled.split_hash, shuffled.content_hash) == (manifest.split_hash, manifest.content_hash)
    relabelled = replace(manifest, frame=change(manifest, 0, count=5 if manifest.frame["count"][0] != 5 else 4))
    assert relabelled.split_hash == manifest.split_hash
    assert relabelled.content_hash != manifest.content_hash
    everywhere = replace(manifest, frame=manifest.frame.with_columns(split=pl.lit("train")))
    assert everywhere.split_hash != manifest.split_hash
    assert everywhere.content_hash == manifest.content_hash


def test_a_full_disk_leaves_the_manifest_before_it(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_manifest(manifest)
    before = path.read_bytes()

    def half(_frame: pl.DataFrame, part: Path, **_: object) -> None:
        part.write_bytes(b"PAR1")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", half)
    with pytest.raises(ManifestError, match=r"cannot be written .*No space left.* the manifest before it still stands"):
        write_manifest(replace(manifest, source="elsewhere"))
    assert path.read_bytes() == before
    assert [found.name for found in manifest.root.glob(".*")] == []


def test_a_photo_is_read_or_its_place_is_named(manifest: Manifest) -> None:
    key = manifest.frame["photo_key"][0]
    assert manifest.read_photo(key) == (manifest.root / key).read_bytes()
    with pytest.raises(ManifestError, match=r"gone\.jpg: in the manifest, but cannot be read .* Ingest again"):
        manifest.read_photo("bin-images/gone.jpg")
