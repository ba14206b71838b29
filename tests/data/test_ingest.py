"""Ingest: what lies in the bucket lies in the dataset afterwards, with one true row per photo."""

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from obstore.store import MemoryStore
from PIL import Image

from bintally.data.ingest import AllPhotos, NamedPhotos, Selection, ingest
from bintally.data.manifest import FILE_NAME, Flag, Header, Manifest, read_manifest, write_manifest
from bintally.data.source import COMPLETE
from bintally.data.splits import split
from bintally.data.store import Store, open_store
from bintally.data.transfer import Progress
from bintally.domain.bins import PhotoId
from bintally.errors import (
    CannotWriteError,
    EmptySourceError,
    ManifestError,
    ObjectNotFoundError,
    SettingsError,
    StoreUnavailableError,
)


def photo(shade: int = 0) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (6, 4), (shade, 99, 99)).save(buffer, "JPEG")
    return buffer.getvalue()


def record(total: int = 2, sku: str = "A") -> bytes:
    return json.dumps({"BIN_FCSKU_DATA": {sku: {"quantity": total}}, "EXPECTED_QUANTITY": total}).encode()


def put(store: Store, key: str, shade: int = 0, total: int = 2) -> None:
    store.backend.put(f"bin-images/{key}.jpg", photo(shade))
    store.backend.put(f"metadata/{key}.json", record(total))


def named(*keys: str) -> NamedPhotos:
    return NamedPhotos(photo_ids=[PhotoId(key) for key in keys])


@pytest.fixture
def source() -> Store:
    """Six photos: 1012 and 01012 are different ones."""
    store = Store(url="memory://bins", backend=MemoryStore(), sorts=True)
    for shade, key in enumerate(["00001", "00002", "00003", "01012", "1012", "1"]):
        put(store, key, shade=10 * shade, total=shade)
    return store


def taken(source: Store, folder: Path, selection: Selection | None = None, **options: int) -> Manifest:
    """The dataset that comes of it."""
    ingest(source, folder, selection, **options)  # type: ignore[arg-type]
    return read_manifest(folder)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones too."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched(Store):
    """A store that says what was asked of it, and can fail at one key."""

    asked: list[str]
    fails_at: str = ""

    @classmethod
    def of(cls, store: Store, fails_at: str = "") -> "Watched":
        return cls(url=store.url, backend=store.backend, sorts=store.sorts, asked=[], fails_at=fails_at)

    async def get(self, key: str) -> bytes:
        self.asked.append(key)
        if key == self.fails_at:
            await asyncio.sleep(0.01)
            raise StoreUnavailableError(f"{key}: the cable is out")
        return await Store.get(self, key)

    def list(self, prefix: str):  # type: ignore[no-untyped-def]
        self.asked.append(prefix)
        return Store.list(self, prefix)


# --- what arrives ------------------------------------------------------------------------------------------------


def test_photos_and_records_arrive_as_they_were(source: Store, tmp_path: Path) -> None:
    report = ingest(source, tmp_path)
    found = files(tmp_path)
    assert found.pop(FILE_NAME)
    keys = ["00001", "00002", "00003", "01012", "1", "1012"]
    assert sorted(found) == [f"bin-images/{key}.jpg" for key in keys] + [f"metadata/{key}.json" for key in keys]
    assert all(bytes(source.backend.get(key).bytes()) == data for key, data in found.items())
    assert (report.photos, report.fetched, report.kept, report.new) == (6, 6, 0, 6)
    assert (report.missing.count, report.ignored.count, report.refused.count, report.flags) == (0, 0, 0, {})


