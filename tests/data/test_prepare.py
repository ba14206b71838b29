"""Prepare: what serving sees of a photo lies in a small file, with a true row; once prepared is enough."""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from filelock import FileLock
from polars.testing import assert_frame_equal
from tests.preparing import JPEG, PNG, SIDE_PX, copy_of, draw_dataset, files, odd_dataset, prepare_into, put, take

from bintally.data import prepare as module
from bintally.data import preparing, store
from bintally.data.images import decode
from bintally.data.manifest import FILE_NAME, Flag, Manifest, read_manifest
from bintally.data.prepare import prepare
from bintally.data.prepare_settings import PrepareSettings
from bintally.data.prepared import prepared_as
from bintally.data.source import COMPLETE
from bintally.data.splits import split
from bintally.data.store import open_store, write_whole
from bintally.data.transfer import Progress
from bintally.errors import CannotWriteError, SettingsError, StoreError
from bintally.models.preprocess import served

OWN = ["photo_key", "sha256", "size_bytes", "original_sha256", "width_px", "height_px"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return draw_dataset(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return odd_dataset(tmp_path_factory.mktemp("odd"))


class Writes:
    """What is written into folders, by key: it can be made to fail at some."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: list[str] = []
        self.fails_at: Callable[[str], bool] = lambda _: False

    def __call__(self, path: Path, data: bytes) -> None:
        key = path.relative_to(self.folder).as_posix()
        if self.fails_at(key):
            raise StoreError(f"{key}: refused")
        self.written.append(key)
        write_whole(path, data)

    @property
    def photos(self) -> list[str]:
        return sorted(key for key in self.written if key.startswith("bin-images/"))


@pytest.fixture
def writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writes:
    """What is written below `tmp_path / "dest"`, once it is asked for."""
    watching = Writes(tmp_path / "dest")
    monkeypatch.setattr(preparing, "write_whole", watching)
    monkeypatch.setattr(store, "write_whole", watching)
    return watching


# --- what a prepared photo is ------------------------------------------------------------------------------------


def test_a_png_is_to_the_last_bit_what_serving_sees(odd: Manifest, drawn: Manifest, tmp_path: Path) -> None:
    for name, manifest in (("odd", odd), ("drawn", drawn)):
        prepare_into(tmp_path / name, manifest, PNG)
        prepared = read_manifest(tmp_path / name)
        photos = prepared.frame.filter(pl.col("sha256").is_not_null())
        assert len(photos) == {"odd": 7, "drawn": 40}[name]
        for photo_id, key in photos.select("photo_id", "photo_key").rows():
            original = manifest.read_photo(f"bin-images/{photo_id}.jpg")
            small = prepared.read_photo(key)
            assert small.startswith(b"\x89PNG")
            np.testing.assert_array_equal(served(small, SIDE_PX), served(original, SIDE_PX))


def test_a_jpeg_is_nearly_that(drawn: Manifest, tmp_path: Path) -> None:
    prepare_into(tmp_path, drawn)
    prepared = read_manifest(tmp_path)
    differences = [
        np.abs(served(prepared.read_photo(key), SIDE_PX).astype(int) - served(drawn.read_photo(key), SIDE_PX)).mean()
        for key in prepared.frame["photo_key"]
    ]
    assert max(differences) < 2
    assert all(prepared.read_photo(key)[:3] == b"\xff\xd8\xff" for key in prepared.frame["photo_key"])


def test_quality_tells(drawn: Manifest, tmp_path: Path) -> None:
    sizes = []
    for quality in (20, 60, 95):
        prepare_into(tmp_path / str(quality), drawn, replace(JPEG, quality=quality))
        sizes.append(read_manifest(tmp_path / str(quality)).frame["size_bytes"].sum())
    assert sizes == sorted(set(sizes))


def test_rows_keep_what_is_known_and_get_what_is_new(drawn: Manifest, tmp_path: Path) -> None:
    noted = Manifest(
        frame=drawn.frame.with_columns(
            brightness=pl.lit(3.5, pl.Float32), flags=pl.lit(["dark"]), finding=pl.lit("too dark"), phash=pl.lit(7)
        ).cast({"phash": pl.UInt64}),
        root=drawn.root,
        header=replace(drawn.header, extra={"audited": "thoroughly", COMPLETE: "yes"}),
    )
    report = prepare_into(tmp_path, noted)
    prepared = read_manifest(tmp_path)
    assert_frame_equal(prepared.frame.drop(OWN), noted.frame.drop(OWN))
    for row in prepared.frame.iter_rows(named=True):
        data = (tmp_path / row["photo_key"]).read_bytes()
        original = drawn.read_photo(row["photo_key"])
        assert (row["sha256"], row["size_bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
        assert (row["width_px"], row["height_px"]) == (SIDE_PX, SIDE_PX) == decode(data).shape[:2]
        assert row["original_sha256"] == hashlib.sha256(original).hexdigest()
    assert prepared.split_hash == drawn.split_hash
    assert prepared.header.source == drawn.root.as_uri()
    assert prepared.header.origin == drawn.header.source
    assert dict(prepared.header.extra) == {
        "audited": "thoroughly",
        "origin": drawn.header.source,
        "prepared": JPEG.to_json(),
    }
    assert (report.photos, report.prepared, report.kept, report.unusable) == (40, 40, 0, 0)
    assert report.written_bytes == prepared.frame["size_bytes"].sum() < report.read_bytes
    assert report.read_bytes == drawn.frame["size_bytes"].sum()


def test_the_note_says_how(tmp_path: Path, drawn: Manifest) -> None:
    prepare_into(tmp_path / "jpeg", drawn, replace(JPEG, quality=80))
    note = prepared_as(read_manifest(tmp_path / "jpeg").header)
    assert note is not None
    assert (note.side_px, note.format, note.quality, note.resize) == (SIDE_PX, "jpeg", 80, "squash-bicubic")
    prepare_into(tmp_path / "png", drawn, PNG)
    other = prepared_as(read_manifest(tmp_path / "png").header)
    assert other is not None
    assert (other.format, other.quality) == ("png", None)
    assert note.hash != other.hash
    assert replace(PNG, quality=3).content_hash == PNG.content_hash


def test_records_are_copied_as_they_are(drawn: Manifest, tmp_path: Path) -> None:
    prepare_into(tmp_path, drawn)
    records = {key: data for key, data in files(drawn.root).items() if key.startswith("metadata")}
    assert {key: data for key, data in files(tmp_path).items() if key.startswith("metadata")} == records
    assert len(records) < 40  # some have none


@pytest.mark.parametrize("settings", [JPEG, PNG], ids=["jpeg", "png"])
def test_the_same_photos_give_the_same_bytes(
    drawn: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: PrepareSettings
) -> None:
    prepare(drawn, open_store(str(tmp_path / "one"), create=True), settings, concurrency=1)
    monkeypatch.setattr(preparing, "_PACK_ROWS", 7)
    prepare(drawn, open_store(str(tmp_path / "many"), create=True), settings, concurrency=64)
    assert files(tmp_path / "one") == files(tmp_path / "many")
    assert len(files(tmp_path / "one")) == 40 + len(list((drawn.root / "metadata").iterdir())) + 1


# --- photos that cannot be prepared ------------------------------------------------------------------------------


def test_unusable_photos_stay_rows(odd: Manifest, tmp_path: Path) -> None:
    report = prepare_into(tmp_path, odd)
    row = read_manifest(tmp_path).frame.row(by_predicate=pl.col("photo_id") == "00007", named=True)
    before = odd.frame.row(by_predicate=pl.col("photo_id") == "00007", named=True)
    assert row["flags"] == ["bad-photo", "not-fetched"]
    assert [row[name] for name in ("sha256", "size_bytes", "width_px", "height_px")] == [None] * 4
    assert row["original_sha256"] == before["sha256"] is not None
    assert (row["problem"], row["count"], row["split"]) == (before["problem"], 2, before["split"])
    assert not (tmp_path / "bin-images" / "00007.jpg").exists()
    assert (tmp_path / "metadata" / "00007.json").exists()
    assert report.unusable == 1


def test_a_photo_that_turns_out_damaged_is_flagged_and_told(odd: Manifest, tmp_path: Path) -> None:
    report = prepare_into(tmp_path, odd)
    row = read_manifest(tmp_path).frame.row(by_predicate=pl.col("photo_id") == "00008", named=True)
    assert row["flags"] == ["undecodable", "not-fetched"]
    assert "bin-images/00008.jpg: expected a whole photo" in row["problem"]
    assert row["sha256"] is None
    assert (report.undecodable.count, report.undecodable.first) == (1, [row["problem"]])
    assert (report.prepared, report.photos, report.refused.count) == (7, 9, 0)
    assert prepare_into(tmp_path, odd).undecodable == report.undecodable  # said again each time


@pytest.mark.parametrize("spoilt", ["bin-images/00003.jpg", "metadata/00003.json"])
@pytest.mark.parametrize("way", ["changed", "gone"])
def test_a_file_that_is_not_the_manifests_is_told_and_not_prepared(
    odd: Manifest, tmp_path: Path, spoilt: str, way: str
) -> None:
    manifest = copy_of(odd, tmp_path / "data")
    path = manifest.root / spoilt
    good = path.read_bytes()
    if way == "gone":
        path.unlink()
    else:
        path.write_bytes(good[:-1] + b"!")
    report = prepare_into(tmp_path / "dest", manifest)
    assert (report.prepared, report.refused.count) == (6, 1)
    assert str(path) in report.refused.first[0]
    assert f"bintally ingest {manifest.header.source}" in report.refused.first[0]
    row = read_manifest(tmp_path / "dest").frame.row(3, named=True)
    assert (row["flags"], row["problem"], row["sha256"]) == (["not-fetched"], report.refused.first[0], None)
    assert not (tmp_path / "dest" / "bin-images" / "00003.jpg").exists()

    path.write_bytes(good)
    report = prepare_into(tmp_path / "dest", manifest)
    assert (report.prepared, report.kept, report.refused.count) == (1, 6, 0)
    prepare_into(tmp_path / "fresh", manifest)
    assert files(tmp_path / "dest") == files(tmp_path / "fresh")


def test_a_destination_that_refuses_one_photo_gets_the_others(drawn: Manifest, tmp_path: Path, writes: Writes) -> None:
    writes.fails_at = lambda key: key.endswith("7.jpg")
    report = prepare_into(tmp_path / "dest", drawn)
    rows = read_manifest(tmp_path / "dest").frame.filter(pl.col("sha256").is_null())
    assert 0 < len(rows) == report.refused.count < 10
    problems = dict(drawn.frame.select("photo_id", "problem").rows())
    assert any(problems[photo_id] for photo_id in rows["photo_id"])  # ingest had something to say, too
    for row in rows.iter_rows(named=True):
        assert row["problem"] == "; ".join(filter(None, [problems[row["photo_id"]], f"{row['photo_key']}: refused"]))
    assert all(Flag.NOT_FETCHED.value in flags for flags in rows["flags"])
    writes.fails_at = lambda _: False
    assert prepare_into(tmp_path / "dest", drawn).prepared == len(rows)


def test_many_failures_in_a_row_end_the_run_and_what_is_done_is_kept(
    drawn: Manifest, tmp_path: Path, writes: Writes
) -> None:
    names = sorted(path.name for path in (drawn.root / "bin-images").iterdir())
    writes.fails_at = lambda key: key[11:] in names[10:]
    with pytest.raises(StoreError, match="refused"):
        prepare(drawn, open_store(str(tmp_path / "dest"), create=True), JPEG, concurrency=1)
    unfinished = read_manifest(tmp_path / "dest")
    assert unfinished.header.extra[COMPLETE] == "no"
    assert unfinished.frame["sha256"].count() == 10
    writes.fails_at = lambda _: False
    writes.written.clear()
    assert prepare_into(tmp_path / "dest", drawn).kept == 10
    assert writes.photos == [f"bin-images/{name}" for name in names[10:]]
    writes.folder = tmp_path / "fresh"
    prepare_into(tmp_path / "fresh", drawn)
    assert files(tmp_path / "dest") == files(tmp_path / "fresh")


# --- again -------------------------------------------------------------------------------------------------------


def test_again_does_nothing(drawn: Manifest, tmp_path: Path, writes: Writes, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_into(tmp_path / "dest", drawn)
    writes.written.clear()
    monkeypatch.setattr(module, "reduce_into", None)  # nothing is read
    report = prepare_into(tmp_path / "dest", drawn)
    assert (report.prepared, report.kept, report.photos) == (0, 40, 40)
    assert writes.written == []


def test_again_only_what_did_not_decode_is_tried_once_more(odd: Manifest, tmp_path: Path, writes: Writes) -> None:
    prepare_into(tmp_path / "dest", odd)
    before = files(tmp_path / "dest")
    writes.written.clear()
    prepare_into(tmp_path / "dest", odd)
    assert writes.written == [FILE_NAME, "metadata/00008.json", FILE_NAME]
    assert files(tmp_path / "dest") == before


def test_a_dataset_that_has_grown_has_only_its_new_photos_prepared(
    odd: Manifest, tmp_path: Path, writes: Writes
) -> None:
    bucket = tmp_path / "bins"
    photos = sorted((odd.root / "bin-images").iterdir())
    for path in photos[:4]:
        put(bucket, path.stem, path.read_bytes(), path.stem)
    take(bucket, tmp_path / "data")
    prepare_into(tmp_path / "dest", read_manifest(tmp_path / "data"))
    for path in photos[4:]:
        put(bucket, path.stem, path.read_bytes(), path.stem)
    grown = take(bucket, tmp_path / "data")
    writes.written.clear()
    report = prepare_into(tmp_path / "dest", grown)
    assert (report.prepared, report.kept, report.photos) == (3, 4, 9)
    assert writes.photos == [f"bin-images/0000{number}.jpg" for number in (4, 5, 6)]
    writes.folder = tmp_path / "fresh"
    prepare_into(tmp_path / "fresh", grown)
    assert files(tmp_path / "dest") == files(tmp_path / "fresh")


def test_rows_that_changed_are_written_anew_and_photos_are_not(drawn: Manifest, tmp_path: Path, writes: Writes) -> None:
    manifest = copy_of(drawn, tmp_path / "data")
    prepare_into(tmp_path / "dest", manifest)
    changed = split(manifest, "another salt", required_counts=()).manifest
    changed = replace(changed, frame=changed.frame.with_columns(flags=pl.lit(["dark"])))
    writes.written.clear()
    report = prepare_into(tmp_path / "dest", changed)
    assert (report.prepared, writes.written) == (0, [FILE_NAME])
    prepared = read_manifest(tmp_path / "dest")
    assert (
        (prepared.salt, prepared.split_hash) == ("another salt", changed.split_hash) != (drawn.salt, drawn.split_hash)
    )
    assert set(prepared.frame["flags"].explode()) == {"dark"}


def test_a_photo_or_record_that_changed_is_prepared_anew(odd: Manifest, tmp_path: Path, writes: Writes) -> None:
    bucket = tmp_path / "bins"
    for path in sorted((odd.root / "bin-images").iterdir())[:4]:
        put(bucket, path.stem, path.read_bytes(), path.stem)
    prepare_into(tmp_path / "dest", take(bucket, tmp_path / "data"))
    put(bucket, "00001", (bucket / "bin-images" / "00000.jpg").read_bytes(), "00001")
    put(bucket, "00002", (bucket / "bin-images" / "00002.jpg").read_bytes(), "00002", count=5)
    changed = take(bucket, tmp_path / "data")
    writes.written.clear()
    assert prepare_into(tmp_path / "dest", changed).prepared == 2
    assert writes.photos == ["bin-images/00001.jpg", "bin-images/00002.jpg"]
    writes.folder = tmp_path / "fresh"
    prepare_into(tmp_path / "fresh", changed)
    assert files(tmp_path / "dest") == files(tmp_path / "fresh")


@pytest.mark.parametrize("lost", ["bin-images/00001.jpg", "metadata/00001.json"])
@pytest.mark.parametrize("way", ["gone", "cut short"])
def test_what_is_lost_at_the_destination_is_prepared_again(odd: Manifest, tmp_path: Path, lost: str, way: str) -> None:
    prepare_into(tmp_path, odd)
    before = files(tmp_path)
    (tmp_path / lost).unlink()
    if way == "cut short" and lost.endswith(".jpg"):
        (tmp_path / lost).write_bytes(before[lost][:-9])
    assert prepare_into(tmp_path, odd).prepared == 1
    assert files(tmp_path) == before


# --- on the way --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"concurrency": 0}, {"per_second": 0.0}])
def test_limits_that_let_nothing_through(odd: Manifest, tmp_path: Path, limits: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        prepare(odd, open_store(str(tmp_path), create=True), JPEG, **limits)  # type: ignore[arg-type]


def test_two_runs_at_once_in_one_folder_are_refused(odd: Manifest, tmp_path: Path) -> None:
    (tmp_path / module.WORK_FOLDER).mkdir()
    with FileLock(tmp_path / module.WORK_FOLDER / "lock"), pytest.raises(CannotWriteError, match="another run"):
        prepare_into(tmp_path, odd)
    assert prepare_into(tmp_path, odd).prepared == 7


def test_progress_knows_the_total_from_the_start(drawn: Manifest, tmp_path: Path) -> None:
    told: list[Progress] = []
    prepare(drawn, open_store(str(tmp_path), create=True), JPEG, on_progress=told.append)
    assert {(each.total, each.counted) for each in told} == {(40, True)}
    assert [each.done for each in told] == sorted(each.done for each in told)
    assert (told[0].done, told[-1].done) == (0, 40)
    written = files(tmp_path)
    assert told[-1].done_bytes == sum(len(data) for key, data in written.items() if key != FILE_NAME)


def test_no_more_photos_are_decoded_at_once_than_there_are_cores(
    drawn: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.os, "cpu_count", lambda: 3)
    now, most, lock = 0, 0, threading.Lock()

    def watched(data: bytes, **names: str) -> np.ndarray:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        pixels = decode(data, **names)
        time.sleep(0.005)
        with lock:
            now -= 1
        return pixels

    monkeypatch.setattr(preparing, "decode", watched)
    prepare(drawn, open_store(str(tmp_path), create=True), JPEG, concurrency=64)
    assert most == 3
