"""What a request's body may be, as photos: an image, JSON, or JSON lines. Shared by HTTP and Lambda.

Takes the announced type only to tell images from JSON: whether an image is JPEG or PNG its bytes say. Refuses other
types, compressed bodies, and more photos than allowed. A record that holds no photo becomes its fault, in its place.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from enum import StrEnum

from bintally.serving.faults import Fault

_NAME_CHARACTERS = 200


class BodyKind(StrEnum):
    """How a body is read."""

    IMAGE = "image"
    JSON = "json"
    LINES = "lines"


_KINDS = {
    "image/jpeg": BodyKind.IMAGE,
    "image/jpg": BodyKind.IMAGE,
    "image/png": BodyKind.IMAGE,
    "application/x-image": BodyKind.IMAGE,
    "application/octet-stream": BodyKind.IMAGE,
    "": BodyKind.IMAGE,
    "application/json": BodyKind.JSON,
    "application/jsonlines": BodyKind.LINES,
    "application/jsonl": BodyKind.LINES,
    "application/x-ndjson": BodyKind.LINES,
}
_TAKEN = "image/jpeg, image/png, application/x-image, application/octet-stream, application/json, application/jsonlines"


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenPhoto:
    """One photo of a request."""

    data: bytes
    name: str  # what errors call it
    label: str | None = None  # what its record called it; said again in the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRecord:
    """A record without a photo, in the place of the photo."""

    fault: Fault
    label: str | None = None


Given = GivenPhoto | BadRecord


def media_type(header: str) -> str:
    """A type without its parameters.

    >>> media_type("Application/JSON; charset=utf-8")
    'application/json'
    """
    return header.partition(";")[0].strip().lower()


def kind_of(content_type: str, content_encoding: str = "") -> BodyKind:
    """How to read a body that is announced so; without a type it is an image.

    Raises:
        Fault: 415, if it is not taken.
    """
    if content_encoding.strip().lower() not in ("", "identity"):
        raise Fault(415, "wrong-type", f"expected a body as it is, got one in {content_encoding}. Send it uncompressed")
    kind = _KINDS.get(media_type(content_type))
    if kind is None:
        raise Fault(415, "wrong-type", f"expected one of {_TAKEN}, got {content_type}. Set Content-Type")
    return kind


def photos_in(body: bytes, kind: BodyKind, *, max_photos: int) -> list[Given]:
    """The photos of a body, in their order.

    Raises:
        Fault: 400 or 422, if it holds none; 413, if it holds too many.
    """
    match kind:
        case BodyKind.IMAGE:
            return [GivenPhoto(data=body, name="photo")]
        case BodyKind.JSON:
            records = _records(_json(body, "the body"))
        case BodyKind.LINES:
            records = [line for line in body.splitlines() if line.strip()]
            if not records:
                raise Fault(422, "no-photo", "expected a record on each line, got no line")
    if len(records) > max_photos:
        raise Fault(413, "too-many-photos", f"expected at most {max_photos:,} photos, got {len(records):,}. Send fewer")
    return [_given(record, f"record {number}") for number, record in enumerate(records, start=1)]


def _records(said: object) -> list[object]:
    """One record, or those of `instances`."""
    if isinstance(said, dict) and "instances" in said:
        instances = said["instances"]
        if not isinstance(instances, list) or not instances:
            raise Fault(422, "no-photo", 'expected {"instances": [{"image": BASE64}, ...]} with one or more')
        return instances
    if isinstance(said, dict) and "image" in said:
        return [said]
    raise Fault(422, "no-photo", 'expected {"image": BASE64} or {"instances": [{"image": BASE64}, ...]}')


def _given(record: object, name: str) -> Given:
    """The photo in one record; a line of bytes is parsed first."""
    label = None
    try:
        said = _json(record, name) if isinstance(record, bytes) else record
        if isinstance(said, dict) and isinstance(said.get("photo"), str):
            label = said["photo"][:_NAME_CHARACTERS]
        if not isinstance(said, dict) or not isinstance(said.get("image"), str):
            raise Fault(422, "no-photo", f'{label or name}: expected {{"image": BASE64}}')
        return GivenPhoto(data=_decoded(said["image"], label or name), name=label or name, label=label)
    except Fault as fault:
        return BadRecord(fault=fault, label=label)


def _json(text: bytes, name: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Fault(400, "bad-json", f"{name}: expected JSON, got what cannot be read as such ({error})") from error


def _decoded(text: str, name: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)  # `base64` breaks its output into lines
    except (binascii.Error, ValueError) as error:
        raise Fault(422, "bad-base64", f"{name}: expected base64, got what is none ({error})") from error
