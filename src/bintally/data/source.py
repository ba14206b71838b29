"""What a store offers for ingest: a bucket's photos as it lists them, photos asked for by name, or a whole dataset.

A store that holds `manifest.parquet` is a dataset, as `push` and `prepare` write them: its rows, splits and hashes are
taken from there. Refuses manifests that name files outside the photos' folder, or that are not finished.
"""

from bisect import insort
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import polars as pl

from bintally.data import abid
from bintally.data.describe import Row
from bintally.data.manifest import FILE_NAME, SCHEMA, Flag, Header, has_any_flag, scan_manifest_file, validate
from bintally.data.store import Store, write_whole
from bintally.domain.bins import PhotoId
from bintally.errors import ManifestError, ObjectNotFoundError, StoreAccessError

COMPLETE = "complete"
"""The note in a manifest's header that says "no" while a verb is still at it."""
_BLOCK_ROWS = 1_000  # as S3's pages: fetching begins with the first
_NAMES_KEPT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class AllPhotos:
    """Every photo that the source lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPhotos:
    """The photos with these keys, asked for by name: the source is never listed."""

    photo_ids: Iterable[PhotoId]


Selection = AllPhotos | NamedPhotos


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One photo to take.

    Attributes:
        photo_id: which.
        photo_key: where it lies in the source, and will in the dataset.
        size_bytes: as the source lists it; None: not known before it is fetched.
        row: its row in the source's own manifest; None where the source has none.
    """

    photo_id: PhotoId
    photo_key: str
    size_bytes: int | None = None
    row: Row | None = None


@dataclass(slots=True, kw_only=True)
class Tally:
    """How many there were, and the first few names in order, whatever order they came in."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one more."""
        self.count += 1
        insort(self.first, name)
        del self.first[_NAMES_KEPT:]


@dataclass(slots=True, kw_only=True)
class Source:
    """A store and what is wanted of it.

    Attributes:
        store: where the photos are.
        rows: the source's own manifest, where it is a dataset; not read yet.
        header: what that manifest says of all photos.
        missing: keys asked for that it does not hold.
        ignored: what a listing showed among the photos that is none of them.
        asked_for: whether photos were named, and how many.
    """

    store: Store
    rows: pl.LazyFrame | None = None
    header: Header | None = None
    missing: Tally = field(default_factory=Tally)
    ignored: Tally = field(default_factory=Tally)
    asked_for: int | None = None

    @property
    def origin(self) -> str:
        """Where the photos were first taken from."""
        return self.header.origin if self.header else self.store.url

    async def open(self, scratch: Path) -> None:
        """Find out whether the source is a dataset.

        Args:
            scratch: a folder that its manifest may be kept in.

        Raises:
            ManifestError: if it is one, but its manifest cannot be used.
            StoreError: if the source fails.
        """
        try:
            data = await self.store.get(FILE_NAME)
        except (ObjectNotFoundError, StoreAccessError):  # S3 says "access denied" where listing is not allowed
            return
        path = scratch / f"source-{FILE_NAME}"
        write_whole(path, data)
        try:
            self.rows, self.header = scan_manifest_file(path)
        except ManifestError as error:
            raise ManifestError(f"{self.store.url}: {error}") from error
        if self.header.extra.get(COMPLETE, "yes") != "yes":
            raise ManifestError(
                f"{self.store.url}/{FILE_NAME}: this dataset is not finished: the verb that writes it was interrupted. "
                "Run that one again first"
            )

    async def select(self, selection: Selection, limit: int | None) -> AsyncIterator[list[Wanted]]:
        """What is wanted, in blocks: in order of the listing, and photos that were named in order of their names.

        Raises:
            ManifestError: if a row of the source's manifest cannot be meant.
            StoreError: if the source cannot be listed.
        """
        names = None
        if isinstance(selection, NamedPhotos):
            names = sorted(islice(dict.fromkeys(selection.photo_ids), limit))
            self.asked_for = len(names)
        found = self._named(names) if names is not None else self._listed()
        if self.rows is not None:
            found = self._from_manifest(names)
        block: list[Wanted] = []
        left = limit
        async for wanted in found:
            if left is not None and names is None:
                if left == 0:
                    break
                left -= 1
            block.append(wanted)
            if len(block) == _BLOCK_ROWS:
                yield block
                block = []
        if block:
            yield block

    async def _named(self, names: Iterable[PhotoId]) -> AsyncIterator[Wanted]:
        for photo_id in names:
            yield Wanted(photo_id=photo_id, photo_key=abid.photo_key(photo_id))

    async def _listed(self) -> AsyncIterator[Wanted]:
        async for entry in self.store.list(abid.PHOTO_FOLDER):
            photo_id = abid.photo_id_of(entry.key)
            if photo_id is None:
                self.ignored.add(entry.key)
                continue
            yield Wanted(photo_id=photo_id, photo_key=entry.key, size_bytes=entry.size_bytes)

    async def _from_manifest(self, names: list[PhotoId] | None) -> AsyncIterator[Wanted]:
        assert self.rows is not None  # noqa: S101 - asked by `select` alone
        rows = self.rows.filter(~has_any_flag([Flag.NOT_FETCHED]))
        if names is not None:
            rows = rows.filter(pl.col("photo_id").is_in(names))
            for name in set(names).difference(rows.select("photo_id").collect()["photo_id"]):
                self.missing.add(name)
        offset = 0
        while not (block := rows.slice(offset, _BLOCK_ROWS).collect()).is_empty():
            offset += block.height
            validate(block, f"{self.store.url}/{FILE_NAME}")
            for row in block.select(SCHEMA.names()).iter_rows(named=True):
                yield self._checked(row)

    def _checked(self, row: Row) -> Wanted:
        photo_id, key = PhotoId(str(row["photo_id"])), str(row["photo_key"])
        if key not in (abid.photo_key(photo_id), abid.photo_key(photo_id).removesuffix(".jpg") + ".png"):
            raise ManifestError(
                f"{self.store.url}/{FILE_NAME}: expected photo {photo_id} at {abid.photo_key(photo_id)}, not at "
                f"{key!r}. The manifest was not written by Bintally: remove it there to ingest the photos anew"
            )
        size_bytes = row["size_bytes"]
        return Wanted(
            photo_id=photo_id,
            photo_key=key,
            size_bytes=size_bytes if isinstance(size_bytes, int) else None,
            row=row,
        )
