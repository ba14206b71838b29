"""A dataset at a glance: how many photos, of what, where from, in which splits, and what was found about them.

Everything is taken from the manifest; no photo is read. Refuses nothing but a manifest that is none.
"""

import json
from collections.abc import Iterable

import polars as pl
from pydantic import BaseModel, ConfigDict

from bintally.data import audit
from bintally.data.manifest import UNUSABLE, Flag, Manifest, has_any_flag
from bintally.data.prepared import Prepared, prepared_as
from bintally.data.source import COMPLETE
from bintally.data.splits import PLACES, tabulate

_TOP = 5
_SPREADS = ("count", "size_bytes", "width_px", "height_px", "brightness", "sharpness")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Frozen):
    """How a figure is spread over the photos that have it: its ends, median, and 5th and 95th percentile."""

    photos: int
    least: float
    low: float
    median: float
    high: float
    most: float


class Product(_Frozen):
    """A product, in how many photos it is and how many of it there are in all of them."""

    sku: str
    name: str | None
    photos: int
    items: int


class Summary(_Frozen):
    """What a manifest says of its photos. By split means: train, val, calibration, test, and none of them.

    Attributes:
        source: where the photos came from.
        origin: where they were first taken from.
        complete: whether the verb that wrote the dataset came to its end.
        prepared: how the photos were prepared; None: they are as they came.
        audit: what the audit notes of itself; None: there was none.
        salt: of the splits; empty: there are none.
        split_hash: who is in which split; None: there are none.
        content_hash: of the photos' bytes and labels.
        photos: rows of the manifest.
        labelled: those with a count.
        not_fetched: those that could not be had.
        unusable: those in which nothing can be counted, as far as is known.
        size_bytes: of all photos together.
        by_split: photos by split.
        by_count: count -> photos by split.
        unlabelled: photos without a count, by split.
        flags: flag -> photos by split; only flags that occur.
        groups: of siblings, lone photos included.
        group_sizes: photos in a group -> such groups.
        photos_with_sibling: photos in groups of two or more.
        products: different products in all records.
        products_per_photo: products in a bin -> labelled photos.
        top_products: those that most photos hold.
        spreads: of count, size_bytes, width_px, height_px, brightness and sharpness; those that are known.
    """

    source: str
    origin: str
    complete: bool
    prepared: Prepared | None
    audit: dict[str, object] | None
    salt: str
    split_hash: str | None
    content_hash: str
    photos: int
    labelled: int
    not_fetched: int
    unusable: int
    size_bytes: int
    by_split: dict[str, int]
    by_count: dict[int, dict[str, int]]
    unlabelled: dict[str, int]
    flags: dict[str, dict[str, int]]
    groups: int
    group_sizes: dict[int, int]
    photos_with_sibling: int
    products: int
    products_per_photo: dict[int, int]
    top_products: tuple[Product, ...]
    spreads: dict[str, Spread]


def summarise(manifest: Manifest) -> Summary:
    """Everything at a glance.

    Raises:
        ManifestError: if the header says something that cannot be read.
    """
    frame, header = manifest.frame, manifest.header
    by_count = tabulate(frame)
    items = frame.select("photo_id", "items").explode("items").drop_nulls("items").unnest("items")
    group_sizes = _tally(frame.drop_nulls("group").group_by("group").len()["len"])
    flags = {flag.value: _by_split(tabulate(frame.filter(has_any_flag([flag]))).values()) for flag in Flag}
    spreads = {name: _spread(frame[name].drop_nulls()) for name in _SPREADS}
    return Summary(
        source=header.source,
        origin=header.origin,
        complete=header.extra.get(COMPLETE, "yes") == "yes",
        prepared=prepared_as(header),
        audit=_audit_note(header.extra.get(audit.NOTE)),
        salt=header.salt,
        split_hash=manifest.split_hash if header.salt else None,
        content_hash=manifest.content_hash,
        photos=frame.height,
        labelled=frame["count"].count(),
        not_fetched=frame["sha256"].null_count(),
        unusable=frame.filter(has_any_flag(UNUSABLE)).height,
        size_bytes=frame["size_bytes"].sum(),
        by_split=_by_split(by_count.values()),
        by_count={count: places for count, places in by_count.items() if count is not None},
        unlabelled=_by_split(places for count, places in by_count.items() if count is None),
        flags={name: places for name, places in flags.items() if any(places.values())},
        groups=sum(group_sizes.values()),
        group_sizes=group_sizes,
        photos_with_sibling=sum(size * groups for size, groups in group_sizes.items() if size > 1),
        products=items["sku"].n_unique(),
        products_per_photo=_tally(frame.drop_nulls("count")["items"].list.len()),
        top_products=_top_products(items),
        spreads={name: spread for name, spread in spreads.items() if spread is not None},
    )


def _audit_note(note: str | None) -> dict[str, object] | None:
    if note is None:
        return None
    try:
        values = json.loads(note)
    except ValueError:
        values = None
    return values if isinstance(values, dict) else {"note": note}


def _by_split(rows: Iterable[dict[str, int]]) -> dict[str, int]:
    """The rows of a table summed."""
    found = list(rows)
    return {place: sum(row[place] for row in found) for place in PLACES}


def _tally(values: pl.Series) -> dict[int, int]:
    """How often each number occurs, in order."""
    return dict(values.value_counts().sort(values.name).iter_rows())


def _top_products(items: pl.DataFrame) -> tuple[Product, ...]:
    totals = (
        pl.col("name").drop_nulls().first(),
        pl.col("photo_id").n_unique().alias("photos"),
        pl.col("quantity").sum().alias("items"),
    )
    rows = items.group_by("sku").agg(totals).sort(["photos", "items", "sku"], descending=[True, True, False])
    return tuple(Product(**row) for row in rows.head(_TOP).iter_rows(named=True))


def _spread(values: pl.Series) -> Spread | None:
    if values.is_empty():
        return None
    least, low, median, high, most = (values.quantile(share, "nearest") for share in (0, 0.05, 0.5, 0.95, 1))
    return Spread(
        photos=len(values),
        least=least or 0,
        low=low or 0,
        median=median or 0,
        high=high or 0,
        most=most or 0,
    )
