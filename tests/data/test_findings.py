"""What is found in figures and records, and how it becomes flags."""

import polars as pl
import pytest

from bintally.data.findings import (
    Finding,
    dim_or_blurred,
    key_collisions,
    missing_fields,
    sibling_chains,
    siblings,
    with_findings,
)
from bintally.data.manifest import SCHEMA, Flag

WHOLE = {
    "sku": "A",
    "quantity": 1,
    "asin": None,
    "name": "a",
    "height_in": 1.0,
    "length_in": 2.0,
    "width_in": 3.0,
    "weight_lb": 0.5,
}


def table(*rows: dict[str, object]) -> pl.DataFrame:
    numbered = [{"photo_id": f"{place:05d}", "flags": [], "items": [], **row} for place, row in enumerate(rows)]
    return pl.DataFrame(numbered, schema=SCHEMA)


def lacking(**values: object) -> dict[str, object]:
    return {"items": [{**WHOLE, **values}]}


def ids(found: object) -> list[str]:
    return [finding.photo_id for finding in found]


def test_below_a_threshold_is_below_it() -> None:
    frame = table({"brightness": 59.9}, {"brightness": 60.0}, {"sharpness": 0.0299}, {"sharpness": 0.03}, {})
    found = list(dim_or_blurred(frame, dark_below=60.0, blurred_below=0.03))
    assert [(f.photo_id, f.flag) for f in found] == [("00000", Flag.DARK), ("00002", Flag.BLURRED)]
    assert found[0].text == "dark: mean luma 60, below 60"
    assert found[1].text == "blurred: sharpness 0.0299, below 0.03"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": None}, "A has no name"),
        ({"height_in": None}, "A has no size"),
        ({"length_in": None, "width_in": None}, "A has no size"),
        ({"weight_lb": None}, "A has no weight"),
        ({"weight_lb": None, "name": None}, "A has no name and no weight"),
    ],
)
def test_a_missing_field_is_named(values: dict[str, object], words: str) -> None:
    assert [f.text for f in missing_fields(table(lacking(**values)))] == [f"missing fields: {words}"]


def test_whole_items_empty_bins_and_a_missing_asin_are_fine() -> None:
    assert not ids(missing_fields(table(lacking(), {"items": []}, {"items": None}, lacking(asin=None))))


def test_one_bad_item_among_good_ones_is_enough_and_many_are_cut_short() -> None:
    items = [WHOLE, *({**WHOLE, "sku": f"B{n}", "weight_lb": None} for n in range(5))]
    (found,) = missing_fields(table({"items": items}))
    assert found.text.endswith("B0 has no weight, B1 has no weight, B2 has no weight and 2 more")


def test_keys_that_are_one_number_collide() -> None:
    found = {f.photo_id: f.text for f in key_collisions(["01012", "1012", "001012", "7", "00008", "x7"])}
    assert found == {
        "01012": "key collision: 1012, 001012 is 1012 too, and another bin",
        "1012": "key collision: 01012, 001012 is 1012 too, and another bin",
        "001012": "key collision: 01012, 1012 is 1012 too, and another bin",
    }


def test_siblings_are_those_of_the_splits() -> None:
    frame = table(lacking(), lacking(), lacking(sku="C"), {}, lacking())
    chains = sibling_chains(frame)
    assert chains == (("00000", "00001", "00004"),)
    assert [(f.photo_id, f.text) for f in siblings(chains)] == [
        ("00000", "sibling of 00001, 00004"),
        ("00001", "sibling of 00000, 00004"),
        ("00004", "sibling of 00000, 00001"),
    ]


def test_flags_are_set_anew_in_order_and_those_of_ingest_stay() -> None:
    before = table(
        {"flags": ["total-mismatch", "dark", "sibling"], "problem": "p", "finding": "old", "duplicate_of": "00001"},
        {"flags": ["dark"]},
    )
    found = [
        Finding(photo_id="00000", flag=Flag.SIBLING, text="s"),
        Finding(photo_id="00000", flag=Flag.NEAR_DUPLICATE, text="n"),
        Finding(photo_id="00000", flag=Flag.NEAR_DUPLICATE, text="again"),
        Finding(photo_id="00000", flag=None, text="gone"),
    ]
    after = with_findings(before, found, {"00000": "00007"})
    assert after["flags"].to_list() == [["total-mismatch", "near-duplicate", "sibling"], []]
    assert after["finding"].to_list() == ["gone; n; again; s", None]
    assert after["duplicate_of"].to_list() == ["00007", None]
    assert after["problem"].to_list() == ["p", None]
    assert after.schema == SCHEMA


def test_why_a_photo_could_not_be_prepared_is_kept() -> None:
    before = table({"flags": ["undecodable", "dark", "not-fetched"]}, {"flags": ["truncated"]})
    assert with_findings(before, [], {})["flags"].to_list() == [["undecodable", "not-fetched"], []]
