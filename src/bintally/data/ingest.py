"""From a bucket or a folder to a dataset: photos and records as they came, and one validated row for each photo.

Everything is written to a temporary name and renamed, the manifest last: an error or a crash leaves no half-written
file and the manifest as it was. A bad photo or record is a flagged row, not the end of the run; a store that fails
is. Refuses to mix photos of two sources in one dataset.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import polars as pl

from bintally.data import abid
from bintally.data.describe import Problem, Row, describe
from bintally.data.files import whole_file
from bintally.data.manifest import FILE_NAME, SCHEMA, Flag, Manifest, read_manifest, write_manifest
from bintally.data.store import LAYOUT, Store
from bintally.domain.bins import PhotoId
from bintally.errors import EmptySourceError, ManifestError, ObjectNotFoundError, SettingsError, StoreError

Progress = Callable[[int, int], None]
"""Called with (photos dealt with, photos in all): once before the first photo and after each."""

_FRAME_ROWS = 5_000  # rows are packed into a table this often, so that the whole bucket fits in memory
_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class AllPhotos:
    """Every photo that the source lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPhotos:
    """The photos with these keys, asked for by name: the source is never listed."""

    photo_ids: Iterable[PhotoId]


Selection = AllPhotos | NamedPhotos


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        manifest: the dataset as it now stands, on disk too.
        selected: how many photos were asked for.
        ingested: how many of them were found; each has a row.
        new: how many of those had no row before.
        missing: the keys asked for that the source does not hold.
        ignored: what lies among the photos and is none of ABID's: other extensions, subfolders, odd names.
        problems: every flagged photo of this run, by key.
    """

    manifest: Manifest
    selected: int
    ingested: int
    new: int
    missing: tuple[PhotoId, ...] = ()
    ignored: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def flags(self) -> Mapping[Flag, int]:
        """How many photos of this run have each flag that occurred."""
        return Counter(flag for problem in self.problems for flag in problem.flags)


def ingest(
    source: Store,
    destination: Path,
    selection: Selection | None = None,
    *,
    limit: int | None = None,
    concurrency: int = 64,
    on_progress: Progress | None = None,
) -> IngestReport:
    """Copy photos and records from `source` into a dataset folder and write its manifest.

    Photos that the dataset has already are read anew; rows of others stay as they are, and every earlier group and
    split is kept. `bintally split` then places the new ones.

    Args:
        source: where the photos are, in the bucket's layout.
        destination: the dataset's folder, made if it is not there.
        selection: which photos; all of them by default.
        limit: at most so many, the first by order of the listing, or of the keys as given.
        concurrency: how many photos are fetched at once.
        on_progress: told how far it is.

    Raises:
        SettingsError: if `limit` or `concurrency` is below 1.
        EmptySourceError: if not one photo was found.
        ManifestError: if the dataset came from another source, or its manifest cannot be read.
        StoreError: if the source fails, or the dataset's folder cannot be written.
    """
    for name, value in (("limit", limit), ("concurrency", concurrency)):
        if value is not None and value < 1:
            raise SettingsError(f"{name}: expected 1 or more, got {value}")
    before = _existing(destination, source)
    run = _Run(source=source, destination=destination, on_progress=on_progress or (lambda *_: None))
    asyncio.run(run.go(selection or AllPhotos(), limit=limit, concurrency=concurrency))
    table = run.table()
    if table.is_empty():
        raise EmptySourceError(_nothing_found(run))
    manifest = _merged(before, table, destination, source)
    write_manifest(manifest)
    return IngestReport(
        manifest=manifest,
        selected=len(run.photo_ids),
        ingested=table.height,
        new=manifest.frame.height - (before.frame.height if before else 0),
        missing=tuple(sorted(run.missing)),
        ignored=tuple(run.ignored),
        problems=tuple(sorted(run.problems, key=lambda problem: problem.photo_id)),
    )


@dataclass(slots=True, kw_only=True)
class _Run:
    """One run's way and what it has brought in."""

    source: Store
    destination: Path
    on_progress: Progress
    photo_ids: list[PhotoId] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    frames: list[pl.DataFrame] = field(default_factory=list)
    missing: list[PhotoId] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    done: int = 0

    async def go(self, selection: Selection, *, limit: int | None, concurrency: int) -> None:
        """Fetch what is selected; the first error ends the run once no worker touches the folder any more."""
        await self._select(selection, limit)
        self.on_progress(0, len(self.photo_ids))
        queue = iter(self.photo_ids)
        workers = [asyncio.create_task(self._work(queue)) for _ in range(min(concurrency, len(self.photo_ids)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _select(self, selection: Selection, limit: int | None) -> None:
        """The photos to fetch, each once and in order, and the other files that a listing shows."""
        if isinstance(selection, NamedPhotos):
            self.photo_ids = list(islice(dict.fromkeys(selection.photo_ids), limit))
            return
        async for key in self.source.list(abid.PHOTO_FOLDER):
            if (photo_id := abid.photo_id_of(key)) is None:
                self.ignored.append(key)
                continue
            self.photo_ids.append(photo_id)
            if len(self.photo_ids) == limit:
                return

    async def _work(self, queue: Iterator[PhotoId]) -> None:
        for photo_id in queue:  # shared: each worker takes the next one
            await self._fetch(photo_id)
            self.done += 1
            self.on_progress(self.done, len(self.photo_ids))

    async def _fetch(self, photo_id: PhotoId) -> None:
        photo_key, record_key = abid.photo_key(photo_id), abid.record_key(photo_id)
        try:
            photo = await self.source.get(photo_key)
        except ObjectNotFoundError:
            self.missing.append(photo_id)
            return
        try:
            record: bytes | None = await self.source.get(record_key)
        except ObjectNotFoundError:
            record = None
        row, problem = describe(photo_id, photo, record)
        if record is not None:
            _write(self.destination / record_key, record)
        _write(self.destination / photo_key, photo)
        self.rows.append(row)
        if len(self.rows) >= _FRAME_ROWS:
            self._pack()
        if problem:
            self.problems.append(problem)

    def _pack(self) -> None:
        self.frames.append(pl.DataFrame(self.rows, schema=SCHEMA, orient="row"))
        self.rows.clear()

    def table(self) -> pl.DataFrame:
        """The rows of all photos that were found."""
        self._pack()
        return pl.concat(self.frames)


def _write(path: Path, data: bytes) -> None:
    try:
        with whole_file(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise StoreError(f"{path}: cannot write ({error}). Check the folder and the space that is left") from error


def _existing(destination: Path, source: Store) -> Manifest | None:
    if not (destination / FILE_NAME).exists():
        return None
    manifest = read_manifest(destination)
    if manifest.source != source.url:
        raise ManifestError(
            f"{destination / FILE_NAME}: this dataset came from {manifest.source}, and would now get photos from "
            f"{source.url}, whose keys may mean other photos. Ingest into another folder"
        )
    return manifest


def _merged(before: Manifest | None, table: pl.DataFrame, destination: Path, source: Store) -> Manifest:
    if before is None:
        return Manifest(frame=table.sort("photo_id"), root=destination, source=source.url)
    placed = before.frame.select("photo_id", "group", "split")
    again = table.drop("group", "split").join(placed, on="photo_id", how="left").select(SCHEMA.names())
    stay = before.frame.join(table, on="photo_id", how="anti")
    frame = pl.concat([stay, again]).sort("photo_id")
    return Manifest(frame=frame, root=destination, source=before.source, salt=before.salt, extra=before.extra)


def _nothing_found(run: _Run) -> str:
    where = run.source.url
    if run.photo_ids:
        return (
            f"{where}: none of the {len(run.photo_ids)} photos asked for is there; expected {LAYOUT}. Check the "
            "address and the keys: 01012 and 1012 are different photos"
        )
    others = f" There are other files: {', '.join(run.ignored[:_NAMES_SHOWN])}." if run.ignored else ""
    return f"{where}: no photos there; expected {LAYOUT}.{others} Check the address: is a folder missing in it?"
