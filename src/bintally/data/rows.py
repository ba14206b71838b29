"""The manifest's rows: their columns, what can be found about a photo, and what must hold of every row.

Refuses rows of other columns, photos named twice, siblings in two splits, flags and splits that do not exist.
"""

from collections.abc import Iterable
from enum import StrEnum

import polars as pl

from bintally.domain.bins import BinItem
from bintally.errors import ManifestError, SettingsError

_Type = pl.DataType | type[pl.DataType]

# Every column with its type and its meaning.
_ITEM: dict[str, tuple[_Type, str]] = {
    "sku": (pl.String, "the product, as the record keys it (FCSKU)"),
    "quantity": (pl.Int32, "how many of it are in the bin"),
    "asin": (pl.String, "the product's catalogue number"),
    "name": (pl.String, "the product's name"),
    "height_in": (pl.Float64, "of one item, in inches; null: not known"),
    "length_in": (pl.Float64, "likewise"),
    "width_in": (pl.Float64, "likewise"),
    "weight_lb": (pl.Float64, "of one item, in pounds; null: not known"),
}
ITEM = pl.Struct({name: kind for name, (kind, _) in _ITEM.items()})
_ITEM_NAMES = tuple(entry.name for entry in ITEM.fields)
_COLUMNS: dict[str, tuple[_Type, str]] = {
    "photo_id": (pl.String, "the key without folder and extension: '01012' and '1012' are two photos"),
    "photo_key": (pl.String, "where the photo lies below the dataset's folder"),
    "sha256": (pl.String, "of the photo's bytes; null: it could not be fetched"),
    "size_bytes": (pl.Int64, "the photo's size; null: it could not be fetched"),
    "original_sha256": (pl.String, "of the photo that this one was prepared from; null: it is as it came"),
    "record_sha256": (pl.String, "of the record's bytes; null: there is none"),
    "width_px": (pl.Int32, "as a person sees it; null: the photo's header cannot be read"),
    "height_px": (pl.Int32, "likewise"),
    "count": (pl.Int32, "the record's total; null: unlabelled, which is not 0"),
    "items": (pl.List(ITEM), f"the products in the bin: {', '.join(_ITEM)} of each"),
    "flags": (pl.List(pl.String), "what was found about the photo or its record"),
    "problem": (pl.String, "what ingest found wrong, in words"),
    "finding": (pl.String, "what the audit found, in words; null, as the next four, until `bintally audit`"),
    "brightness": (pl.Float32, "mean luma, 0 to 255"),
    "sharpness": (pl.Float32, "the audit's measure; the lower, the more blurred"),
    "phash": (pl.UInt64, "perceptual hash: those of like photos differ in few bits"),
    "duplicate_of": (pl.String, "the photo that is kept, where this one is a duplicate of it"),
    "group": (pl.String, "siblings share one; null until `bintally split`"),
    "split": (pl.String, "train, val, calibration or test; null until `bintally split`"),
}
SCHEMA = pl.Schema({name: kind for name, (kind, _) in _COLUMNS.items()})
MEANINGS = {name: meaning for name, (_, meaning) in _COLUMNS.items()}
"""What each column of the manifest holds."""
ITEM_MEANINGS = {name: meaning for name, (_, meaning) in _ITEM.items()}
"""What each field of an item holds."""


class Split(StrEnum):
    """What a photo may be used for."""

    TRAIN = "train"
    VAL = "val"
    CALIBRATION = "calibration"
    TEST = "test"


class Flag(StrEnum):
    """What can be found about a photo or its record."""

    # found by ingest
    NOT_FETCHED = "not-fetched"  # the source refused or kept failing: there is no photo, and it is never used
    BAD_PHOTO = "bad-photo"  # not a JPEG or PNG with a readable header: never used
    NO_RECORD = "no-record"  # unlabelled
    BAD_RECORD = "bad-record"  # unlabelled
    TOTAL_MISMATCH = "total-mismatch"  # total != sum of quantities
    # found by the audit
    UNDECODABLE = "undecodable"  # the header is fine, the pixels are not: never used
    TRUNCATED = "truncated"  # it ends early: never used
    DARK = "dark"
    BLURRED = "blurred"
    EXACT_DUPLICATE = "exact-duplicate"  # the bytes of another photo; set on all but the first
    NEAR_DUPLICATE = "near-duplicate"  # nearly the picture of another photo; set on all but the first
    MISSING_FIELDS = "missing-fields"  # an item without name, size or weight
    KEY_COLLISION = "key-collision"  # another photo's key is the same number: 1012 and 01012
    SIBLING = "sibling"  # the bin of another photo, shortly before or after


