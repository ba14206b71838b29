"""One photo of a dataset to its prepared form, and the rows that come of it.

Refuses a file that is not the one in the manifest. A photo that does not decode is a result, not an error.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import polars as pl

from bintally.data import abid
from bintally.data.images import decode, encode, resize
from bintally.data.manifest import SCHEMA, UNUSABLE, Flag, Manifest, has_any_flag
from bintally.data.prepare_settings import PrepareSettings
from bintally.data.store import write_whole
from bintally.domain.bins import PhotoId
from bintally.errors import ManifestError, PhotoError, StoreError

_PACK_ROWS = 5_000

# What preparing says of a photo; the rest of its row is the source's.
_OWN = ("photo_key", "sha256", "size_bytes", "original_sha256", "width_px", "height_px")
RESULT = pl.Schema(
    {name: SCHEMA[name] for name in ("photo_id", "record_sha256", *_OWN)}
    | {"undecodable": pl.Boolean(), "text": pl.String()}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One photo of the source.

    Attributes:
        usable: whether there is something to prepare; if not, only the record is copied.
    """

    photo_id: str
    photo_key: str
    sha256: str | None
    record_sha256: str | None
    usable: bool

    @property
    def record_key(self) -> str:
        """Where its record lies, before and after."""
        return abid.record_key(PhotoId(self.photo_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """What comes of a job before anything is written.

    Attributes:
        photo: the prepared file; None: there is none.
        record: the record's bytes; None: there is none.
        fault: why the photo could not be decoded.
        read_bytes: how long the photo was before.
    """

    photo: bytes | None = None
    record: bytes | None = None
    fault: str | None = None
    read_bytes: int = 0

    def files(self, job: Job, settings: PrepareSettings) -> list[tuple[str, bytes]]:
        """What is to be written, by key."""
        found = ((job.record_key, self.record), (settings.photo_key(job.photo_id), self.photo))
        return [(key, data) for key, data in found if data is not None]


def reduce(manifest: Manifest, job: Job, settings: PrepareSettings) -> Reduced:
    """Read a photo and its record, compare them with the manifest, decode, squash and encode the photo.

    Raises:
        StoreError: if a file cannot be read, or is not the one in the manifest.
    """
    record = None
    if job.record_sha256 is not None:
        record = _read(manifest, job.record_key, job.record_sha256)
    if not job.usable:
        return Reduced(record=record)
    photo = _read(manifest, job.photo_key, job.sha256)
    try:
        pixels = resize(decode(photo, name=job.photo_key), settings.side_px)
    except PhotoError as error:
        return Reduced(record=record, fault=str(error))
    small = encode(pixels, settings.format, quality=settings.quality)
    return Reduced(photo=small, record=record, read_bytes=len(photo))


def _read(manifest: Manifest, key: str, expected: str | None) -> bytes:
    try:
        data = manifest.read_photo(key)
    except ManifestError as error:
        raise StoreError(str(error)) from error
    if sha256(data).hexdigest() != expected:
        raise StoreError(
            f"{manifest.root / key}: not the file that the manifest knows: its sha256 is another. Ingest again: "
            f"bintally ingest {manifest.header.source} {manifest.root}"
        )
    return data


def reduce_into(folder: Path, manifest: Manifest, job: Job, settings: PrepareSettings) -> Reduced:
    """`reduce`, and write what comes of it below `folder`: in the thread that did the work, for speed.

    Raises:
        StoreError: as `reduce` does.
        CannotWriteError: if the folder cannot be written.
    """
    reduced = reduce(manifest, job, settings)
    for key, data in reduced.files(job, settings):
        write_whole(folder / key, data)
    return reduced


@dataclass(slots=True, kw_only=True)
class Results:
    """Rows of `RESULT`, packed into a table as they come in, so that half a million fit in memory."""

    settings: PrepareSettings
    table: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=RESULT))
    rows: list[dict[str, object]] = field(default_factory=list)

    def add(self, job: Job, reduced: Reduced, *, refusal: str | None = None) -> None:
        """One photo is dealt with; `refusal`: it could not be read or written."""
        photo = reduced.photo
        self.rows.append(
            {
                "photo_id": job.photo_id,
                "record_sha256": job.record_sha256,
                "photo_key": self.settings.photo_key(job.photo_id),
                "sha256": sha256(photo).hexdigest() if photo else None,
                "size_bytes": len(photo) if photo else None,
                "original_sha256": job.sha256,
                "width_px": self.settings.side_px if photo else None,
                "height_px": self.settings.side_px if photo else None,
                "undecodable": reduced.fault is not None,
                "text": reduced.fault or refusal,
            }
        )
        if len(self.rows) >= _PACK_ROWS:
            self.pack()

    def pack(self) -> pl.DataFrame:
        """All rows so far."""
        self.table = pl.concat([self.table, pl.DataFrame(self.rows, schema=RESULT, orient="row")])
        self.rows.clear()
        return self.table


def standing(held: pl.DataFrame, source: pl.DataFrame, photos: dict[str, int], records: dict[str, int]) -> pl.DataFrame:
    """Results whose photo and record are still the source's, and lie there; the photo as long as it should be."""
    now = source.select(
        "photo_id",
        pl.col("sha256").alias("original_sha256"),
        "record_sha256",
        has_any_flag(UNUSABLE).alias("unusable"),
    )
    own = held.select(name for name in RESULT if name in SCHEMA)  # without items: they would be gathered too
    rows = own.join(now, on=["photo_id", "original_sha256", "record_sha256"], nulls_equal=True)
    rows = rows.filter(pl.col("sha256").is_not_null() | pl.col("unusable"))
    columns = rows.select("photo_id", "photo_key", "size_bytes", "record_sha256").iter_rows()
    lies_there = [
        photos.get(photo_key) == size_bytes and (record is None or abid.record_key(PhotoId(photo_id)) in records)
        for photo_id, photo_key, size_bytes, record in columns
    ]
    nothing = (pl.lit(False).alias("undecodable"), pl.lit(None, pl.String).alias("text"))
    return rows.filter(pl.Series(lies_there, dtype=pl.Boolean)).with_columns(*nothing).select(RESULT.names())


def assemble(source: pl.DataFrame, results: pl.DataFrame) -> pl.DataFrame:
    """The source's rows with what preparing made of them; those without a result are left out.

    A row without a photo is flagged not-fetched, so that no reader ever looks for one.
    """
    ids = source.select("photo_id")
    own = ids.join(results.drop("record_sha256"), on="photo_id", how="left", maintain_order="left")
    dealt_with = ids["photo_id"].is_in(results["photo_id"].implode())
    rows = source.drop("photo_id", *_OWN).hstack(own).filter(dealt_with)  # a join would gather every row's items
    flags = pl.concat_list(
        "flags",
        _flag_where(pl.col("undecodable"), Flag.UNDECODABLE),
        _flag_where(pl.col("sha256").is_null(), Flag.NOT_FETCHED),
    )
    both = pl.concat_str("problem", "text", separator="; ", ignore_nulls=True)
    return rows.with_columns(
        flags.list.unique(maintain_order=True).alias("flags"),
        pl.when(pl.col("text").is_null()).then("problem").otherwise(both).alias("problem"),
    ).select(SCHEMA.names())


def _flag_where(condition: pl.Expr, flag: Flag) -> pl.Expr:
    none = pl.lit([], dtype=pl.List(pl.String))
    return pl.when(condition).then(pl.lit([flag.value])).otherwise(none)
