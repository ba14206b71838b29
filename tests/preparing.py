"""Datasets for the tests of prepare: every odd photo there is, as ingested and split."""

import json
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bintally.data.images import PhotoFormat
from bintally.data.ingest import ingest
from bintally.data.manifest import Manifest, read_manifest, write_manifest
from bintally.data.prepare import PrepareReport, prepare
from bintally.data.prepare_settings import PrepareSettings
from bintally.data.splits import split
from bintally.data.store import open_store
from bintally.data.synthetic import draw_bucket

SIDE_PX = 48
PNG = PrepareSettings(side_px=SIDE_PX, format=PhotoFormat.PNG)
JPEG = PrepareSettings(side_px=SIDE_PX)
_ORIENTATION = 0x0112


def draw_dataset(folder: Path, *, photos: int = 40, seed: int = 0, side_px: int = 96) -> Manifest:
    """Drawn bins, oddities among them, ingested into `folder/data` and split."""
    draw_bucket(folder / "bins", photos=photos, seed=seed, oddities=True, width_px=side_px + 20, height_px=side_px)
    return take(folder / "bins", folder / "data")


def odd_dataset(folder: Path) -> Manifest:
    """Photos that are not plain RGB of a good size, and some that are no photos."""
    for number, (name, photo) in enumerate(odd_photos().items()):
        put(folder / "bins", f"{number:05d}", photo, name)
    return take(folder / "bins", folder / "data")


def odd_photos() -> dict[str, bytes]:
    """Photos by what is odd about them."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 100, 3), dtype=np.uint8)
    turned = Image.Exif()
    turned[_ORIENTATION] = 6
    alpha = np.dstack([pixels, rng.integers(0, 256, (60, 100), dtype=np.uint8)])
    plain = encoded(Image.fromarray(pixels), "JPEG")
    return {
        "plain": plain,
        "turned": encoded(Image.fromarray(pixels), "JPEG", exif=turned),
        "cmyk": encoded(Image.fromarray(pixels).convert("CMYK"), "JPEG"),
        "grey": encoded(Image.fromarray(pixels).convert("L"), "JPEG"),
        "transparent": encoded(Image.fromarray(alpha), "PNG"),
        "smaller than the square": encoded(Image.fromarray(pixels[:20, :30]), "JPEG"),
        "just the square": encoded(Image.fromarray(pixels[:SIDE_PX, :SIDE_PX]), "PNG"),
        "no photo": b"a text",  # flagged bad-photo by ingest
        "ends early": plain[: len(plain) // 2],  # found when it is decoded
    }


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def put(bucket: Path, key: str, photo: bytes, sku: str, count: int = 2) -> None:
    """A photo and its record into a bucket's folder."""
    for folder in ("bin-images", "metadata"):
        (bucket / folder).mkdir(parents=True, exist_ok=True)
    record = {"BIN_FCSKU_DATA": {sku: {"quantity": count}}, "EXPECTED_QUANTITY": count}
    (bucket / "bin-images" / f"{key}.jpg").write_bytes(photo)
    (bucket / "metadata" / f"{key}.json").write_text(json.dumps(record))


def take(bucket: Path, destination: Path) -> Manifest:
    """A bucket's photos, ingested and split."""
    ingest(open_store(str(bucket)), destination, refresh=True)
    manifest = split(read_manifest(destination), required_counts=()).manifest
    write_manifest(manifest)
    return manifest


def copy_of(manifest: Manifest, folder: Path) -> Manifest:
    """The same dataset elsewhere, to be spoilt."""
    shutil.copytree(manifest.root, folder)
    return read_manifest(folder)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones too."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def prepare_into(path: Path, manifest: Manifest, settings: PrepareSettings = JPEG) -> PrepareReport:
    """Prepare into a folder."""
    return prepare(manifest, open_store(str(path), create=True), settings)
