"""Ingest: what lies in the bucket lies in the dataset afterwards, with one true row per photo."""

import asyncio
import hashlib
import json
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from obstore.store import MemoryStore
from PIL import Image

from bintally.data.ingest import AllPhotos, NamedPhotos, Selection, ingest
from bintally.data.manifest import FILE_NAME, Flag, read_manifest, write_manifest
from bintally.data.splits import split
from bintally.data.store import Store, open_store
from bintally.domain.bins import PhotoId
from bintally.errors import (
    EmptySourceError,
    ManifestError,
    ObjectNotFoundError,
    SettingsError,
    StoreError,
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
    assert (report.selected, report.ingested, report.new, report.missing, report.problems) == (6, 6, 6, (), ())


def test_the_manifest_says_what_arrived(source: Store, tmp_path: Path) -> None:
    ingest(source, tmp_path)
    manifest = read_manifest(tmp_path)
    assert (manifest.source, manifest.salt) == ("memory://bins", "")
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
    assert rows["01012"]["items"][0]["sku"] == "A"


def test_a_folder_gives_what_a_bucket_gives(source: Store, tmp_path: Path) -> None:
    first = ingest(source, tmp_path / "one").manifest
    second = ingest(open_store(str(tmp_path / "one")), tmp_path / "two").manifest
    assert second.frame.equals(first.frame)


def test_ingesting_a_dataset_into_itself_changes_nothing(source: Store, tmp_path: Path) -> None:
    first = ingest(source, tmp_path).manifest
    (tmp_path / FILE_NAME).unlink()
    assert ingest(open_store(str(tmp_path)), tmp_path).manifest.frame.equals(first.frame)


def test_many_photos_are_packed_without_loss(source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bintally.data.ingest._FRAME_ROWS", 2)
    assert ingest(source, tmp_path).manifest.frame.height == 6


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
    report = ingest(source, tmp_path, selection, limit=limit)
    assert report.manifest.frame["photo_id"].to_list() == keys
    assert sorted(path.stem for path in (tmp_path / "bin-images").iterdir()) == keys


def test_named_photos_are_asked_for_and_never_listed(source: Store, tmp_path: Path) -> None:
    watched = Watched.of(source)
    ingest(watched, tmp_path, named("00001", "99999"))
    assert sorted(watched.asked) == ["bin-images/00001.jpg", "bin-images/99999.jpg", "metadata/00001.json"]


def test_missing_photos_are_named(source: Store, tmp_path: Path) -> None:
    report = ingest(source, tmp_path, named("00002", "3", "00009", "2"))
    assert (report.selected, report.ingested, report.missing) == (4, 1, ("00009", "2", "3"))
    assert report.manifest.frame["photo_id"].to_list() == ["00002"]


def test_other_files_are_ignored_and_named(source: Store, tmp_path: Path) -> None:
    for key in ("bin-images/a.png", "bin-images/deep/00009.jpg"):
        source.backend.put(key, b"x")
    report = ingest(source, tmp_path)
    assert report.ignored == ("bin-images/a.png", "bin-images/deep/00009.jpg")
    assert report.ingested == 6


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
    assert report.ingested == 6
    assert report.flags == {Flag.BAD_PHOTO: 1, Flag.BAD_RECORD: 2, Flag.NO_RECORD: 1}
    assert [problem.photo_id for problem in report.problems] == ["00002", "00003", "01012", "1"]
    counts = dict(report.manifest.frame.select("photo_id", "count").iter_rows())
    assert counts == {"00001": 0, "00002": 1, "00003": None, "01012": None, "1": None, "1012": 4}
    flagged = report.manifest.frame.filter(pl.col("problem").is_not_null())
    assert flagged["photo_id"].to_list() == ["00002", "00003", "01012", "1"]
    assert (tmp_path / "metadata/01012.json").read_bytes() == b"<html>"
    assert (tmp_path / "bin-images/00002.jpg").read_bytes() == b"this is no photo"


# --- growing -----------------------------------------------------------------------------------------------------


def test_a_dataset_grows_and_keeps_its_splits(source: Store, tmp_path: Path) -> None:
    ingest(source, tmp_path, named("00001", "00002"))
    write_manifest(split(read_manifest(tmp_path), "my salt", required_counts=()).manifest)
    before = read_manifest(tmp_path).frame
    put(source, "00002", shade=77, total=9)
    report = ingest(source, tmp_path, named("00002", "1"))
    after = read_manifest(tmp_path)
    assert (report.ingested, report.new, after.salt) == (2, 1, "my salt")
    assert after.frame["photo_id"].to_list() == ["00001", "00002", "1"]
    kept = after.frame.filter(pl.col("photo_id") != "1")
    assert kept.select("photo_id", "group", "split").equals(before.select("photo_id", "group", "split"))
    assert kept.filter(pl.col("photo_id") == "00001").equals(before.filter(pl.col("photo_id") == "00001"))
    assert kept.filter(pl.col("photo_id") == "00002")["count"].item() == 9
    assert after.frame.filter(pl.col("photo_id") == "1").select("group", "split").row(0) == (None, None)


def test_photos_of_two_sources_do_not_mix(source: Store, tmp_path: Path) -> None:
    ingest(source, tmp_path, named("00001"))
    before = files(tmp_path)
    with pytest.raises(ManifestError, match=r"memory://bins.*memory://other.*another folder"):
        ingest(replace(source, url="memory://other"), tmp_path)
    assert files(tmp_path) == before


# --- when it fails -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails_at", ["bin-images/01012.jpg", "metadata/01012.json"])
def test_a_store_that_fails_leaves_whole_files_and_the_old_manifest(
    source: Store, tmp_path: Path, fails_at: str
) -> None:
    ingest(source, tmp_path, named("00001"))
    before = files(tmp_path)
    with pytest.raises(StoreUnavailableError, match="the cable is out"):
        ingest(Watched.of(source, fails_at), tmp_path, concurrency=2)
    after = files(tmp_path)
    assert after[FILE_NAME] == before[FILE_NAME]
    for key in after.keys() - {FILE_NAME}:
        assert after[key] == bytes(source.backend.get(key).bytes())
    assert ingest(source, tmp_path).ingested == 6


def test_a_disk_that_fails_leaves_nothing_half_written(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        path.open("wb").write(data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match=r"cannot write.*No space left"):
        ingest(source, tmp_path)
    assert files(tmp_path) == {}


def test_a_destination_that_is_a_file_is_an_error_of_ours(source: Store, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write"):
        ingest(source, tmp_path / "file")


def test_a_photo_that_vanishes_after_the_listing_is_missing(source: Store, tmp_path: Path) -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Vanishing(Store):
        async def get(self, key: str) -> bytes:
            if key == "bin-images/00002.jpg":
                raise ObjectNotFoundError(key)
            return await Store.get(self, key)

    report = ingest(Vanishing(url="memory://bins", backend=source.backend, sorts=True), tmp_path)
    assert (report.ingested, report.missing) == (5, ("00002",))


def test_progress_is_told_once_before_and_after_each(source: Store, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    ingest(
        source, tmp_path, named("00001", "00002", "nowhere"), on_progress=lambda done, total: told.append((done, total))
    )
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
