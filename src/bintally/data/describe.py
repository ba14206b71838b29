"""One photo and its record to one row of the manifest, with what is wrong with them: no files, no network.

Refuses nothing: whatever the bytes are there is a row, flagged. A photo without a good record is unlabelled, never 0.
"""

import hashlib
from dataclasses import dataclass

from bintally.data import abid
from bintally.data.images import dimensions
from bintally.data.manifest import SCHEMA, Flag, item_row
from bintally.domain.bins import BinRecord, PhotoId
from bintally.errors import PhotoError, RecordError

Row = dict[str, object]
"""One row of the manifest: a value for each column of `manifest.SCHEMA`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with one photo or its record."""

    photo_id: PhotoId
    flags: tuple[Flag, ...]
    text: str


def describe(photo_id: PhotoId, photo: bytes, record: bytes | None) -> tuple[Row, Problem | None]:
    """One row of the manifest, and what is wrong with it; a photo without a good record is unlabelled, never 0.

    Args:
        photo_id: the photo's key.
        photo: its file's bytes.
        record: its record's bytes; None where there is none.
    """
    faults: list[tuple[Flag, str]] = []
    width_px = height_px = None
    try:
        width_px, height_px = dimensions(photo, name=abid.photo_key(photo_id))
    except PhotoError as error:
        faults.append((Flag.BAD_PHOTO, str(error)))
    parsed = _parsed(photo_id, record, faults)
    problem = None
    if faults:
        text = "; ".join(text for _, text in faults)
        problem = Problem(photo_id=photo_id, flags=tuple(flag for flag, _ in faults), text=text)
    row: Row = {
        "photo_id": photo_id,
        "photo_key": abid.photo_key(photo_id),
        "sha256": hashlib.sha256(photo).hexdigest(),
        "size_bytes": len(photo),
        "original_sha256": None,
        "record_sha256": hashlib.sha256(record).hexdigest() if record is not None else None,
        "width_px": width_px,
        "height_px": height_px,
        "count": parsed.total if parsed else None,
        "items": [item_row(item) for item in parsed.items] if parsed else [],
        "flags": [flag.value for flag, _ in faults],
        "problem": problem.text if problem else None,
    }
    return {name: row.get(name) for name in SCHEMA}, problem


def _parsed(photo_id: PhotoId, record: bytes | None, faults: list[tuple[Flag, str]]) -> BinRecord | None:
    where = abid.record_key(photo_id)
    if record is None:
        faults.append((Flag.NO_RECORD, f"{where}: there is no record, so the photo is unlabelled"))
        return None
    try:
        parsed = abid.parse_record(photo_id, record)
    except RecordError as error:
        faults.append((Flag.BAD_RECORD, str(error)))
        return None
    if not parsed.total_agrees:
        text = f"{where}: the total is {parsed.total}, but the quantities add up to {parsed.sum_of_quantities}"
        faults.append((Flag.TOTAL_MISMATCH, text))
    return parsed
