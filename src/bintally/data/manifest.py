"""The manifest: one validated Parquet row per photo in play, beside the photos themselves.

A dataset is a folder in the bucket's own layout (`bin-images/`, `metadata/`) with `manifest.parquet` in it.
Refuses a manifest of another version, with columns missing, photos named twice, or siblings in two splits.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import polars as pl

from bintally.data.files import whole_file
from bintally.domain.bins import BinItem
from bintally.errors import ManifestError

FORMAT_VERSION = 1
FILE_NAME = "manifest.parquet"
_METADATA_KEY = "bintally"

ITEM = pl.Struct(
    {
        "sku": pl.String,
        "quantity": pl.Int32,
        "asin": pl.String,
        "name": pl.String,
        "height_in": pl.Float64,
        "length_in": pl.Float64,
        "width_in": pl.Float64,
        "weight_lb": pl.Float64,
    }
)
_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "photo_id": pl.String,  # the key without folder and extension: '01012' and '1012' are two photos
    "photo_key": pl.String,  # where the photo lies below the dataset's folder
    "sha256": pl.String,
    "size_bytes": pl.Int64,
    "width_px": pl.Int32,  # null where the photo's header cannot be read
    "height_px": pl.Int32,
    "count": pl.Int32,  # the record's total; null: unlabelled
    "items": pl.List(ITEM),
    "flags": pl.List(pl.String),
    "problem": pl.String,  # what is wrong, in words, where a flag is set
    "group": pl.String,  # sibling photos share one; null until `bintally split`
    "split": pl.String,
}
SCHEMA = pl.Schema(_COLUMNS)


class Split(StrEnum):
    """What a photo may be used for."""

    TRAIN = "train"
    VAL = "val"
    CALIBRATION = "calibration"
    TEST = "test"


class Flag(StrEnum):
    """What ingest can find wrong with a photo or its record."""

    BAD_PHOTO = "bad-photo"  # not a JPEG or PNG with a readable header: never used
    NO_RECORD = "no-record"  # unlabelled
    BAD_RECORD = "bad-record"  # unlabelled
    TOTAL_MISMATCH = "total-mismatch"  # total != sum of quantities: kept out of training


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest with the folder its photos lie in.

    Attributes:
        frame: one row per photo, in the columns of `SCHEMA`, sorted by photo_id.
        root: the dataset's folder.
        source: where the photos came from.
        salt: the salt of the splits; empty until they are made.
    """

    frame: pl.DataFrame
    root: Path
    source: str
    salt: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a table that is not a manifest."""
        validate(self.frame, str(self.root / FILE_NAME))

    @property
    def split_hash(self) -> str:
        """12 hex digits that stand beside every figure: who is in which split."""
        if not self.salt:
            raise ManifestError(f"{self.root / FILE_NAME}: no splits yet. Make them: bintally split {self.root}")
        return _digest(self.frame.select("photo_id", "split"))

    @property
    def content_hash(self) -> str:
        """12 hex digits of the photos' bytes and labels."""
        return _digest(self.frame.select("photo_id", "sha256", "count"))

    def usable(self, split: Split) -> pl.DataFrame:
        """The labelled, readable photos of `split`; from training, photos whose record contradicts itself are left out.

        Raises:
            ManifestError: if no splits were made, or the split has no such photos.
        """
        if not self.salt:
            raise ManifestError(f"{self.root / FILE_NAME}: no splits yet. Make them: bintally split {self.root}")
        left_out = [Flag.BAD_PHOTO] if split is Split.TEST else [Flag.BAD_PHOTO, Flag.TOTAL_MISMATCH]
        flagged = pl.any_horizontal([pl.col("flags").list.contains(flag.value) for flag in left_out])
        rows = self.frame.filter(pl.col("split") == split.value, pl.col("count").is_not_null(), ~flagged)
        if rows.is_empty():
            raise ManifestError(f"{self.root / FILE_NAME}: the {split} split has no labelled photo; ingest more photos")
        return rows

    def read_photo(self, photo_key: str) -> bytes:
        """The bytes of a photo of this manifest.

        Raises:
            ManifestError: if it is not where the manifest says.
        """
        try:
            return (self.root / photo_key).read_bytes()
        except OSError as error:
            raise ManifestError(
                f"{self.root / photo_key}: in the manifest, but cannot be read ({error.strerror or error}). "
                f"Ingest again: bintally ingest {self.source} {self.root}"
            ) from error


