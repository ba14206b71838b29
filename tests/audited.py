"""Drawn bins with nothing wrong about them, and what is done to a photo so that something is."""

from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from PIL import Image, ImageEnhance, ImageFilter

from bintally.data.describe import describe
from bintally.data.findings import sibling_chains
from bintally.data.manifest import SCHEMA, Header, Manifest, write_manifest
from bintally.data.synthetic import draw_bucket
from bintally.domain.bins import PhotoId

Bins = Mapping[str, tuple[bytes, bytes | None]]
"""Photo and record by photo_id."""
_LACKS_A_FIELD = "00017"  # as it is drawn


@cache
def clean_bins() -> dict[str, tuple[bytes, bytes | None]]:
    """Ten drawn bins, no two of them siblings, none dark or blurred, no field missing (`test_audit` proves it)."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        draw_bucket(root, photos=60, seed=1, width_px=240, height_px=210)
        photos = sorted(path.stem for path in (root / "bin-images").glob("*.jpg"))
        drawn = {
            photo_id: (
                (root / "bin-images" / f"{photo_id}.jpg").read_bytes(),
                (root / "metadata" / f"{photo_id}.json").read_bytes(),
            )
            for photo_id in photos
        }
        chains = sibling_chains(rows_of(drawn))
    heads = set(photos) - {photo_id for chain in chains for photo_id in chain[1:]}
    return {photo_id: drawn[photo_id] for photo_id in sorted(heads - {_LACKS_A_FIELD})[:10]}


def rows_of(bins: Bins) -> pl.DataFrame:
    """As ingest makes them; each photo in a group of its own, none split."""
    rows = [describe(PhotoId(photo_id), photo, record)[0] for photo_id, (photo, record) in sorted(bins.items())]
    return pl.DataFrame(rows, schema=SCHEMA)


def make_dataset(
    root: Path,
    bins: Bins,
    *,
    splits: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
    source: str = "memory://bins",
) -> Manifest:
    """A dataset of these bins; `splits`: the split of every photo."""
    (root / "bin-images").mkdir(parents=True, exist_ok=True)
    for photo_id, (photo, _) in bins.items():
        (root / "bin-images" / f"{photo_id}.jpg").write_bytes(photo)
    frame = rows_of(bins)
    if splits is not None:
        names = frame["photo_id"].to_list()
        frame = frame.with_columns(group="photo_id", split=pl.Series([splits[name] for name in names]))
    header = Header(source=source, salt="bintally-1" if splits else "", extra=extra or {})
    manifest = Manifest(frame=frame, root=root, header=header)
    write_manifest(manifest)
    return manifest


def edited(photo: bytes, *, kind: str) -> bytes:
    """The photo as it would look `dark`, `blurred`, `shifted` a little, or `copied` at another size and quality."""
    image = Image.open(BytesIO(photo)).convert("RGB")
    if kind == "dark":
        image = ImageEnhance.Brightness(image).enhance(0.25)
    elif kind == "blurred":
        image = image.filter(ImageFilter.GaussianBlur(4))
    elif kind == "shifted":
        image = image.transform(image.size, Image.Transform.AFFINE, (1, 0, 3, 0, 1, 3))
    else:
        image = image.resize((image.width * 3 // 4, image.height * 3 // 4))
    data = BytesIO()
    image.save(data, "JPEG", quality=70)
    return data.getvalue()


def flat(luma: int, size: tuple[int, int] = (240, 210)) -> bytes:
    """A photo with nothing in it; of another size, other bytes."""
    data = BytesIO()
    Image.new("RGB", size, (luma, luma, luma)).save(data, "JPEG")
    return data.getvalue()


def damaged(photo: bytes) -> bytes:
    """A JPEG that is whole, and whose scan header makes no sense."""
    at = photo.index(b"\xff\xda")
    return photo[: at + 4] + bytes(8) + photo[at + 12 :]
