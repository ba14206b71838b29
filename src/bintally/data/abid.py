"""The Amazon Bin Image Dataset's keys, records and lists, as `domain.bins` knows them.

A record is `metadata/ID.json`: `EXPECTED_QUANTITY` is the total, `BIN_FCSKU_DATA` a dictionary of items by FCSKU.
Names, sizes and weights may be null; the total and the quantities may not. A unit other than ABID's refuses the
record rather than the size: a folder in centimetres should be noticed before anything is learned from it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from bintally.domain.bins import BinItem, BinRecord, PhotoId
from bintally.errors import RecordError, SettingsError

PHOTO_FOLDER = "bin-images/"
RECORD_FOLDER = "metadata/"
_PHOTO_END = ".jpg"
_RECORD_END = ".json"
_LENGTH_UNIT = "IN"
_WEIGHT_UNIT = "pounds"
_MOST_ITEMS = 1_000_000  # no bin holds as many (ABID's fullest: 209), and it fits the manifest's int32
_LARGEST_MEASURE = 1e9
_PADDED_DIGITS = 5
_MOST_KEYS = 1_000_000  # in a range: ABID's highest key is 535234


def photo_key(photo_id: PhotoId) -> str:
    """Where a photo lies in its bucket.

    >>> photo_key(PhotoId("01012"))
    'bin-images/01012.jpg'
    """
    return f"{PHOTO_FOLDER}{photo_id}{_PHOTO_END}"


def record_key(photo_id: PhotoId) -> str:
    """Where a photo's record lies in its bucket.

    >>> record_key(PhotoId("01012"))
    'metadata/01012.json'
    """
    return f"{RECORD_FOLDER}{photo_id}{_RECORD_END}"


def photo_id_of(key: str) -> PhotoId | None:
    """Which photo lies at `key`; None where no photo of ABID's layout can.

    >>> photo_id_of("bin-images/01012.jpg"), photo_id_of("bin-images/more/01012.jpg"), photo_id_of("bin-images/x.png")
    ('01012', None, None)
    """
    try:
        return PhotoId(key.removeprefix(PHOTO_FOLDER).removesuffix(_PHOTO_END)) if key.endswith(_PHOTO_END) else None
    except RecordError:
        return None


def parse_key(text: str) -> PhotoId:
    """A photo's key as a person gives it.

    Raises:
        SettingsError: if it cannot be one, or is a file's name.

    >>> parse_key("01012")
    '01012'
    """
    if "/" in text or text.endswith((_PHOTO_END, _RECORD_END)):
        raise SettingsError(f"{text!r}: expected a key without folder and extension, such as 01012")
    try:
        return PhotoId(text)
    except RecordError as error:
        raise SettingsError(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRange:
    """Consecutive keys of one series, both ends included."""

    first: PhotoId
    last: PhotoId

    def __iter__(self) -> Iterator[PhotoId]:
        """Each key, spelled as the bucket spells it."""
        numbers = range(int(self.first), int(self.last) + 1)
        return (_spelled(number, self.first.series) for number in numbers)


def _spelled(number: int, series: str) -> PhotoId:
    return PhotoId(f"{number:0{_PADDED_DIGITS}d}" if series == "padded" else str(number))


def parse_range(text: str) -> KeyRange:
    """Two keys with a '-' between: padded ones name padded keys, unpadded ones the unpadded.

    Raises:
        SettingsError: if they are no two keys of one series, in order.

    >>> list(parse_range("00009-00011")), list(parse_range("9-11"))
    (['00009', '00010', '00011'], ['9', '10', '11'])
    """
    first, dash, last = (part.strip() for part in text.partition("-"))
    if not (dash and first.isdecimal() and last.isdecimal() and first.isascii() and last.isascii()):
        raise SettingsError(f"range {text!r}: expected two keys of digits, such as 00001-00500")
    low, high = parse_key(first), parse_key(last)
    if low.series != high.series:
        raise SettingsError(
            f"range {text!r}: {low} and {high} are keys of different series ({low.series}, {high.series}). Pad both to "
            "five digits (00001-00500), or none (1-500): these are different photos"
        )
    for key in (low, high):
        if _spelled(int(key), key.series) != key:
            raise SettingsError(f"range {text!r}: no key is spelled {key}: {_spelled(int(key), key.series)} is")
    if not 0 <= int(high) - int(low) < _MOST_KEYS:
        raise SettingsError(f"range {text!r}: expected the lower key first, and at most {_MOST_KEYS} keys")
    return KeyRange(first=low, last=high)


def parse_file_list(data: bytes, name: str = "file list") -> dict[PhotoId, int]:
    """The `file_list.json` form: count -> names of records, such as `{"1": ["data/metadata/100313.json"]}`.

    Args:
        data: the file's bytes.
        name: what errors call it.

    Returns:
        The count under which each photo is listed, in the list's order.

    Raises:
        SettingsError: naming the entry that cannot be meant, or is there twice.

    >>> parse_file_list(b'{"1": ["data/metadata/1012.json"], "2": ["data/metadata/01012.json"]}')
    {'1012': 1, '01012': 2}
    """
    form = 'expected count -> names of records, such as {"1": ["data/metadata/100313.json"]}'
    try:
        counts = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{name}: not JSON ({error}); {form}") from error
    if not isinstance(counts, dict):
        raise SettingsError(f"{name}: {form}, got {_kind(counts)}")
    listed: dict[PhotoId, int] = {}
    for count, names in counts.items():
        if not (count.isdecimal() and count.isascii() and len(count) < len(str(_MOST_ITEMS))):
            raise SettingsError(f"{name}: {count[:40]!r} is no count; {form}")
        if not isinstance(names, list):
            raise SettingsError(f"{name}: under {count!r} expected a list of names, got {_kind(names)}; {form}")
        for entry in names:
            photo_id = _listed_id(entry, f"{name}: under {count!r}")
            if photo_id in listed:
                raise SettingsError(f"{name}: {photo_id!r} is listed twice, under {listed[photo_id]} and {int(count)}")
            listed[photo_id] = int(count)
    if not listed:
        raise SettingsError(f"{name}: lists no photo; {form}")
    return listed


def _listed_id(entry: object, where: str) -> PhotoId:
    text = entry if isinstance(entry, str) else ""
    try:
        if not text.endswith(_RECORD_END):
            raise RecordError(f"expected the name of a record, such as 'data/metadata/100313.json', got {entry!r:.80}")
        return PhotoId(text.rpartition("/")[2].removesuffix(_RECORD_END))
    except RecordError as error:
        raise SettingsError(f"{where}: {error}") from error


def parse_record(photo_id: PhotoId, data: bytes) -> BinRecord:
    """Read one record.

    Args:
        photo_id: the photo it belongs to; errors name its file.
        data: the file's bytes.

    Raises:
        RecordError: naming the file, the fault, and what to do.

    >>> parse_record(PhotoId("00001"), b'{"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": 0}').total
    0
    """
    where = record_key(photo_id)
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"{where}: expected a JSON record, got {data[:20]!r} ({error}). Fetch it again, or remove it to leave the "
            "photo unlabelled"
        ) from error
    if not isinstance(record, dict):
        _refuse(where, "an object with EXPECTED_QUANTITY and BIN_FCSKU_DATA", record)
    total = _quantity(record, "EXPECTED_QUANTITY", where)
    contents = record.get("BIN_FCSKU_DATA")
    if not isinstance(contents, dict):
        _refuse(where, "BIN_FCSKU_DATA to be an object of items by FCSKU, empty for an empty bin", contents)
    items = tuple(_item(sku, item, where) for sku, item in contents.items())
    return BinRecord(photo_id=photo_id, total=total, items=items)


def _item(sku: str, item: object, where: str) -> BinItem:
    if not _is_text(sku) or not sku:
        _refuse(where, "each item to lie under its FCSKU", sku)
    at = f"{where}: item {sku!r}"
    if not isinstance(item, dict):
        _refuse(at, "an object with a quantity", item)
    return BinItem(
        sku=sku,
        quantity=_quantity(item, "quantity", at),
        asin=_text(item, "asin", at),
        name=_text(item, "name", at) or _text(item, "normalizedName", at),
        height_in=_measure(item, "height", _LENGTH_UNIT, at),
        length_in=_measure(item, "length", _LENGTH_UNIT, at),
        width_in=_measure(item, "width", _LENGTH_UNIT, at),
        weight_lb=_measure(item, "weight", _WEIGHT_UNIT, at),
    )


def _quantity(holder: Mapping[str, Any], name: str, where: str) -> int:
    if name not in holder:
        raise RecordError(f"{where}: {name} is missing. Fetch the record again, or correct it")
    value = holder[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_ITEMS:
        _refuse(where, f"{name} to be a whole number of 0 or more (and at most {_MOST_ITEMS})", value)
    return value


def _text(item: Mapping[str, Any], name: str, where: str) -> str | None:
    value = item.get(name)
    if value is not None and not _is_text(value):
        _refuse(where, f"{name} to be text or null", value)
    return value


def _is_text(value: object) -> bool:
    """Whether it is a string that can be written: JSON can spell half a surrogate pair, UTF-8 cannot."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _measure(item: Mapping[str, Any], name: str, unit: str, where: str) -> float | None:
    measure = item.get(name)
    if measure is None:
        return None
    if not isinstance(measure, dict):
        _refuse(where, f'{name} to be null or an object {{"unit": "{unit}", "value": ...}}', measure)
    value = measure.get("value")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST_MEASURE:
        _refuse(where, f"{name} to be a number of 0 or more", value)
    if measure.get("unit") != unit:
        _refuse(where, f"{name} in the unit {unit!r} (convert it, or set it to null)", measure.get("unit"))
    return float(value)


def _refuse(where: str, expected: str, got: object) -> NoReturn:
    raise RecordError(f"{where}: expected {expected}, got {_kind(got)}. Correct the record, or fetch it again")


def _kind(value: object) -> str:
    """What arrived, short: a value, or what kind of container."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return f"{value!r:.60}" if value is not None else "null"
