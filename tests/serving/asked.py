"""What clients send."""

import base64
import json

from tests.small_dataset import draw_photo

PHOTO = draw_photo(2)
JPEG = {"Content-Type": "image/jpeg"}
JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/jsonlines"}


def record(photo: bytes = PHOTO, name: str | None = None) -> dict[str, str]:
    named = {} if name is None else {"photo": name}
    return {**named, "image": base64.b64encode(photo).decode()}


def instances(*photos: bytes) -> bytes:
    return json.dumps({"instances": [record(photo) for photo in photos]}).encode()


def lines(*photos: bytes) -> bytes:
    return b"".join(json.dumps(record(photo)).encode() + b"\n" for photo in photos)
