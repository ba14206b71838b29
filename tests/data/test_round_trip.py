"""There and back: what is ingested from a pushed dataset is the dataset, byte for byte and row for row."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from tests.pushing import (
    bucket_of,
    check_all_there,
    files_of,
    folder_objects,
    hashes,
    make_dataset,
    pushed,
    take,
)
from tests.s3_server import QUICK_FAULTS, Faults, S3Server

from bintally.data.abid import PhotoId
from bintally.data.audit import audit
from bintally.data.ingest import NamedPhotos, ingest
from bintally.data.manifest import Manifest, read_manifest, write_manifest
from bintally.data.prepare import prepare
from bintally.data.prepare_settings import PrepareSettings
from bintally.data.push import push
from bintally.data.splits import split
from bintally.data.store import Store, open_store
from bintally.errors import ManifestError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture(params=["bucket", "folder"])
def destination(request: pytest.FixtureRequest, s3: S3Server, tmp_path: Path) -> Store:
    return bucket_of(s3) if request.param == "bucket" else open_store(str(tmp_path / "dest"), create=True)


def check_same(back: Path, dataset: Manifest) -> None:
    """Rows, splits, hashes, bytes."""
    came = read_manifest(back)
    assert came.frame.equals(dataset.frame)
    assert (came.content_hash, came.split_hash, came.salt) == (dataset.content_hash, dataset.split_hash, dataset.salt)
    assert hashes(folder_objects(back)) == files_of(dataset)


def test_a_pushed_dataset_comes_back(destination: Store, dataset: Manifest, tmp_path: Path) -> None:
    push(dataset, destination)
    ingest(destination, tmp_path / "back")
    check_same(tmp_path / "back", dataset)
    header = read_manifest(tmp_path / "back").header
    assert header.source == destination.url
    assert header.origin.startswith("folder:bins-")


def test_it_may_go_on_to_the_next_and_back_to_the_first(dataset: Manifest, s3: S3Server, tmp_path: Path) -> None:
    first, second = bucket_of(s3), open_store(str(tmp_path / "second"), create=True)
    push(dataset, first)
    ingest(first, tmp_path / "back")
    back = read_manifest(tmp_path / "back")
    assert push(back, second).sent == len(files_of(dataset))
    ingest(second, tmp_path / "again")
    check_same(tmp_path / "again", dataset)
    assert push(read_manifest(tmp_path / "again"), first).sent == 0


def test_it_comes_and_goes_through_faults(dataset: Manifest, tmp_path: Path) -> None:
    with S3Server(faults=Faults(share=0.05, seed=5, kinds=QUICK_FAULTS)) as server:
        push(dataset, bucket_of(server))
        ingest(bucket_of(server), tmp_path / "back")
    check_same(tmp_path / "back", dataset)


def test_photos_that_come_later_move_none(dataset: Manifest, s3: S3Server, tmp_path: Path) -> None:
    bins, ids = dataset.root.parent / "bins", dataset.frame["photo_id"].to_list()
    small = take(bins, tmp_path / "data", ids[:20])
    push(small, bucket_of(s3))
    ingest(bucket_of(s3), tmp_path / "back")
    grown = take(bins, tmp_path / "data")
    push(grown, bucket_of(s3))
    report = ingest(bucket_of(s3), tmp_path / "back")
    assert (report.kept, report.new) == (20, len(ids) - 20)
    check_same(tmp_path / "back", grown)
    assert grown.frame.filter(pl.col("photo_id").is_in(ids[:20])).equals(small.frame)


def test_a_part_of_it_has_its_rows(dataset: Manifest, s3: S3Server, tmp_path: Path) -> None:
    push(dataset, bucket_of(s3))
    ids = dataset.frame["photo_id"].to_list()[5:9]
    ingest(bucket_of(s3), tmp_path / "back", NamedPhotos(photo_ids=[PhotoId(each) for each in ids]))
    assert read_manifest(tmp_path / "back").frame.equals(dataset.frame.filter(pl.col("photo_id").is_in(ids)))


def test_the_whole_path(s3: S3Server, tmp_path: Path) -> None:
    taken = make_dataset(tmp_path / "made", seed=3)
    audited = split(audit(taken).manifest, required_counts=()).manifest
    write_manifest(audited)
    small = open_store(str(tmp_path / "small"), create=True)
    prepare(audited, small, PrepareSettings(side_px=32))
    prepared = read_manifest(tmp_path / "small")
    push(prepared, bucket_of(s3))
    check_all_there(s3.objects, prepared)
    ingest(bucket_of(s3), tmp_path / "back")
    check_same(tmp_path / "back", prepared)
    assert read_manifest(tmp_path / "back").header.extra["prepared"] == prepared.header.extra["prepared"]
    published = pushed(s3.objects)
    texts = [published.header.to_json(), *published.frame.select(pl.col(pl.String)).to_numpy().ravel()]
    assert not [text for text in texts if text and str(tmp_path) in text]
    with pytest.raises(ManifestError, match=r"prepared otherwise \(32 px, .*\) than these \(as they came\)"):
        push(audited, bucket_of(s3))
    (prepared.root / prepared.frame["photo_key"][0]).unlink()
    with pytest.raises(ManifestError, match=rf"is missing\. Mend .*: bintally prepare .*/data {prepared.root}"):
        push(prepared, bucket_of(s3))
