"""One photo and its record become one row, whatever is wrong with them."""

import hashlib
import json
import struct
import zlib
from io import BytesIO

import polars as pl
import pytest
from PIL import Image

from bintally.data.describe import describe
from bintally.data.manifest import SCHEMA, Flag, validate
from bintally.domain.bins import PhotoId

ID = PhotoId("01012")
GOOD_RECORD = json.dumps({"BIN_FCSKU_DATA": {"A": {"quantity": 2}}, "EXPECTED_QUANTITY": 2}).encode()


def photo(width_px: int = 6, height_px: int = 4, form: str = "JPEG") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width_px, height_px), "tan").save(buffer, form)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes whose header promises 40,000 x 40,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def test_a_good_photo_is_measured_and_not_flagged() -> None:
    data = photo()
    row, problem = describe(ID, data, GOOD_RECORD)
    assert problem is None
    assert (row["photo_id"], row["photo_key"]) == ("01012", "bin-images/01012.jpg")
    assert (row["sha256"], row["size_bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
    assert row["record_sha256"] == hashlib.sha256(GOOD_RECORD).hexdigest()
    assert row["original_sha256"] is None
    assert (row["width_px"], row["height_px"], row["count"]) == (6, 4, 2)
    assert (row["flags"], row["problem"], row["group"], row["split"]) == ([], None, None, None)


@pytest.mark.parametrize(
    ("data", "record", "flags", "count", "said"),
    [
        pytest.param(photo(), None, [Flag.NO_RECORD], None, "metadata/01012.json: there is no record", id="no record"),
        pytest.param(photo(), b"oops", [Flag.BAD_RECORD], None, "expected a JSON record", id="bad record"),
        pytest.param(
            photo(),
            b'{"EXPECTED_QUANTITY": -1, "BIN_FCSKU_DATA": {}}',
            [Flag.BAD_RECORD],
            None,
            "got -1",
            id="negative total",
        ),
        pytest.param(
            photo(),
            b'{"EXPECTED_QUANTITY": 3, "BIN_FCSKU_DATA": {"A": {"quantity": 2}}}',
            [Flag.TOTAL_MISMATCH],
            3,
            "the total is 3, but the quantities add up to 2",
            id="total is not the sum",
        ),
        pytest.param(b"hello", GOOD_RECORD, [Flag.BAD_PHOTO], 2, "bin-images/01012.jpg", id="text named .jpg"),
        pytest.param(b"", GOOD_RECORD, [Flag.BAD_PHOTO], 2, "bin-images/01012.jpg", id="empty photo"),
        pytest.param(photo()[:20], GOOD_RECORD, [Flag.BAD_PHOTO], 2, "bin-images/01012.jpg", id="half a header"),
        pytest.param(b"hello", b"oops", [Flag.BAD_PHOTO, Flag.BAD_RECORD], None, "; metadata/", id="both bad"),
    ],
)
def test_what_is_wrong_is_flagged_and_said(
    data: bytes, record: bytes | None, flags: list[Flag], count: int | None, said: str
) -> None:
    row, problem = describe(ID, data, record)
    assert problem is not None
    assert (problem.photo_id, problem.flags, problem.text) == (ID, tuple(flags), row["problem"])
    assert row["flags"] == [flag.value for flag in flags]
    assert row["count"] == count
    assert (row["record_sha256"] is None) == (record is None)
    assert said in problem.text
    assert (row["width_px"] is None) == (Flag.BAD_PHOTO in flags)


@pytest.mark.filterwarnings("error")
def test_a_decompression_bomb_is_a_bad_photo_and_no_warning() -> None:
    row, problem = describe(ID, bomb(), GOOD_RECORD)
    assert problem is not None
    assert problem.flags == (Flag.BAD_PHOTO,)
    assert row["width_px"] is None


def test_a_row_fits_the_manifest() -> None:
    rows = [describe(ID, *case)[0] for case in ((photo(form="PNG"), GOOD_RECORD), (b"", None))]
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    validate(frame.with_columns(pl.Series("photo_id", ["1", "2"])), "rows")
    assert all(list(row) == SCHEMA.names() for row in rows)
