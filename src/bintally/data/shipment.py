"""The files of a dataset on their way to a destination: which there are, and what is known of each one there.

A million photos are two million files, so they are a table and two arrays. Refuses to send anything: that is push's.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import polars as pl

from bintally.data.abid import PHOTO_FOLDER, RECORD_FOLDER
from bintally.data.store import Store

_LISTING = pl.Schema({"key": pl.String, "size_bytes": pl.Int64, "md5": pl.String})
_PACKED = 10_000  # entries of a listing are packed into a table this often
_BATCH = 1_000
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


class State(IntEnum):
    """What is known of a file at the destination."""

    ABSENT = 0
    LISTED = 1  # something lies there under its name
    DOUBTFUL = 2  # of the same size, but the store does not say its MD5
    OTHER = 3  # with other bytes
    THERE = 4
    FAILED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of the dataset.

    Attributes:
        row: its place in the shipment.
        key: where it lies, in the dataset as at the destination.
        sha256: as the manifest has it.
        listed_bytes: how large the destination lists it; None: it does not.
        md5: its MD5 as listed, if that is one: in an encrypted bucket it only looks alike.
    """

    row: int
    key: str
    sha256: str
    listed_bytes: int | None
    md5: str | None


@dataclass(slots=True, kw_only=True)
class Shipment:
    """All files that a manifest names.

    Attributes:
        files: key, sha256, size_bytes and md5 as listed: records first, so that no photo is there without its own.
        states: of each file.
        sizes: of each file that was read here, in bytes.
    """

    files: pl.DataFrame
    states: "np.ndarray[tuple[int], np.dtype[np.uint8]]" = field(init=False)
    sizes: "np.ndarray[tuple[int], np.dtype[np.int64]]" = field(init=False)

    def __post_init__(self) -> None:
        """What is listed is to be compared, the rest to be sent."""
        listed = self.files["size_bytes"].is_not_null().to_numpy()
        self.states = np.where(listed, State.LISTED, State.ABSENT).astype(np.uint8)
        self.sizes = np.zeros(len(self), np.int64)

    def __len__(self) -> int:
        """How many files there are."""
        return self.files.height

    def count(self, state: State) -> int:
        """How many files are in `state`."""
        return int((self.states == state).sum())

    async def in_state(self, state: State) -> AsyncIterator[File]:
        """The files that are in `state` when it begins."""
        rows = np.flatnonzero(self.states == state)
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            for row, (key, sha256, listed_bytes, md5) in zip(batch, self.files[batch].iter_rows(), strict=True):
                yield File(row=int(row), key=key, sha256=sha256, listed_bytes=listed_bytes, md5=md5)

    def not_in(self, listing: pl.DataFrame) -> list[str]:
        """The files that a listing does not show, or not with the size that they have here."""
        expected = self.files.select("key").with_columns(expected=pl.Series(self.sizes))
        found = expected.join(listing, on="key", how="left", maintain_order="left")
        return found.filter(pl.col("expected").ne_missing(pl.col("size_bytes")))["key"].to_list()

    def other_photos(self, listing: pl.DataFrame) -> int:
        """How many photos a listing shows that are none of these files."""
        photos = listing.filter(pl.col("key").str.contains(rf"^{PHOTO_FOLDER}[^/]+\.(jpg|png)$"))
        return photos.join(self.files, on="key", how="anti").height


def shipment_of(frame: pl.DataFrame, listing: pl.DataFrame) -> Shipment:
    """The files that a manifest names, and what a destination lists of them."""
    record = pl.format(f"{RECORD_FOLDER}{{}}.json", "photo_id")
    records = frame.select(key=record, sha256="record_sha256")
    photos = frame.select(key="photo_key", sha256="sha256")
    files = pl.concat([records, photos]).drop_nulls("sha256")
    return Shipment(files=files.join(listing, on="key", how="left", maintain_order="left"))


async def list_all(store: Store) -> pl.DataFrame:
    """Everything below a store's root: key, size_bytes, and the MD5 where the ETag looks like one."""
    packed: list[pl.DataFrame] = []
    rows: list[tuple[str, int, str | None]] = []

    def pack() -> None:
        packed.append(pl.DataFrame(rows, schema=_LISTING, orient="row"))
        rows.clear()

    async for entry in store.list(""):
        named = _MD5.fullmatch(entry.etag or "")
        rows.append((entry.key, entry.size_bytes, named[1] if named else None))
        if len(rows) == _PACKED:
            pack()
    pack()
    return pl.concat(packed)
