"""The manifest: one validated Parquet row per photo in play, beside the photos themselves.

A dataset is a folder in the bucket's own layout (`bin-images/`, `metadata/`) with `manifest.parquet` in it.
Refuses a manifest of another version, and rows that are not what `bintally.data.rows` says.
Where half a million rows should not be in memory at once, `scan_manifest` and `sink_manifest` stream them.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import polars as pl

from bintally.data.files import whole_file
from bintally.data.rows import (
    AUDIT_FLAGS,
    DEFAULT_EXCLUDED,
    INGEST_FLAGS,
    ITEM,
    SCHEMA,
    UNUSABLE,
    Flag,
    Split,
    has_any_flag,
    item_row,
    parse_flag,
    parse_flags,
    validate,
)
from bintally.errors import ManifestError

__all__ = [
    "AUDIT_FLAGS",
    "DEFAULT_EXCLUDED",
    "FILE_NAME",
    "FORMAT_VERSION",
    "INGEST_FLAGS",
    "ITEM",
    "SCHEMA",
    "UNUSABLE",
    "Flag",
    "Header",
    "Manifest",
    "Split",
    "has_any_flag",
    "item_row",
    "manifest_bytes",
    "parse_flag",
    "parse_flags",
    "parse_manifest",
    "read_manifest",
    "scan_manifest",
    "scan_manifest_file",
    "sink_manifest",
    "validate",
    "write_manifest",
]

FORMAT_VERSION = 2
FILE_NAME = "manifest.parquet"
_METADATA_KEY = "bintally"
_GROUP_ROWS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a manifest says of all its photos together.

    Attributes:
        source: where the photos came from: a bucket or a folder.
        salt: the salt of the splits; empty until they are made.
        extra: notes of the verbs that made it, such as what `prepare` did; each verb says which.
    """

    source: str
    salt: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Where the photos were first taken from; another than `source` where that is itself a copied dataset."""
        return self.extra.get("origin", self.source)

    def to_json(self) -> str:
        """As it stands in the file."""
        return json.dumps(
            {"version": FORMAT_VERSION, "source": self.source, "salt": self.salt, "extra": dict(self.extra)}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest with the folder its photos lie in.

    Attributes:
        frame: one row per photo, in the columns of `SCHEMA`, sorted by photo_id.
        root: the dataset's folder.
        header: what it says of all photos together.
    """

    frame: pl.DataFrame
    root: Path
    header: Header

    def __post_init__(self) -> None:
        """Refuse a table that is not a manifest."""
        validate(self.frame, str(self.root / FILE_NAME))

    @property
    def salt(self) -> str:
        """The salt of the splits; empty until they are made."""
        return self.header.salt

    @property
    def split_hash(self) -> str:
        """12 hex digits that stand beside every figure: who is in which split."""
        self._check_split()
        return _digest(self.frame.select("photo_id", "split").drop_nulls())

    @property
    def content_hash(self) -> str:
        """12 hex digits of the photos' bytes and labels."""
        return _digest(self.frame.select("photo_id", "sha256", "count"))

    def usable(self, split: Split, excluded: Iterable[str] = DEFAULT_EXCLUDED) -> pl.DataFrame:
        """The labelled photos of `split` that can be decoded, as far as is known.

        Args:
            split: which.
            excluded: flags that keep a photo out of every split but test.

        Raises:
            SettingsError: if a flag does not exist.
            ManifestError: if no splits were made, or the split has no such photos.
        """
        flags = parse_flags(excluded)
        self._check_split()
        left_out = UNUSABLE if split is Split.TEST else (*UNUSABLE, *flags)
        rows = self.frame.filter(pl.col("split") == split.value, pl.col("count").is_not_null(), ~has_any_flag(left_out))
        if rows.is_empty():
            raise ManifestError(
                f"{self.root / FILE_NAME}: the {split} split has no labelled photo without the flags "
                f"{', '.join(dict.fromkeys(left_out))}; ingest more photos"
            )
        return rows

    def kept_out(self, excluded: Iterable[str] = DEFAULT_EXCLUDED) -> dict[Flag, int]:
        """How many labelled photos each flag keeps out of train, val and calibration; one with two counts twice.

        Args:
            excluded: as `usable` takes them.

        Raises:
            SettingsError: if a flag does not exist.
        """
        placed = pl.col("split").is_not_null() & (pl.col("split") != Split.TEST.value)
        rows = self.frame.filter(placed, pl.col("count").is_not_null())
        flags = dict.fromkeys((*UNUSABLE, *parse_flags(excluded)))
        counted = rows.select(has_any_flag([flag]).sum().alias(flag.value) for flag in flags)
        return {flag: counted[flag.value].item() for flag in flags}

    def _check_split(self) -> None:
        if not self.salt:
            raise ManifestError(f"{self.root / FILE_NAME}: no splits yet. Make them: bintally split {self.root}")

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
                f"Ingest again: bintally ingest {self.header.source} {self.root}"
            ) from error


