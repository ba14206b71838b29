"""Datasets for the tests of push, and what lies where they were pushed to."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from tests.s3_server import BUCKET, S3Server

from bintally.data.abid import PhotoId, record_key
from bintally.data.ingest import NamedPhotos, ingest
from bintally.data.manifest import FILE_NAME, Manifest, parse_manifest, read_manifest, write_manifest
from bintally.data.splits import split
from bintally.data.store import Store, open_store
from bintally.data.synthetic import draw_bucket

PHOTOS = 40
PREFIX = "some/prefix/"


def make_dataset(folder: Path, *, photos: int = PHOTOS, seed: int = 0) -> Manifest:
    """Drawn bins with all the oddities there are, ingested into `folder/data` and split."""
    draw_bucket(folder / "bins", photos=photos, seed=seed, oddities=True, width_px=64, height_px=64)
    return take(folder / "bins", folder / "data")


def take(bucket: Path, destination: Path, photo_ids: list[str] | None = None) -> Manifest:
    """A bucket's photos, or some of them, ingested and split."""
    named = NamedPhotos(photo_ids=[PhotoId(each) for each in photo_ids]) if photo_ids else None
    ingest(open_store(str(bucket)), destination, named)
    manifest = split(read_manifest(destination), required_counts=()).manifest
    write_manifest(manifest)
    return manifest


def copy_of(manifest: Manifest, folder: Path) -> Manifest:
    """The same dataset elsewhere, to be spoilt."""
    shutil.copytree(manifest.root, folder)
    return read_manifest(folder)


def changed(manifest: Manifest, **columns: pl.Expr) -> Manifest:
    """The same photos with other rows."""
    return Manifest(frame=manifest.frame.with_columns(**columns), root=manifest.root, header=manifest.header)


def files_of(manifest: Manifest) -> dict[str, str]:
    """The sha256 of each photo and record, by key."""
    rows = manifest.frame.select("photo_id", "photo_key", "sha256", "record_sha256").rows()
    photos = {key: sha256 for _, key, sha256, _ in rows if sha256}
    return photos | {record_key(PhotoId(photo_id)): sha256 for photo_id, *_, sha256 in rows if sha256}


def hashes(objects: Mapping[str, bytes], prefix: str = "") -> dict[str, str]:
    """The sha256 of everything below `prefix` but the manifest."""
    below = {key.removeprefix(prefix): data for key, data in objects.items() if key.startswith(prefix)}
    return {key: hashlib.sha256(data).hexdigest() for key, data in below.items() if key != FILE_NAME}


def folder_objects(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, by key."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def bucket_of(server: S3Server, **limits: float) -> Store:
    """The server's bucket, below `PREFIX`."""
    limits = {"max_retries": 6, "retry_seconds": 20, "stalled_seconds": 20} | limits
    url = f"s3://{BUCKET}/{PREFIX}"
    return open_store(url, endpoint=server.endpoint, anonymous=True, create=True, **limits)  # type: ignore[arg-type]


def sent_to(server: S3Server) -> list[str]:
    """The keys below `PREFIX` that were put, in order, failed tries too."""
    return [request.key.removeprefix(PREFIX) for request in server.requests if request.method == "PUT"]


def pushed(objects: Mapping[str, bytes], prefix: str = PREFIX) -> Manifest:
    """The manifest below `prefix`."""
    return parse_manifest(objects[prefix + FILE_NAME], Path(), "pushed")


def check_all_there(objects: Mapping[str, bytes], dataset: Manifest, prefix: str = PREFIX) -> None:
    """Check that below `prefix` lie a dataset's files, and nothing else, with its rows."""
    assert hashes(objects, prefix) == files_of(dataset)
    assert pushed(objects, prefix).frame.equals(dataset.frame)
