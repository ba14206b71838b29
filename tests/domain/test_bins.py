"""Photo names, items and records."""

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.domain.bins import BinItem, BinRecord, PhotoId
from bintally.errors import BintallyError, RecordError


def record(total: int, **quantities: int) -> BinRecord:
    items = tuple(BinItem(sku=sku, quantity=quantity) for sku, quantity in quantities.items())
    return BinRecord(photo_id=PhotoId("01012"), total=total, items=items)


@pytest.mark.parametrize(
    ("name", "number", "series"),
    [
        pytest.param("00001", 1, "padded", id="first padded key"),
        pytest.param("01012", 1012, "padded", id="padded key"),
        pytest.param("99999", 99_999, "padded", id="last key that needs five digits"),
        pytest.param("535234", 535_234, "padded", id="six digits"),
        pytest.param("1", 1, "unpadded", id="first unpadded key"),
        pytest.param("1012", 1012, "unpadded", id="unpadded key"),
        pytest.param("shelf-3_a.2", None, "named", id="a name"),
        pytest.param("1012a", None, "named", id="digits and a letter"),
        pytest.param("1.5", None, "named", id="no whole number"),
    ],
)
def test_a_photos_name_is_read(name: str, number: int | None, series: str):
    photo_id = PhotoId(name)
    assert photo_id.number == number
    assert photo_id.series == series
    assert photo_id == name


def test_padded_and_unpadded_keys_are_two_photos():
    assert len({PhotoId("1012"), PhotoId("01012")}) == 2


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("a/b", id="with a folder"),
        pytest.param("..", id="parent folder"),
        pytest.param(".hidden", id="hidden file"),
        pytest.param("-rf", id="like an option"),
        pytest.param("a b", id="with a space"),
        pytest.param("01012\n", id="with a line end"),
        pytest.param("٣٤", id="digits of another script"),
        pytest.param("x" * 129, id="too long"),
    ],
)
def test_what_cannot_name_a_photo_is_refused(name: str):
    with pytest.raises(RecordError, match="cannot name a photo: expected 1-128 letters, digits"):
        PhotoId(name)


def test_the_longest_name_passes():
    assert len(PhotoId("x" * 128)) == 128


@given(st.integers(0, 10**9))
def test_a_keys_number_is_what_its_digits_say(number: int):
    assert PhotoId(f"{number:05d}").number == PhotoId(str(number)).number == number


def test_a_negative_quantity_is_refused():
    with pytest.raises(RecordError, match=r"item 'A': expected a quantity of 0 or more, got -1"):
        BinItem(sku="A", quantity=-1)


def test_a_negative_total_is_refused():
    with pytest.raises(RecordError, match=r"'01012': expected a total of 0 or more, got -1"):
        record(-1)


def test_what_a_record_leaves_out_is_none_and_not_0():
    item = BinItem(sku="A", quantity=1)
    assert (item.asin, item.name, item.height_in, item.length_in, item.width_in, item.weight_lb) == (None,) * 6


@pytest.mark.parametrize(
    ("total", "quantities", "agrees"),
    [
        pytest.param(0, {}, True, id="empty bin"),
        pytest.param(3, {"A": 1, "B": 2}, True, id="total is the sum"),
        pytest.param(4, {"A": 1, "B": 2}, False, id="total above the sum"),
        pytest.param(2, {"A": 1, "B": 2}, False, id="total below the sum"),
        pytest.param(1, {}, False, id="a total without items"),
    ],
)
def test_a_record_knows_whether_its_total_agrees(total: int, quantities: dict[str, int], agrees: bool):
    read = record(total, **quantities)
    assert read.sum_of_quantities == sum(quantities.values())
    assert read.total_agrees is agrees


def test_products_are_the_skus():
    assert record(3, A=1, B=2).products == {"A", "B"}


def test_records_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        record(0).total = 1  # type: ignore[misc]


def test_a_record_error_is_a_bintally_error():
    assert issubclass(RecordError, BintallyError)