def _digest(frame: pl.DataFrame) -> str:
    text = "\n".join("\t".join("" if v is None else str(v) for v in row) for row in frame.sort("photo_id").rows())
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def item_row(item: BinItem) -> dict[str, str | int | float | None]:
    """One element of the `items` column."""
    return {name: getattr(item, name) for name in (entry.name for entry in ITEM.fields)}


def validate(frame: pl.DataFrame, name: str) -> None:
    """Check a manifest's columns and what must hold between its rows.

    Raises:
        ManifestError: naming `name`, the fault and the photos it concerns.
    """
    if frame.schema != SCHEMA:
        missing = [c for c in SCHEMA if c not in frame.columns]
        wrong = [c for c in SCHEMA if c in frame.columns and frame.schema[c] != SCHEMA[c]]
        other = [c for c in frame.columns if c not in SCHEMA]
        raise ManifestError(
            f"{name} is not a manifest: missing columns {missing}, of another type {wrong}, unknown {other}. "
            "Make a new one: bintally ingest SOURCE DEST"
        )
    twice = frame.filter(pl.col("photo_id").is_duplicated())["photo_id"].unique().to_list()
    if twice:
        raise ManifestError(f"{name}: expected each photo once, but these stand there twice: {sorted(twice)[:5]}")
    negative = frame.filter(pl.col("count") < 0)["photo_id"].to_list()
    if negative:
        raise ManifestError(f"{name}: expected counts of 0 or more, but not so for {negative[:5]}")
    unknown = frame.filter(~pl.col("split").is_in([s.value for s in Split]))["split"].unique().to_list()
    if unknown:
        raise ManifestError(f"{name}: expected splits {[s.value for s in Split]}, found {unknown}")
    torn = frame.drop_nulls("group").group_by("group").agg(pl.col("split").n_unique()).filter(pl.col("split") > 1)
    if not torn.is_empty():
        raise ManifestError(f"{name}: siblings lie in different splits: groups {sorted(torn['group'])[:5]}")


def read_manifest(root: Path) -> Manifest:
    """Read `root/manifest.parquet`.

    Raises:
        ManifestError: if it is missing, no Parquet file, of another version, or inconsistent.
    """
    path = root / FILE_NAME
    if not path.is_file():
        raise ManifestError(f"{path}: no manifest there. Make one: bintally ingest SOURCE {root}")
    try:
        metadata = pl.read_parquet_metadata(path)
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ManifestError(f"{path}: not a readable Parquet file ({error}). Ingest again") from error
    try:
        header = json.loads(metadata[_METADATA_KEY])
        version = header["version"]
    except (KeyError, ValueError, TypeError) as error:
        raise ManifestError(f"{path}: a Parquet file, but not one that Bintally wrote") from error
    if version != FORMAT_VERSION:
        raise ManifestError(
            f"{path}: manifest version {version}, but this Bintally reads version {FORMAT_VERSION}. "
            "Ingest again, or use the Bintally that wrote it"
        )
    return Manifest(frame=frame, root=root, source=header["source"], salt=header["salt"], extra=header["extra"])


def write_manifest(manifest: Manifest) -> Path:
    """Write `manifest.parquet` into the manifest's folder: whole or not at all.

    Raises:
        ManifestError: if it cannot be written.
    """
    path = manifest.root / FILE_NAME
    header = {
        "version": FORMAT_VERSION,
        "source": manifest.source,
        "salt": manifest.salt,
        "extra": dict(manifest.extra),
    }
    try:
        with whole_file(path) as part:
            manifest.frame.sort("photo_id").write_parquet(part, metadata={_METADATA_KEY: json.dumps(header)})
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ManifestError(f"{path}: cannot be written ({error}); the manifest before it still stands") from error
    return path
