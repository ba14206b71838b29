"""ABID's keys, records and lists, with every oddity that is known of them. The JSON here is made up."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bintally.data.abid import (
    KeyRange,
    parse_file_list,
    parse_key,
    parse_range,
    parse_record,
    photo_id_of,
    photo_key,
    record_key,
)
from bintally.domain.bins import PhotoId
from bintally.errors import RecordError, SettingsError

ID = PhotoId("01012")


def item(**changes: Any) -> dict[str, Any]:
    made = {
        "asin": "A-SKU",
        "height": {"unit": "IN", "value": 1.5},
        "length": {"unit": "IN", "value": 6.25},
        "name": "A tin of soup",
        "normalizedName": "a tin of soup",
        "quantity": 2,
        "weight": {"unit": "pounds", "value": 0.75},
        "width": {"unit": "IN", "value": 3},
    }
    return made | changes


def record(*, total: Any = 2, **items: Any) -> bytes:
    return json.dumps({"BIN_FCSKU_DATA": items or {"A-SKU": item()}, "EXPECTED_QUANTITY": total}).encode()


# --- keys --------------------------------------------------------------------------------------------------------


def test_keys_that_are_one_number_are_two_photos() -> None:
    assert photo_key(PhotoId("1012")) != photo_key(PhotoId("01012")) == "bin-images/01012.jpg"
    assert record_key(PhotoId("1012")) == "metadata/1012.json"


@settings(deadline=None)
@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,30}", fullmatch=True).map(PhotoId))
def test_a_key_names_the_photo_it_was_made_from(photo_id: PhotoId) -> None:
    assert photo_id_of(photo_key(photo_id)) == photo_id


@pytest.mark.parametrize(
    "key", ["bin-images/a.png", "bin-images/deep/a.jpg", "bin-images/", "bin-images/.a.jpg", "bin-images/a b.jpg"]
)
def test_other_files_among_the_photos_are_none(key: str) -> None:
    assert photo_id_of(key) is None


@pytest.mark.parametrize("text", ["01012.jpg", "01012.json", "bin-images/01012", "", "a b"])
def test_a_key_that_is_a_files_name_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="01012"):
        parse_key(text)


@pytest.mark.parametrize(
    ("text", "first", "last", "how_many"),
    [
        ("00001-00500", "00001", "00500", 500),
        ("99999-100001", "99999", "100001", 3),
        ("1-1200", "1", "1200", 1200),
        (" 00007 - 00007 ", "00007", "00007", 1),
    ],
)
def test_a_range_has_the_keys_of_one_series(text: str, first: str, last: str, how_many: int) -> None:
    keys = list(parse_range(text))
    assert (keys[0], keys[-1], len(keys)) == (first, last, how_many)
    assert len({key.series for key in keys}) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("00001", "two keys of digits"),
        ("a-b", "two keys of digits"),
        ("00001-", "two keys of digits"),
        ("1-2-3", "two keys of digits"),
        ("1-00500", "different series"),
        ("00500-00001", "lower key first"),
        ("0001-0500", "no key is spelled 0001: 1 is"),
        ("000001-000002", "no key is spelled 000001: 00001 is"),
        ("00001-9999999", "at most"),
    ],
)
def test_a_range_that_cannot_be_meant_is_refused(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse_range(text)


@settings(deadline=None)
@given(first=st.integers(1, 200_000), more=st.integers(0, 50))
def test_a_range_goes_up_by_one(first: int, more: int) -> None:
    low, high = PhotoId(f"{first:05d}"), PhotoId(f"{first + more:05d}")
    numbers = [key.number for key in KeyRange(first=low, last=high)]
    assert numbers == list(range(first, first + more + 1))


# --- lists -------------------------------------------------------------------------------------------------------


def test_a_list_keeps_order_counts_and_padding() -> None:
    data = b'\xef\xbb\xbf{"2": ["data/metadata/1012.json"], "1": ["data/metadata/01012.json", "00003.json"]}'
    assert list(parse_file_list(data).items()) == [("1012", 2), ("01012", 1), ("00003", 1)]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xff\xd8\xff", "mine.json: not JSON"),
        (b"{", "mine.json: not JSON"),
        (b'["00001"]', "got a list of 1"),
        (b"{}", "lists no photo"),
        (b'{"1": []}', "lists no photo"),
        (b'{"one": ["00001.json"]}', "'one' is no count"),
        (b'{"-1": ["00001.json"]}', "'-1' is no count"),
        (b'{"1": "00001.json"}', "expected a list of names"),
        (b'{"1": ["00001.jpg"]}', "expected the name of a record"),
        (b'{"1": [100313]}', "got 100313"),
        (b'{"1": ["data/metadata/.json"]}', "cannot name a photo"),
        (b'{"1": ["a/00001.json"], "2": ["b/00001.json"]}', "'00001' is listed twice, under 1 and 2"),
    ],
)
def test_a_list_of_another_form_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)) as caught:
        parse_file_list(data, "mine.json")
    assert str(caught.value).startswith("mine.json")


# --- records -----------------------------------------------------------------------------------------------------


def test_a_record_is_read() -> None:
    parsed = parse_record(ID, record())
    assert (parsed.photo_id, parsed.total, parsed.total_agrees) == (ID, 2, True)
    (only,) = parsed.items
    assert (only.sku, only.quantity, only.asin, only.name) == ("A-SKU", 2, "A-SKU", "A tin of soup")
    assert (only.height_in, only.length_in, only.width_in, only.weight_lb) == (1.5, 6.25, 3.0, 0.75)


def test_an_empty_bin_has_no_items() -> None:
    parsed = parse_record(ID, b'{"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": 0}')
    assert (parsed.total, parsed.items, parsed.total_agrees) == (0, (), True)


def test_an_unpadded_record_has_a_field_more() -> None:
    data = b'{"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": 0, "image_fname": "1012.jpg"}'
    assert parse_record(PhotoId("1012"), data).total == 0


def test_a_product_is_told_by_its_fcsku_which_is_not_always_its_asin() -> None:
    (only,) = parse_record(ID, record(ZZZ=item(asin="B00X"))).items
    assert (only.sku, only.asin) == ("ZZZ", "B00X")


def test_a_total_that_is_not_the_sum_is_kept_and_seen() -> None:
    parsed = parse_record(ID, record(total=5))
    assert (parsed.total, parsed.sum_of_quantities, parsed.total_agrees) == (5, 2, False)


@pytest.mark.parametrize(
    ("field", "attribute"),
    [
        ("asin", "asin"),
        ("height", "height_in"),
        ("length", "length_in"),
        ("width", "width_in"),
        ("weight", "weight_lb"),
    ],
)
@pytest.mark.parametrize("form", ["null", "absent", "null-value"])
def test_what_may_be_null_is_none(field: str, attribute: str, form: str) -> None:
    made = item(**{field: {"unit": None, "value": None} if form == "null-value" and field != "asin" else None})
    if form == "absent":
        del made[field]
    (only,) = parse_record(ID, record(X=made)).items
    assert getattr(only, attribute) is None


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"name": None}, "a tin of soup"),
        ({"normalizedName": None}, "A tin of soup"),
        ({"name": None, "normalizedName": None}, None),
    ],
)
def test_either_name_will_do(changes: dict[str, None], name: str | None) -> None:
    (only,) = parse_record(ID, record(X=item(**changes))).items
    assert only.name == name


TOTALS = [-1, 2.0, 2.5, "2", None, True, [], 10**7, 10**40]


@pytest.mark.parametrize("value", TOTALS)
def test_a_total_that_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(RecordError, match=r"^metadata/01012\.json: expected EXPECTED_QUANTITY to be a whole number"):
        parse_record(ID, record(total=value))


@pytest.mark.parametrize("value", TOTALS)
def test_a_quantity_that_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(RecordError, match=r"^metadata/01012\.json: item 'X': expected quantity to be a whole number"):
        parse_record(ID, record(X=item(quantity=value)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"", "expected a JSON record", id="empty file"),
        pytest.param(b"\xff\xd8\xff\xe0", "expected a JSON record", id="a photo"),
        pytest.param(b'{"EXPECTED_QUANTITY": 2', "expected a JSON record", id="cut off"),
        pytest.param(b"[" * 100_000, "expected a JSON record", id="nested without end"),
        pytest.param(b"<Error/>", "got b'<Error/>'", id="an error page"),
        pytest.param(b"[1]", "got a list of 1", id="list"),
        pytest.param(b"null", "got null", id="null"),
        pytest.param(b'{"BIN_FCSKU_DATA": {}}', "EXPECTED_QUANTITY is missing", id="no total"),
        pytest.param(b'{"EXPECTED_QUANTITY": NaN, "BIN_FCSKU_DATA": {}}', "got nan", id="NaN"),
        pytest.param(b'{"EXPECTED_QUANTITY": 1}', "expected BIN_FCSKU_DATA", id="no contents"),
        pytest.param(
            b'{"EXPECTED_QUANTITY": 1, "BIN_FCSKU_DATA": null}', "expected BIN_FCSKU_DATA", id="null contents"
        ),
        pytest.param(
            b'{"EXPECTED_QUANTITY": 1, "BIN_FCSKU_DATA": []}', "expected BIN_FCSKU_DATA", id="contents a list"
        ),
        pytest.param(record(X=None), "item 'X': expected an object", id="null item"),
        pytest.param(record(X={}), "item 'X': quantity is missing", id="no quantity"),
        pytest.param(record(**{"": item()}), "under its FCSKU, got ''", id="nameless item"),
        pytest.param(record(**{"\ud800": item()}), "under its FCSKU", id="half a surrogate pair in the FCSKU"),
        pytest.param(record(X=item(name="\udfff")), "expected name to be text", id="half a surrogate pair in a name"),
        pytest.param(record(X=item(asin=3)), "expected asin to be text or null, got 3", id="asin a number"),
        pytest.param(record(X=item(weight=2)), "expected weight to be null or an object", id="bare weight"),
        pytest.param(record(X=item(weight={"unit": "kg", "value": 1})), "in the unit 'pounds'", id="kilograms"),
        pytest.param(record(X=item(width={"unit": "CM", "value": 1})), "in the unit 'IN'", id="centimetres"),
        pytest.param(record(X=item(width={"value": 1})), "in the unit 'IN'", id="no unit"),
        pytest.param(record(X=item(height={"unit": "IN", "value": -1})), "height to be a number of 0", id="negative"),
        pytest.param(record(X=item(height={"unit": "IN", "value": True})), "height to be a number", id="bool"),
        pytest.param(record(X=item(height={"unit": "IN", "value": "3"})), "height to be a number", id="text"),
        pytest.param(record(X=item(height={"unit": "IN", "value": float("inf")})), "height to be a number", id="inf"),
        pytest.param(record(X=item(height={"unit": "IN", "value": 10**400})), "height to be a number", id="enormous"),
    ],
)
def test_a_bad_record_is_refused_by_name(data: bytes, said: str) -> None:
    with pytest.raises(RecordError, match=re.escape(said)) as caught:
        parse_record(ID, data)
    assert str(caught.value).startswith("metadata/01012.json: ")
    assert len(str(caught.value)) < 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ITEM = st.fixed_dictionaries({"quantity": st.integers(-1, 3) | JSON}, optional={"weight": JSON, "name": JSON})


@settings(deadline=None)
@given(
    data=st.binary(max_size=20)
    | st.fixed_dictionaries({"EXPECTED_QUANTITY": JSON, "BIN_FCSKU_DATA": st.dictionaries(st.text(), ITEM) | JSON}).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_whatever_the_bytes_it_is_a_record_or_a_record_error(data: bytes) -> None:
    try:
        parsed = parse_record(ID, data)
    except RecordError:
        return
    assert parsed.total >= 0
