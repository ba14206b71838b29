"""A dataset at a glance: every figure by hand."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from bintally.data.manifest import SCHEMA, Flag, Header, Manifest
from bintally.data.splits import split
from bintally.data.summary import Product, Spread, Summary, summarise
from bintally.errors import ManifestError

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
PREPARED = {"side_px": 64, "format": "png", "quality": None, "resize": "squash-bicubic", "hash": "0123456789ab"}
NOWHERE = dict.fromkeys(("train", "val", "calibration", "test", "none"), 0)


def photo(number: int, count: int | None, place: str | None, products: str = "", **values: object) -> dict[str, object]:
    """A row; each letter is a product, two of each."""
    return {
        "photo_id": f"{number:05d}",
        "photo_key": f"bin-images/{number:05d}.jpg",
        "sha256": f"{number:064d}",
        "size_bytes": 1000 * number,
        "width_px": 64,
        "count": count,
        "items": [{"sku": sku, "quantity": 2, "name": f"Product {sku}"} for sku in products],
        "flags": [],
        "group": place and f"g{number}",
        "split": place,
        **values,
    }


ROWS = [
    photo(1, 2, "train", "A", group="g1"),
    photo(2, 4, "train", "AB", group="g1", flags=["dark", "sibling"]),
    photo(3, 2, "test", "A", flags=["dark", "truncated"], brightness=20.0),
    photo(4, None, "val", flags=["no-record"]),
    photo(5, 0, None, brightness=60.0),
    photo(6, 2, None, "C", sha256=None, size_bytes=None, width_px=None, flags=["not-fetched"]),
]


def manifest(rows: list[dict[str, object]] | None = None, salt: str = "mine", **extra: str) -> Manifest:
    header = Header(source="file:///there", salt=salt, extra=extra)
    frame = pl.DataFrame(ROWS if rows is None else rows, schema=SCHEMA)
    return Manifest(frame=frame, root=Path("data"), header=header)


def test_photos_are_counted() -> None:
    found = summarise(manifest())
    assert (found.photos, found.labelled, found.not_fetched, found.unusable) == (6, 5, 1, 2)
    assert found.size_bytes == 15_000
    assert found.by_split == NOWHERE | {"train": 2, "val": 1, "test": 1, "none": 2}
    assert found.by_count == {
        0: NOWHERE | {"none": 1},
        2: NOWHERE | {"train": 1, "test": 1, "none": 1},
        4: NOWHERE | {"train": 1},
    }
    assert list(found.by_count) == [0, 2, 4]
    assert found.unlabelled == NOWHERE | {"val": 1}
    few = summarise(manifest([ROWS[3], ROWS[4], ROWS[5], photo(7, None, None)]))
    assert (few.photos, few.labelled, few.not_fetched, few.unusable) == (4, 2, 1, 1)


def test_flags_are_counted_where_they_occur() -> None:
    assert summarise(manifest()).flags == {
        "not-fetched": NOWHERE | {"none": 1},
        "no-record": NOWHERE | {"val": 1},
        "truncated": NOWHERE | {"test": 1},
        "dark": NOWHERE | {"train": 1, "test": 1},
        "sibling": NOWHERE | {"train": 1},
    }


def test_groups_and_products_are_counted() -> None:
    found = summarise(manifest())
    assert (found.groups, found.group_sizes, found.photos_with_sibling) == (3, {1: 2, 2: 1}, 2)
    assert found.products == 3
    assert found.products_per_photo == {0: 1, 1: 3, 2: 1}
    assert found.top_products == (
        Product(sku="A", name="Product A", photos=3, items=6),
        Product(sku="B", name="Product B", photos=1, items=2),
        Product(sku="C", name="Product C", photos=1, items=2),
    )


def test_figures_are_spread_over_the_photos_that_have_them() -> None:
    found = summarise(manifest()).spreads
    assert list(found) == ["count", "size_bytes", "width_px", "brightness"]
    assert found["count"] == Spread(photos=5, least=0, low=0, median=2, high=4, most=4)
    assert found["width_px"].photos == 5
    assert (found["brightness"].least, found["brightness"].most) == (20, 60)


def test_percentiles_are_of_the_photos() -> None:
    rows = [photo(number, number, None) for number in range(1, 101)]
    found = summarise(manifest(rows, salt="")).spreads["count"]
    assert (found.low, found.median, found.high) == pytest.approx((5, 50, 95), abs=1)


def test_where_it_comes_from() -> None:
    found = summarise(manifest(origin="s3://first"))
    assert (found.source, found.origin, found.salt, found.complete) == ("file:///there", "s3://first", "mine", True)
    assert found.split_hash == manifest().split_hash
    assert found.content_hash == manifest().content_hash
    assert not summarise(manifest(complete="no")).complete


def test_without_splits_there_is_no_hash_of_them() -> None:
    unplaced = [{**row, "group": None, "split": None} for row in ROWS]
    found = summarise(manifest(unplaced, salt=""))
    assert (found.split_hash, found.groups, found.group_sizes, found.photos_with_sibling) == (None, 0, {}, 0)
    assert found.by_split == NOWHERE | {"none": 6}


def test_the_verbs_notes_are_shown() -> None:
    plain = summarise(manifest())
    assert (plain.prepared, plain.audit) == (None, None)
    found = summarise(manifest(prepared=json.dumps(PREPARED), audit=json.dumps({"when": "today"})))
    assert found.prepared is not None
    assert (found.prepared.side_px, found.prepared.hash) == (64, "0123456789ab")
    assert found.audit == {"when": "today"}
    assert summarise(manifest(audit="by hand")).audit == {"note": "by hand"}
    assert summarise(manifest(audit="[1]")).audit == {"note": "[1]"}
    with pytest.raises(ManifestError, match="prepare it again"):
        summarise(manifest(prepared="{}"))


def test_no_photos_are_no_fault() -> None:
    found = summarise(manifest([], salt=""))
    assert (found.photos, found.size_bytes, found.products, found.by_count, found.flags) == (0, 0, 0, {}, {})
    assert (found.spreads, found.top_products, found.products_per_photo) == ({}, (), {})


def test_it_comes_back_from_json() -> None:
    found = summarise(manifest(prepared=json.dumps(PREPARED)))
    assert Summary.model_validate_json(found.model_dump_json()) == found


def test_it_agrees_with_what_split_says() -> None:
    bins = [photo(number, number % 7, None, "AB"[number % 2]) for number in range(1, 200)]
    report = split(manifest(bins, salt=""), required_counts=())
    found = summarise(report.manifest)
    assert found.by_count == {count: {**row, "none": 0} for count, row in report.table.items()}
    assert (found.groups, found.photos_with_sibling) == (report.groups, report.photos_with_sibling)


def test_every_flag_is_counted() -> None:
    rows = [photo(number, 1, None, flags=[flag.value]) for number, flag in enumerate(Flag, 1)]
    rows[0] |= {"sha256": None, "size_bytes": None}
    assert list(summarise(manifest(rows, salt="")).flags) == [flag.value for flag in Flag]


def test_the_formats_page_has_just_these_fields() -> None:
    _, _, rest = PAGE.read_text(encoding="utf-8").partition("`bintally data show --json` prints one object:")
    table, _, _ = rest.partition("\n## ")
    named = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(Summary.model_fields)
    assert sorted(Summary.model_fields) == sorted(re.findall(r"^        (\w+):", Summary.__doc__ or "", re.MULTILINE))