UNUSABLE = (Flag.NOT_FETCHED, Flag.BAD_PHOTO, Flag.UNDECODABLE, Flag.TRUNCATED)
"""Nothing can be counted in a photo with one of these."""
INGEST_FLAGS = (Flag.NOT_FETCHED, Flag.BAD_PHOTO, Flag.NO_RECORD, Flag.BAD_RECORD, Flag.TOTAL_MISMATCH)
"""The flags that `bintally ingest` sets."""
AUDIT_FLAGS = tuple(flag for flag in Flag if flag not in INGEST_FLAGS)
"""The flags that `bintally audit` sets, and sets anew each time."""
DEFAULT_EXCLUDED = (Flag.TOTAL_MISMATCH, Flag.EXACT_DUPLICATE)
"""What keeps a photo out of training unless a recipe says otherwise."""


def parse_flag(name: str) -> Flag:
    """A flag by its name.

    Raises:
        SettingsError: if there is none.

    >>> parse_flag("dark").value
    'dark'
    """
    try:
        return Flag(name)
    except ValueError as error:
        raise SettingsError(f"{name!r}: there is no such flag; there are {', '.join(Flag)}") from error


def parse_flags(names: Iterable[str]) -> tuple[Flag, ...]:
    """Flags by their names.

    Raises:
        SettingsError: naming the first that does not exist.
    """
    return tuple(map(parse_flag, names))


def has_any_flag(flags: Iterable[Flag]) -> pl.Expr:
    """Whether a row has one of `flags`."""
    return pl.any_horizontal(pl.lit(False), *(pl.col("flags").list.contains(flag.value) for flag in flags))


_RULES: tuple[tuple[str, pl.Expr], ...] = (
    (
        "an ID, a key and a list of flags for every photo",
        pl.any_horizontal(pl.col("photo_id", "photo_key", "flags").is_null()),
    ),
    ("photos below the dataset's folder", pl.col("photo_key").str.contains(r"^/|(^|/)\.\.(/|$)")),
    ("counts of 0 or more", pl.col("count") < 0),
    (
        f"a sha256 and a size for every photo but those flagged {Flag.NOT_FETCHED}, which have none",
        pl.any_horizontal(pl.col("sha256", "size_bytes").is_null() != has_any_flag([Flag.NOT_FETCHED])),
    ),
    ("a group and a split together, or neither", pl.col("group").is_null() != pl.col("split").is_null()),
    (
        f"duplicate_of to name another photo, where flagged {Flag.EXACT_DUPLICATE} or {Flag.NEAR_DUPLICATE}",
        (pl.col("duplicate_of") == pl.col("photo_id"))
        | (pl.col("duplicate_of").is_not_null() & ~has_any_flag([Flag.EXACT_DUPLICATE, Flag.NEAR_DUPLICATE])),
    ),
)
"""What must hold of every row, and when it does not."""


def item_row(item: BinItem) -> dict[str, str | int | float | None]:
    """One element of the `items` column."""
    return {name: getattr(item, name) for name in _ITEM_NAMES}


def validate(frame: pl.DataFrame, name: str) -> None:
    """Check a manifest's columns and what must hold of its rows; also of a part of a manifest.

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
    for column, known in (("split", [*Split]), ("flags", [*Flag])):
        found = frame[column].explode().drop_nulls().unique() if column == "flags" else frame[column].drop_nulls()
        unknown = sorted(set(found.unique()) - {each.value for each in known})
        if unknown:
            raise ManifestError(f"{name}: expected {column} {[each.value for each in known]}, found {unknown[:5]}")
    for expected, broken in _RULES:
        wrong = frame.filter(broken)["photo_id"].to_list()
        if wrong:
            raise ManifestError(f"{name}: expected {expected}, but not so for {wrong[:5]}")
    torn = frame.drop_nulls("group").group_by("group").agg(pl.col("split").n_unique()).filter(pl.col("split") > 1)
    if not torn.is_empty():
        raise ManifestError(f"{name}: siblings lie in different splits: groups {sorted(torn['group'])[:5]}")