def _digest(frame: pl.DataFrame) -> str:
    """12 hex digits of a table's text: cells apart by tabs, rows by newlines, null as nothing, by photo_id."""
    cells = [pl.col(name).cast(pl.String).fill_null("") for name in frame.columns]
    lines = frame.sort("photo_id").select(pl.concat_str(cells, separator="\t").str.join("\n")).item()
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def read_manifest(root: Path) -> Manifest:
    """Read `root/manifest.parquet`.

    Raises:
        ManifestError: if it is missing, no Parquet file, of another version, or inconsistent.
    """
    rows, header = scan_manifest(root)
    return Manifest(frame=_collect(rows, str(root / FILE_NAME)), root=root, header=header)


def scan_manifest(root: Path) -> tuple[pl.LazyFrame, Header]:
    """The rows of `root/manifest.parquet`, not read yet and not validated, and what the file says of them all.

    Raises:
        ManifestError: if it is missing, no Parquet file, or of another version.
    """
    path = root / FILE_NAME
    if not path.is_file():
        raise ManifestError(f"{path}: no manifest there. Make one: bintally ingest SOURCE {root}")
    return scan_manifest_file(path)


def parse_manifest(data: bytes, root: Path, name: str) -> Manifest:
    """A manifest from its file's bytes, as a store holds it.

    Args:
        data: the Parquet file.
        root: the folder that photos will be read from.
        name: what errors call it.

    Raises:
        ManifestError: as `read_manifest` does.
    """
    rows, header = _scan(BytesIO(data), name)
    return Manifest(frame=_collect(rows, name), root=root, header=header)


def manifest_bytes(manifest: Manifest) -> bytes:
    """The bytes that `write_manifest` writes."""
    buffer = BytesIO()
    _sink(manifest.frame.sort("photo_id").lazy(), buffer, manifest.header)
    return buffer.getvalue()


def scan_manifest_file(path: Path) -> tuple[pl.LazyFrame, Header]:
    """As `scan_manifest`, for a manifest under any name."""
    return _scan(path, str(path))


def _scan(file: Path | BytesIO, name: str) -> tuple[pl.LazyFrame, Header]:
    try:
        metadata = pl.read_parquet_metadata(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(name, error) from error
    return pl.scan_parquet(file), _parse_header(metadata.get(_METADATA_KEY, ""), name)


def _collect(rows: pl.LazyFrame, name: str) -> pl.DataFrame:
    try:
        return rows.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(name, error) from error


def _parse_header(text: str, name: str) -> Header:
    foreign = f"{name}: a Parquet file, but not one that Bintally wrote"
    try:
        values = json.loads(text)
        version = values["version"]
    except (KeyError, ValueError, TypeError) as error:
        raise ManifestError(foreign) from error
    if version != FORMAT_VERSION:
        raise ManifestError(
            f"{name}: manifest version {version}, but this Bintally reads version {FORMAT_VERSION}. Use the Bintally "
            f"that wrote it, or move the file away and ingest again from {values.get('source', 'its source')}: photos "
            "that are there are not fetched again"
        )
    source, salt, extra = (values.get(key) for key in ("source", "salt", "extra"))
    texts = isinstance(extra, dict) and all(isinstance(note, str) for note in extra.values())
    if not (isinstance(source, str) and isinstance(salt, str) and texts):
        raise ManifestError(foreign)
    return Header(source=source, salt=salt, extra=extra)


def _unreadable(name: str, error: Exception) -> ManifestError:
    return ManifestError(f"{name}: not a readable Parquet file ({error}). Move it away and ingest again")


def write_manifest(manifest: Manifest) -> Path:
    """Write `manifest.parquet` into the manifest's folder: whole or not at all.

    Raises:
        ManifestError: if it cannot be written.
    """
    return sink_manifest(manifest.frame.sort("photo_id").lazy(), manifest.root, manifest.header)


def sink_manifest(rows: pl.LazyFrame, root: Path, header: Header) -> Path:
    """Stream rows, sorted by photo_id and valid, into `root/manifest.parquet`: whole or not at all.

    Raises:
        ManifestError: if it cannot be written.
    """
    path = root / FILE_NAME
    try:
        with whole_file(path) as part:
            _sink(rows, part, header)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ManifestError(f"{path}: cannot be written ({error}); the manifest before it still stands") from error
    return path


def _sink(rows: pl.LazyFrame, file: Path | BytesIO, header: Header) -> None:
    rows.sink_parquet(file, metadata={_METADATA_KEY: header.to_json()}, row_group_size=_GROUP_ROWS)
