"""Push: what arrives, and what is never sent again."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from tests.pushing import (
    PREFIX,
    bucket_of,
    changed,
    check_all_there,
    copy_of,
    files_of,
    folder_objects,
    make_dataset,
    sent_to,
    take,
)
from tests.s3_server import LIST, S3Server

from bintally.data import shipment
from bintally.data.manifest import FILE_NAME, Flag, Manifest
from bintally.data.push import PushReport, push
from bintally.data.store import open_store
from bintally.data.transfer import Progress
from bintally.errors import (
    ManifestError,
    SettingsError,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


# --- what arrives ------------------------------------------------------------------------------------------------


def test_everything_arrives_with_one_request_for_each_file(s3: S3Server, dataset: Manifest) -> None:
    report = push(dataset, bucket_of(s3))
    files = files_of(dataset)
    check_all_there(s3.objects, dataset)
    assert sorted(sent_to(s3)) == sorted([*files, FILE_NAME])
    assert s3.asked("GET", LIST) == len(s3.requests) - len(files) - 1 == 2
    sizes = sum(len(s3.objects[PREFIX + key]) for key in files)
    assert report == PushReport(
        url=f"s3://bucket/{PREFIX.rstrip('/')} at {s3.endpoint}",
        files=len(files),
        sent=len(files),
        sent_bytes=sizes,
        kept=0,
        replaced=0,
        read_back=0,
        left_alone=0,
        manifest_sent=True,
    )


def test_a_large_photo_is_sent_in_one_piece(s3: S3Server, dataset: Manifest, tmp_path: Path) -> None:
    large = copy_of(dataset, tmp_path / "data")
    photo = large.root / large.frame["photo_key"][0]
    photo.write_bytes(photo.read_bytes() + bytes(6_000_000))
    large = changed(
        large,
        sha256=pl.when(pl.col("photo_key") == photo.relative_to(large.root).as_posix())
        .then(pl.lit(hashlib.sha256(photo.read_bytes()).hexdigest()))
        .otherwise("sha256"),
    )
    push(large, bucket_of(s3))
    assert len(s3.requests) == len(files_of(dataset)) + 3
    assert push(large, bucket_of(s3)).read_back == 0
    check_all_there(s3.objects, large)


def test_records_come_first_and_the_manifest_last(s3: S3Server, dataset: Manifest) -> None:
    push(dataset, bucket_of(s3), concurrency=1)
    folders = [key.partition("/")[0] for key in sent_to(s3)]
    assert folders == sorted(folders, key=["metadata", "bin-images", FILE_NAME].index)
    assert s3.requests[-2].key == LIST, "listed once more before the manifest"


def test_a_folder_gets_the_same_bytes_as_a_bucket(s3: S3Server, dataset: Manifest, tmp_path: Path) -> None:
    push(dataset, bucket_of(s3))
    push(dataset, open_store(str(tmp_path / "new" / "dest"), create=True))
    assert {PREFIX + key: data for key, data in folder_objects(tmp_path / "new" / "dest").items()} == s3.objects


def test_a_photo_that_was_not_fetched_has_no_file(s3: S3Server, dataset: Manifest) -> None:
    first = pl.col("photo_id") == dataset.frame["photo_id"][0]
    nothing = {name: pl.when(~first).then(name) for name in ("sha256", "record_sha256", "size_bytes")}
    flags = pl.when(first).then([Flag.NOT_FETCHED.value]).otherwise("flags")
    holed = changed(dataset, flags=flags, **nothing)
    assert push(holed, bucket_of(s3)).files == len(files_of(dataset)) - 2
    check_all_there(s3.objects, holed)


def test_progress_counts_every_file_once(s3: S3Server, dataset: Manifest) -> None:
    told: list[Progress] = []
    push(dataset, bucket_of(s3), on_progress=told.append)
    total = len(files_of(dataset))
    assert {each.total for each in told} == {total}
    assert [each.done for each in told] == sorted(each.done for each in told)
    again = push(dataset, bucket_of(s3), read_back=True, on_progress=told.append)
    assert told[total].done <= told[-1].done == told[-1].total == 2 * total
    assert told[-1].done_bytes == sum(len(s3.objects[PREFIX + key]) for key in files_of(dataset))
    assert again.read_back == total


def test_limits_that_let_nothing_through_are_refused(s3: S3Server, dataset: Manifest) -> None:
    with pytest.raises(SettingsError, match="concurrency"):
        push(dataset, bucket_of(s3), concurrency=0)
    with pytest.raises(SettingsError, match="rate"):
        push(dataset, bucket_of(s3), per_second=0)


# --- what is never sent again ------------------------------------------------------------------------------------


def test_a_second_push_asks_for_listings_only(s3: S3Server, dataset: Manifest) -> None:
    push(dataset, bucket_of(s3))
    s3.forget()
    report = push(dataset, bucket_of(s3))
    assert {request.key for request in s3.requests} == {LIST}
    assert (report.sent, report.kept, report.manifest_sent) == (0, len(files_of(dataset)), False)


def test_a_grown_dataset_sends_what_is_new(s3: S3Server, dataset: Manifest, tmp_path: Path) -> None:
    bins = dataset.root.parent / "bins"
    ids = dataset.frame["photo_id"].to_list()
    small = take(bins, tmp_path / "data", ids[::2])
    push(small, bucket_of(s3))
    s3.forget()
    grown = take(bins, tmp_path / "data")
    report = push(grown, bucket_of(s3))
    new = files_of(grown).keys() - files_of(small).keys()
    assert sorted(sent_to(s3)) == sorted([*new, FILE_NAME])
    assert s3.asked("GET") == s3.asked("GET", LIST) + 1, "the manifest that was there is read"
    assert (report.sent, report.kept) == (len(new), len(files_of(small)))
    check_all_there(s3.objects, grown)


@pytest.mark.parametrize("etag", ['"0123456789abcdef0123456789abcdef"', '"0123456789abcdef0123456789abcdef-2"'])
def test_where_the_etag_is_no_md5_it_reads_and_does_not_send(s3: S3Server, dataset: Manifest, etag: str) -> None:
    push(dataset, bucket_of(s3))
    for key in s3.objects:
        s3.objects.name(key, etag)  # as of an object in an encrypted bucket, or one that came in parts
    s3.forget()
    report = push(dataset, bucket_of(s3))
    files = len(files_of(dataset))
    assert (report.kept, report.read_back, sent_to(s3)) == (files, files, [])
    assert s3.asked("GET") == s3.asked("GET", LIST) + files + 1
    assert not report.manifest_sent


def test_a_folder_is_read_and_not_written_again(dataset: Manifest, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "dest"), create=True)
    push(dataset, store)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "dest").rglob("*")}
    report = push(dataset, store)
    assert (report.sent, report.read_back, report.manifest_sent) == (0, len(files_of(dataset)), False)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "dest").rglob("*")} == before


def test_what_vanishes_after_the_listing_is_sent(s3: S3Server, dataset: Manifest) -> None:
    push(dataset, bucket_of(s3))
    key = PREFIX + dataset.frame["photo_key"][4]
    s3.objects.name(key, '"no-md5"')
    vanish = [key]

    def on_progress(_: Progress) -> None:
        if vanish:
            del s3.objects[vanish.pop()]

    report = push(dataset, bucket_of(s3), on_progress=on_progress)
    assert (report.sent, report.kept) == (1, len(files_of(dataset)) - 1)
    check_all_there(s3.objects, dataset)


def test_tables_in_pieces_are_put_together(s3: S3Server, dataset: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipment, "_BATCH", 7)
    monkeypatch.setattr(shipment, "_PACKED", 11)
    push(dataset, bucket_of(s3))
    check_all_there(s3.objects, dataset)
    assert push(dataset, bucket_of(s3)).kept == len(files_of(dataset))


def test_other_photos_are_left_alone_and_counted(s3: S3Server, dataset: Manifest) -> None:
    others = {PREFIX + "bin-images/zzz.jpg": b"a photo", PREFIX + "notes.txt": b"", "bin-images/1.jpg": b"elsewhere"}
    s3.objects.update(others)
    assert push(dataset, bucket_of(s3)).left_alone == 1
    assert {key: s3.objects[key] for key in others} == others


# --- files that are not what the manifest says -------------------------------------------------------------------


def _remove(path: Path) -> None:
    path.unlink()


def _change(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def _hide(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(_remove, "is missing"), (_change, "has changed"), (_hide, r"cannot be read \(Is a directory\)")],
)
@pytest.mark.parametrize("folder", ["bin-images", "metadata"])
def test_a_spoilt_file_is_named_and_keeps_the_manifest_back(
    s3: S3Server, dataset: Manifest, tmp_path: Path, folder: str, spoil: Callable[[Path], None], said: str
) -> None:
    spoilt = copy_of(dataset, tmp_path / "data")
    path = sorted((spoilt.root / folder).iterdir())[5]
    spoil(path)
    files = len(files_of(dataset))
    with pytest.raises(ManifestError, match=rf"1 files are not as .*{folder}/{path.name} {said}") as caught:
        push(spoilt, bucket_of(s3))
    assert f"bintally ingest {dataset.header.source} {spoilt.root}" in str(caught.value)
    assert len(s3.objects) == files - 1
    assert f"{PREFIX}{folder}/{path.name}" not in s3.objects


def test_a_spoilt_file_is_found_where_it_had_arrived_before(s3: S3Server, dataset: Manifest, tmp_path: Path) -> None:
    push(dataset, bucket_of(s3))
    spoilt = copy_of(dataset, tmp_path / "data")
    _change(spoilt.root / dataset.frame["photo_key"][0])
    with pytest.raises(ManifestError, match="has changed"):
        push(spoilt, bucket_of(s3))
    check_all_there(s3.objects, dataset)
