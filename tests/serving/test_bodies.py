"""A body as photos: what is taken, what is refused, and what becomes of a bad record."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.asked import PHOTO, instances, lines, record

from bintally.serving.bodies import BadRecord, BodyKind, GivenPhoto, kind_of, photos_in
from bintally.serving.faults import Fault


@pytest.mark.parametrize(
    ("announced", "kind"),
    [
        ("image/jpeg", BodyKind.IMAGE),
        ("image/png", BodyKind.IMAGE),
        ("application/x-image", BodyKind.IMAGE),
        ("application/octet-stream", BodyKind.IMAGE),
        ("", BodyKind.IMAGE),
        ("Application/JSON; charset=utf-8", BodyKind.JSON),
        ("application/jsonlines", BodyKind.LINES),
        ("application/x-ndjson", BodyKind.LINES),
    ],
)
def test_types_that_are_taken(announced: str, kind: BodyKind) -> None:
    assert kind_of(announced) is kind
    assert kind_of(announced, "identity") is kind


@pytest.mark.parametrize(
    "announced", ["text/html", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_types_that_are_not(announced: str) -> None:
    with pytest.raises(Fault, match="application/json") as caught:
        kind_of(announced)
    assert (caught.value.status, caught.value.code) == (415, "wrong-type")


def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(Fault, match="uncompressed"):
        kind_of("image/jpeg", "gzip")


def test_an_image_is_its_own_photo() -> None:
    assert photos_in(PHOTO, BodyKind.IMAGE, max_photos=1) == [GivenPhoto(data=PHOTO, name="photo")]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps(record()).encode(), BodyKind.JSON),
        (instances(PHOTO), BodyKind.JSON),
        (lines(PHOTO), BodyKind.LINES),
        (b"\n" + lines(PHOTO).strip() + b"\n\n", BodyKind.LINES),
        (lines(PHOTO).replace(b"\n", b"\r\n"), BodyKind.LINES),
        (b"\xef\xbb\xbf" + json.dumps(record()).encode(), BodyKind.JSON),
        (json.dumps({"image": base64.encodebytes(PHOTO).decode()}).encode(), BodyKind.JSON),
        (json.dumps({**record(), "shelf": 7}).encode(), BodyKind.JSON),
    ],
    ids=["one", "instances", "a line", "blank lines", "CRLF", "byte order mark", "wrapped base64", "another field"],
)
def test_json_and_lines_hold_photos(body: bytes, kind: BodyKind) -> None:
    assert photos_in(body, kind, max_photos=1) == [GivenPhoto(data=PHOTO, name="record 1")]


def test_a_record_may_name_its_photo() -> None:
    (found,) = photos_in(json.dumps(record(name="01012.jpg")).encode(), BodyKind.JSON, max_photos=1)
    assert found == GivenPhoto(data=PHOTO, name="01012.jpg", label="01012.jpg")


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{", BodyKind.JSON, 400, "bad-json"),
        (b"\xff\xfe\xfd", BodyKind.JSON, 400, "bad-json"),
        (b"[" * 100_000, BodyKind.JSON, 400, "bad-json"),
        (b"", BodyKind.JSON, 400, "bad-json"),
        (b"[]", BodyKind.JSON, 422, "no-photo"),
        (b'"text"', BodyKind.JSON, 422, "no-photo"),
        (b"{}", BodyKind.JSON, 422, "no-photo"),
        (b'{"instances": []}', BodyKind.JSON, 422, "no-photo"),
        (b'{"instances": {"image": "x"}}', BodyKind.JSON, 422, "no-photo"),
        (b" \n\n", BodyKind.LINES, 422, "no-photo"),
        (instances(PHOTO, PHOTO, PHOTO), BodyKind.JSON, 413, "too-many-photos"),
        (lines(PHOTO, PHOTO, PHOTO), BodyKind.LINES, 413, "too-many-photos"),
    ],
)
def test_bodies_that_hold_none(body: bytes, kind: BodyKind, status: int, code: str) -> None:
    with pytest.raises(Fault) as caught:
        photos_in(body, kind, max_photos=2)
    assert (caught.value.status, caught.value.code) == (status, code)


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        (b"{", 400, "bad-json"),
        (b"7", 422, "no-photo"),
        (b"{}", 422, "no-photo"),
        (b'{"image": 7}', 422, "no-photo"),
        (b'{"image": null}', 422, "no-photo"),
        (b'{"image": "a"}', 422, "bad-base64"),
        (b'{"image": "####"}', 422, "bad-base64"),
        ('{"image": "äöüß"}'.encode(), 422, "bad-base64"),
    ],
)
def test_a_bad_line_keeps_its_place(line: bytes, status: int, code: str) -> None:
    first, second, third = photos_in(lines(PHOTO) + line + b"\n" + lines(PHOTO), BodyKind.LINES, max_photos=3)
    assert first == GivenPhoto(data=PHOTO, name="record 1")
    assert third == GivenPhoto(data=PHOTO, name="record 3")
    assert isinstance(second, BadRecord)
    assert (second.fault.status, second.fault.code) == (status, code)
    assert second.fault.message.startswith("record 2: ")


def test_a_record_without_a_photo_keeps_its_name() -> None:
    (found,) = photos_in(b'{"photo": "01012", "image": 5}', BodyKind.LINES, max_photos=1)
    assert isinstance(found, BadRecord)
    assert found.label == "01012"
    assert found.fault.message.startswith("01012: expected")


@given(st.binary(max_size=200), st.sampled_from(BodyKind))
def test_whatever_comes_is_photos_or_a_fault(body: bytes, kind: BodyKind) -> None:
    try:
        found = photos_in(body, kind, max_photos=50)
    except Fault as fault:
        found, status = [], fault.status
    assert found or status in (400, 413, 422)