def test_the_manifest_says_what_arrived(source: Store, tmp_path: Path) -> None:
    ingest(source, tmp_path)
    manifest = read_manifest(tmp_path)
    assert manifest.header == Header(source="memory://bins")
    rows = {row["photo_id"]: row for row in manifest.frame.iter_rows(named=True)}
    assert list(rows) == sorted(rows)
    assert {key: row["count"] for key, row in rows.items()} == {
        "00001": 0,
        "00002": 1,
        "00003": 2,
        "01012": 3,
        "1012": 4,
        "1": 5,
    }
    for row in rows.values():
        data = (tmp_path / row["photo_key"]).read_bytes()
        assert (row["sha256"], row["size_bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
        assert (row["width_px"], row["height_px"], row["flags"]) == (6, 4, [])
        record_bytes = (tmp_path / f"metadata/{row['photo_id']}.json").read_bytes()
        assert row["record_sha256"] == hashlib.sha256(record_bytes).hexdigest()
    assert rows["01012"]["items"][0]["sku"] == "A"


def test_a_folder_gives_what_a_bucket_gives(source: Store, tmp_path: Path) -> None:
    first = taken(source, tmp_path / "one")
    (tmp_path / "one" / FILE_NAME).rename(tmp_path / "elsewhere")
    assert taken(open_store(str(tmp_path / "one")), tmp_path / "two").frame.equals(first.frame)


def test_ingesting_a_folder_into_itself_changes_nothing(source: Store, tmp_path: Path) -> None:
    first = taken(source, tmp_path)
    (tmp_path / FILE_NAME).unlink()
    assert taken(open_store(str(tmp_path)), tmp_path).frame.equals(first.frame)


@pytest.mark.parametrize("block_rows", [1, 2, 4, 6])
def test_rows_in_many_parts_are_one_sorted_manifest(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_rows: int
) -> None:
    whole = taken(source, tmp_path / "whole")
    put(source, "1-a")  # listed before `1`
    monkeypatch.setattr("bintally.data.source._BLOCK_ROWS", block_rows)
    assert taken(source, tmp_path / "parts").frame.filter(pl.col("photo_id") != "1-a").equals(whole.frame)
    assert read_manifest(tmp_path / "parts").frame["photo_id"].is_sorted()


# --- which photos ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "limit", "keys"),
    [
        pytest.param(None, None, ["00001", "00002", "00003", "01012", "1", "1012"], id="default"),
        pytest.param(AllPhotos(), 2, ["00001", "00002"], id="first two listed"),
        pytest.param(AllPhotos(), 99, ["00001", "00002", "00003", "01012", "1", "1012"], id="limit not reached"),
        pytest.param(named("1012"), None, ["1012"], id="one"),
        pytest.param(named("01012", "00001", "01012"), None, ["00001", "01012"], id="twice named"),
        pytest.param(named("1", "00003", "00001"), 2, ["00003", "1"], id="first two named"),
    ],
)
def test_takes_the_photos_selected(
    source: Store, tmp_path: Path, selection: Selection | None, limit: int | None, keys: list[str]
) -> None:
    assert taken(source, tmp_path, selection, limit=limit).frame["photo_id"].to_list() == keys
    assert sorted(path.stem for path in (tmp_path / "bin-images").iterdir()) == keys


def test_named_photos_are_asked_for_and_never_listed(source: Store, tmp_path: Path) -> None:
    watched = Watched.of(source)
    ingest(watched, tmp_path, named("00001", "99999"))
    assert sorted(watched.asked) == [
        "bin-images/00001.jpg",
        "bin-images/99999.jpg",
        FILE_NAME,
        "metadata/00001.json",
    ]


def test_missing_photos_are_named(source: Store, tmp_path: Path) -> None:
    report = ingest(source, tmp_path, named("00002", "3", "00009", "2"))
    assert (report.fetched, report.missing.count, sorted(report.missing.first)) == (1, 3, ["00009", "2", "3"])
    assert read_manifest(tmp_path).frame["photo_id"].to_list() == ["00002"]


def test_other_files_are_ignored_and_named(source: Store, tmp_path: Path) -> None:
    for key in ("bin-images/a.png", "bin-images/deep/00009.jpg"):
        source.backend.put(key, b"x")
    report = ingest(source, tmp_path)
    assert (report.fetched, report.ignored.count) == (6, 2)
    assert report.ignored.first == ["bin-images/a.png", "bin-images/deep/00009.jpg"]


@pytest.mark.parametrize(
    ("selection", "said"),
    [(named("77777", "7"), "none of the 2 photos asked for"), (AllPhotos(), r"no photos there.*bin-images/b\.png")],
)
def test_no_photo_at_all_is_an_error(selection: Selection, said: str, tmp_path: Path) -> None:
    empty = Store(url="memory://empty", backend=MemoryStore(), sorts=True)
    empty.backend.put("bin-images/b.png", b"x")
    with pytest.raises(EmptySourceError, match=rf"memory://empty: {said}") as caught:
        ingest(empty, tmp_path / "new", selection)
    assert "bin-images/ID.jpg" in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("option", ["limit", "concurrency"])
def test_fewer_than_one_is_refused(source: Store, tmp_path: Path, option: str) -> None:
    with pytest.raises(SettingsError, match=f"{option}: expected 1 or more, got 0"):
        ingest(source, tmp_path, **{option: 0})


# --- what is wrong with them -------------------------------------------------------------------------------------


def test_bad_photos_and_records_are_rows_not_the_end(source: Store, tmp_path: Path) -> None:
    source.backend.put("bin-images/00002.jpg", b"this is no photo")
    source.backend.put("metadata/00003.json", b'{"EXPECTED_QUANTITY": -4, "BIN_FCSKU_DATA": {}}')
    source.backend.put("metadata/01012.json", b"<html>")
    source.backend.delete("metadata/1.json")
    report = ingest(source, tmp_path)
    assert report.fetched == 6
    assert report.flags == {Flag.BAD_PHOTO: 1, Flag.BAD_RECORD: 2, Flag.NO_RECORD: 1}
    assert sorted(problem.photo_id for problem in report.examples[Flag.BAD_RECORD]) == ["00003", "01012"]
    frame = read_manifest(tmp_path).frame
    counts = dict(frame.select("photo_id", "count").iter_rows())
    assert counts == {"00001": 0, "00002": 1, "00003": None, "01012": None, "1": None, "1012": 4}
    flagged = frame.filter(pl.col("problem").is_not_null())
    assert flagged["photo_id"].to_list() == ["00002", "00003", "01012", "1"]
    assert (tmp_path / "metadata/01012.json").read_bytes() == b"<html>"
    assert (tmp_path / "bin-images/00002.jpg").read_bytes() == b"this is no photo"


# --- growing and going on ----------------------------------------------------------------------------------------


def test_a_dataset_grows_and_keeps_its_splits(source: Store, tmp_path: Path) -> None:
    ingest(source, tmp_path, named("00001", "00002"))
    write_manifest(split(read_manifest(tmp_path), "my salt", required_counts=()).manifest)
    before = read_manifest(tmp_path).frame
    put(source, "00002", shade=77, total=9)
    report = ingest(source, tmp_path, named("00002", "1"), refresh=True)
    after = read_manifest(tmp_path)
    assert (report.fetched, report.new, report.unplaced, after.salt) == (2, 1, 1, "my salt")
    assert after.frame["photo_id"].to_list() == ["00001", "00002", "1"]
    kept = after.frame.filter(pl.col("photo_id") != "1")
    assert kept.select("photo_id", "group", "split").equals(before.select("photo_id", "group", "split"))
    assert kept.filter(pl.col("photo_id") == "00001").equals(before.filter(pl.col("photo_id") == "00001"))
    assert kept.filter(pl.col("photo_id") == "00002")["count"].item() == 9
    assert after.frame.filter(pl.col("photo_id") == "1").select("group", "split").row(0) == (None, None)


def test_what_is_there_is_not_fetched_again(source: Store, tmp_path: Path) -> None:
    ingest(source, tmp_path, limit=4)
    (tmp_path / "metadata/00002.json").unlink()
    watched = Watched.of(source)
    report = ingest(watched, tmp_path)
    expected = [FILE_NAME, "bin-images/", "metadata/00002.json"]
    expected += [key for name in ("1", "1012") for key in (f"bin-images/{name}.jpg", f"metadata/{name}.json")]
    assert sorted(watched.asked) == sorted(expected)
    assert (report.fetched, report.kept, report.new, report.photos) == (2, 4, 2, 6)


def test_the_files_alone_are_enough_to_go_on(source: Store, tmp_path: Path) -> None:
    """A run that was killed leaves files and no manifest."""
    undisturbed = taken(source, tmp_path / "a")
    ingest(source, tmp_path / "b", limit=3)
    (tmp_path / "b" / FILE_NAME).unlink()
    (tmp_path / "b/.ingest").mkdir()
    (tmp_path / "b/.ingest/000000.parquet").write_bytes(b"half of a part")
    (tmp_path / "b/bin-images/.1.jpg.part").write_bytes(b"half of a photo")
    report = ingest(source, tmp_path / "b")
    assert (report.fetched, report.kept) == (3, 3)
    assert files(tmp_path / "b") == files(undisturbed.root)


@pytest.mark.parametrize("same_size", [True, False])
def test_a_photo_that_was_damaged_here_is_fetched_again(source: Store, tmp_path: Path, same_size: bool) -> None:
    ingest(source, tmp_path)
    undamaged = files(tmp_path)
    path = tmp_path / "bin-images/00002.jpg"
    path.write_bytes(path.read_bytes()[:-1] + (b"!" if same_size else b""))
    report = ingest(source, tmp_path)
    assert (report.fetched, report.kept, report.repaired) == (1, 5, 1)
    assert files(tmp_path) == undamaged


def test_a_photo_that_changed_in_the_source_is_fetched_again(source: Store, tmp_path: Path) -> None:
    ingest(source, tmp_path)
    source.backend.put("bin-images/00002.jpg", photo(99) + b"more")
    report = ingest(source, tmp_path)
    assert (report.fetched, report.repaired) == (1, 1)
    assert (tmp_path / "bin-images/00002.jpg").read_bytes() == photo(99) + b"more"
    assert taken(source, tmp_path / "fresh").frame.equals(read_manifest(tmp_path).frame)


def test_a_record_that_came_later_is_taken(source: Store, tmp_path: Path) -> None:
    source.backend.delete("metadata/00002.json")
    assert ingest(source, tmp_path).flags == {Flag.NO_RECORD: 1}
    source.backend.put("metadata/00002.json", record(7))
    report = ingest(source, tmp_path)
    assert (report.fetched, report.flags, report.labelled) == (0, {}, 6)
    assert taken(source, tmp_path / "fresh").frame.equals(read_manifest(tmp_path).frame)


def test_what_an_audit_measured_stays_with_unchanged_photos(source: Store, tmp_path: Path) -> None:
    manifest = taken(source, tmp_path)
    audited = manifest.frame.with_columns(brightness=pl.lit(42.0, pl.Float32))
    write_manifest(replace(manifest, frame=audited))
    source.backend.put("bin-images/00002.jpg", photo(99) + b"more")
    brightness = dict(taken(source, tmp_path).frame.select("photo_id", "brightness").iter_rows())
    assert brightness == {key: None if key == "00002" else 42.0 for key in manifest.frame["photo_id"]}


def test_refreshing_fetches_everything_again(source: Store, tmp_path: Path) -> None:
    ingest(source, tmp_path)
    put(source, "00002", shade=20, total=9)
    assert ingest(source, tmp_path).fetched == 0
    assert ingest(source, tmp_path, refresh=True).fetched == 6
    assert taken(source, tmp_path / "fresh").frame.equals(read_manifest(tmp_path).frame)


def test_photos_of_two_sources_do_not_mix(source: Store, tmp_path: Path) -> None:
    ingest(source, tmp_path, named("00001"))
    before = files(tmp_path)
    with pytest.raises(ManifestError, match=r"memory://bins.*memory://other.*another folder"):
        ingest(replace(source, url="memory://other"), tmp_path)
    assert files(tmp_path) == before


def test_two_runs_at_once_are_refused(source: Store, tmp_path: Path) -> None:
    refused: list[str] = []

    def meanwhile(_: Progress) -> None:
        with pytest.raises(CannotWriteError, match="another ingest is at this dataset") as caught:
            ingest(source, tmp_path)
        refused.append(str(caught.value))

    assert ingest(source, tmp_path, concurrency=1, on_progress=meanwhile).photos == 6
    assert refused


# --- from a dataset ----------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(source: Store, tmp_path: Path) -> Manifest:
    """A split dataset with a photo that has no record and one that could not be fetched."""
    source.backend.delete("metadata/1.json")
    fails = Watched.of(source, "bin-images/1012.jpg")
    manifest = split(taken(fails, tmp_path / "dataset"), "my salt", required_counts=()).manifest
    write_manifest(manifest)
    return manifest


def test_a_dataset_comes_with_its_splits(dataset: Manifest, tmp_path: Path) -> None:
    copy = taken(open_store(str(dataset.root)), tmp_path / "copy")
    there = dataset.frame.filter(pl.col("sha256").is_not_null())
    assert copy.frame.equals(there)
    assert copy.frame.height == 5
    assert (copy.salt, copy.header.origin) == ("my salt", "memory://bins")
    assert copy.header.source == dataset.root.as_uri()
    assert taken(open_store(str(copy.root)), tmp_path / "copy of copy").header.origin == "memory://bins"


def test_a_part_of_a_dataset(dataset: Manifest, tmp_path: Path) -> None:
    report = ingest(open_store(str(dataset.root)), tmp_path / "copy", named("00003", "7", "1012"))
    assert read_manifest(tmp_path / "copy").frame["photo_id"].to_list() == ["00003"]
    assert (report.photos, sorted(report.missing.first)) == (1, ["1012", "7"])


def test_a_photo_that_is_not_what_its_manifest_says_is_refused(dataset: Manifest, tmp_path: Path) -> None:
    path = dataset.root / "bin-images/00002.jpg"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    report = ingest(open_store(str(dataset.root)), tmp_path / "copy")
    assert (report.fetched, report.refused.count, report.flags[Flag.NOT_FETCHED]) == (4, 1, 1)
    assert "sha256 is not the one in the manifest" in report.refused.first[0]
    assert not (tmp_path / "copy/bin-images/00002.jpg").exists()


def test_a_dataset_that_names_files_elsewhere_is_refused(dataset: Manifest, tmp_path: Path) -> None:
    climbing = dataset.frame.with_columns(photo_key=pl.lit("elsewhere/") + pl.col("photo_id"))
    write_manifest(replace(dataset, frame=climbing))
    with pytest.raises(ManifestError, match=r"expected photo 00001 at bin-images/00001\.jpg, not at 'elsewhere/00001'"):
        ingest(open_store(str(dataset.root)), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_dataset_of_another_salt_is_refused(source: Store, dataset: Manifest, tmp_path: Path) -> None:
    other = split(taken(source, tmp_path / "other"), "other salt", required_counts=()).manifest
    write_manifest(other)
    with pytest.raises(ManifestError, match=r"'other salt'.*'my salt'.*--salt my salt"):
        ingest(open_store(str(dataset.root)), other.root)


def test_a_dataset_that_is_not_finished_is_refused(dataset: Manifest, tmp_path: Path) -> None:
    header = replace(dataset.header, extra={COMPLETE: "no"})
    write_manifest(replace(dataset, header=header))
    with pytest.raises(ManifestError, match="not finished"):
        ingest(open_store(str(dataset.root)), tmp_path / "copy")


# --- when it fails -----------------------------------------------------------------------------------------------


def test_a_photo_that_the_source_refuses_is_a_row(source: Store, tmp_path: Path) -> None:
    report = ingest(Watched.of(source, "bin-images/01012.jpg"), tmp_path)
    assert (report.fetched, report.photos, report.labelled) == (5, 6, 5)
    assert (report.refused.count, report.flags) == (1, {Flag.NOT_FETCHED: 1})
    row = read_manifest(tmp_path).frame.row(by_predicate=pl.col("photo_id") == "01012", named=True)
    assert (row["sha256"], row["count"], row["flags"]) == (None, None, ["not-fetched"])
    assert "the cable is out" in row["problem"]
    assert not (tmp_path / "metadata/01012.json").exists()
    again = ingest(source, tmp_path)
    assert (again.fetched, again.kept, again.new, again.flags) == (1, 5, 0, {})
    assert taken(source, tmp_path / "fresh").frame.equals(read_manifest(tmp_path).frame)


def test_a_record_that_the_source_refuses_leaves_the_photo(source: Store, tmp_path: Path) -> None:
    report = ingest(Watched.of(source, "metadata/01012.json"), tmp_path)
    assert (report.fetched, report.refused.count, report.flags) == (6, 1, {Flag.NO_RECORD: 1})
    assert "the cable is out" in report.examples[Flag.NO_RECORD][0].text
    watched = Watched.of(source)
    assert ingest(watched, tmp_path).fetched == 0
    assert sorted(watched.asked) == ["bin-images/", FILE_NAME, "metadata/01012.json"]
    assert taken(source, tmp_path / "fresh").frame.equals(read_manifest(tmp_path).frame)


def test_a_photo_that_cannot_be_refreshed_keeps_its_row(source: Store, tmp_path: Path) -> None:
    before = taken(source, tmp_path)
    report = ingest(Watched.of(source, "bin-images/01012.jpg"), tmp_path, refresh=True)
    assert (report.fetched, report.refused.count, report.flags) == (5, 1, {})
    assert read_manifest(tmp_path).frame.equals(before.frame)


def test_a_source_that_refuses_everything_is_an_error(source: Store, tmp_path: Path) -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Down(Store):
        async def get(self, key: str) -> bytes:
            raise StoreUnavailableError(f"{key}: the cable is out")

    with pytest.raises(StoreUnavailableError, match="the cable is out"):
        ingest(Down(url="memory://bins", backend=source.backend, sorts=True), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("concurrency", [1, 3, 64])
def test_a_source_that_goes_down_ends_the_run_and_the_next_goes_on(tmp_path: Path, concurrency: int) -> None:
    source = Store(url="memory://bins", backend=MemoryStore(), sorts=True)
    for number in range(300):
        put(source, f"{number:05d}", total=number)

    @dataclass(frozen=True, slots=True, kw_only=True)
    class GoesDown(Store):
        async def get(self, key: str) -> bytes:
            if key != FILE_NAME and Path(key).stem > "00050":
                await asyncio.sleep(0.01)
                raise StoreUnavailableError(f"{key}: the cable is out")
            return await Store.get(self, key)

    going = GoesDown(url=source.url, backend=source.backend, sorts=True)
    with pytest.raises(StoreUnavailableError, match="the cable is out"):
        ingest(going, tmp_path, concurrency=concurrency)
    after = files(tmp_path)
    assert FILE_NAME not in after
    assert 60 < len(after) <= 102
    assert all(bytes(source.backend.get(key).bytes()) == data for key, data in after.items())
    report = ingest(source, tmp_path)
    assert (report.photos, report.kept + report.fetched) == (300, 300)
    assert report.kept == sum(key.startswith("bin-images") for key in after)


def test_a_disk_that_fails_leaves_nothing_half_written(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        path.open("wb").write(data[:3])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(CannotWriteError, match="cannot write: the disk is full"):
            ingest(source, tmp_path)
    assert files(tmp_path) == {}
    assert ingest(source, tmp_path).photos == 6


@pytest.mark.parametrize("fails", ["write_parquet", "sink_parquet"])
def test_a_disk_that_fails_at_the_rows_keeps_the_old_manifest(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    ingest(source, tmp_path, named("00001"))
    before = (tmp_path / FILE_NAME).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame if fails == "write_parquet" else pl.LazyFrame, fails, full)
        with pytest.raises((CannotWriteError, ManifestError), match="No space left"):
            ingest(source, tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert ingest(source, tmp_path).kept == 6


def test_a_destination_that_is_a_file_is_an_error_of_ours(source: Store, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWriteError, match="cannot write: a file is where a folder is needed"):
        ingest(source, tmp_path / "file")


def test_a_photo_that_vanishes_after_the_listing_is_missing(source: Store, tmp_path: Path) -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Vanishing(Store):
        async def get(self, key: str) -> bytes:
            if key == "bin-images/00002.jpg":
                raise ObjectNotFoundError(key)
            return await Store.get(self, key)

    report = ingest(Vanishing(url="memory://bins", backend=source.backend, sorts=True), tmp_path)
    assert (report.photos, report.missing.first) == (5, ["00002"])


def test_a_photo_that_is_cut_on_its_way_is_not_kept(source: Store, tmp_path: Path) -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Cutting(Store):
        async def get(self, key: str) -> bytes:
            data = await Store.get(self, key)
            return data[:-1] if key == "bin-images/00002.jpg" else data

    report = ingest(Cutting(url="memory://bins", backend=source.backend, sorts=True), tmp_path)
    assert report.refused.count == 1
    assert re.search(r"the source said \d+ bytes, and \d+ came", report.refused.first[0])
    assert not (tmp_path / "bin-images/00002.jpg").exists()


def test_progress_is_told_as_photos_are_found_and_dealt_with(source: Store, tmp_path: Path) -> None:
    told: list[Progress] = []
    ingest(source, tmp_path, named("00001", "00002", "nowhere"), concurrency=1, on_progress=told.append)
    assert (told[-1].done, told[-1].total, told[-1].counted) == (3, 3, True)
    assert told[-1].done_bytes == sum(len(data) for name, data in files(tmp_path).items() if name != FILE_NAME)
    assert [now.done for now in told] == sorted(now.done for now in told)


def test_it_runs_inside_a_notebooks_event_loop(source: Store, tmp_path: Path) -> None:
    async def cell() -> int:
        return ingest(source, tmp_path).photos

    assert asyncio.run(cell()) == 6


def test_what_an_audit_found_is_not_told_again(source: Store, tmp_path: Path) -> None:
    manifest = taken(source, tmp_path / "dataset")
    flags = pl.concat_list(pl.lit(Flag.DARK.value))
    write_manifest(replace(manifest, frame=manifest.frame.with_columns(flags=flags)))
    report = ingest(open_store(str(manifest.root)), tmp_path / "copy")
    assert report.flags == {}
    assert read_manifest(tmp_path / "copy").frame["flags"].to_list() == [["dark"]] * 6
