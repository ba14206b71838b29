"""From a bucket or a folder to a dataset: photos and records as they came, and one validated row for each photo.

Files get their names when they are whole, the manifest last: whatever ends a run, the next one goes on from the files
that are there, after comparing them with what is known of them. A bad photo or record is a flagged row, and one that
the source refuses a row without a photo; only a source that keeps failing, or a folder that cannot be written, ends a
run. Refuses to mix photos of two sources in one dataset, and to run twice at once on one.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from filelock import FileLock, Timeout

from bintally.data import abid
from bintally.data.describe import Problem
from bintally.data.files import cannot_write
from bintally.data.manifest import FILE_NAME, Flag, Header, scan_manifest
from bintally.data.parts import Parts
from bintally.data.source import AllPhotos, NamedPhotos, Selection, Source, Tally
from bintally.data.store import LAYOUT, Store
from bintally.data.taking import Taker
from bintally.data.transfer import OnProgress, Transfer, run
from bintally.errors import CannotWriteError, EmptySourceError, ManifestError, SettingsError

__all__ = ["AllPhotos", "IngestReport", "NamedPhotos", "Selection", "ingest"]

WORK_FOLDER = ".ingest"


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        root: the dataset's folder.
        photos: rows in the dataset as it now stands.
        labelled: how many of them have a count.
        unplaced: how many have no split yet.
        fetched: photos that came over the network in this run, and their records.
        kept: photos that were there already, compared with what is known of them.
        repaired: photos that were there, but not as the source or the manifest has them: fetched again.
        new: photos that had no row before.
        missing: keys asked for that the source does not hold.
        ignored: what lies among the photos and is none of ABID's: other extensions, subfolders, odd names.
        refused: photos and records that the source refused or kept failing at; running again tries them again.
        flags: how many photos of this run have each flag that occurred.
        examples: the first few flagged photos, by flag.
    """

    root: Path
    photos: int
    labelled: int
    unplaced: int
    fetched: int
    kept: int
    repaired: int
    new: int
    missing: Tally
    ignored: Tally
    refused: Tally
    flags: Mapping[Flag, int]
    examples: Mapping[Flag, tuple[Problem, ...]]


def ingest(
    source: Store,
    destination: Path,
    selection: Selection | None = None,
    *,
    limit: int | None = None,
    concurrency: int = 64,
    per_second: float | None = None,
    refresh: bool = False,
    on_progress: OnProgress = lambda _: None,
) -> IngestReport:
    """Copy photos and records from `source` into a dataset folder and write its manifest.

    A photo that lies in the folder already is compared with its sha256 and size, where known, and kept; so is a
    record. Earlier groups and splits stay; `bintally split` places the new photos.

    Args:
        source: where the photos are, in the bucket's layout; or a dataset, as `push` and `prepare` write them.
        destination: the dataset's folder, made if it is not there.
        selection: which photos; all of them by default.
        limit: at most so many, the first by order of the listing, or of the keys as given.
        concurrency: how many photos are fetched at once.
        per_second: at most so many photos a second.
        refresh: fetch photos and records again that are there.
        on_progress: told how far it is.

    Raises:
        SettingsError: if `limit`, `concurrency` or `per_second` lets nothing through.
        EmptySourceError: if not one photo was found.
        ManifestError: if the dataset came from another source, or a manifest cannot be used.
        CannotWriteError: if the dataset's folder cannot be written, or another ingest is at it.
        StoreError: if the source keeps failing.
    """
    if limit is not None and limit < 1:
        raise SettingsError(f"limit: expected 1 or more, got {limit}")
    with _working_folder(destination) as scratch:
        rows, before = scan_manifest(destination) if (destination / FILE_NAME).exists() else (None, None)
        offered = Source(store=source)
        taker = Taker(
            source=source,
            destination=destination,
            parts=Parts(folder=scratch, before=rows),
            missing=offered.missing,
            refresh=refresh,
            began_empty=not any((destination / name).exists() for name in (abid.PHOTO_FOLDER, abid.RECORD_FOLDER)),
        )
        moving = Transfer(
            work=taker.take,
            failed=taker.note_failure,
            on_progress=on_progress,
            concurrency=concurrency,
            per_second=per_second,
        )

        async def go() -> None:
            await offered.open(scratch)
            if before is not None:
                _check_same(before, offered, destination)
            await moving.all(taker.jobs(offered.select(selection or AllPhotos(), limit)))

        run(go())
        if not taker.fetched + taker.kept:
            raise taker.last_failure or _nothing_found(offered)
        new = taker.parts.merge(destination, _header(offered, before))
        return _report(destination, offered, taker, new)


@contextmanager
def _working_folder(destination: Path) -> Iterator[Path]:
    """A folder of this run's own inside the dataset, empty, and gone afterwards; a second run is refused."""
    scratch = destination / WORK_FOLDER
    made = not destination.exists()
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        lock = FileLock(scratch / "lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CannotWriteError(f"{destination}: another ingest is at this dataset; wait until it is done") from error
    except OSError as error:
        raise cannot_write(destination, error) from error
    try:
        for left_over in scratch.glob("*.parquet"):
            left_over.unlink()
        yield scratch
    finally:
        lock.release()
        shutil.rmtree(scratch, ignore_errors=True)
        if made and not any(destination.iterdir()):
            destination.rmdir()


def _header(source: Source, before: Header | None) -> Header:
    """What the manifest says of all photos: as before, or as the source's own manifest has it."""
    if before is not None:
        return replace(before, salt=before.salt or (source.header.salt if source.header else ""))
    if source.header is None:
        return Header(source=source.store.url)
    extra = {**source.header.extra, "origin": source.origin}
    return Header(source=source.store.url, salt=source.header.salt, extra=extra)


def _check_same(before: Header, source: Source, destination: Path) -> None:
    """Refuse to mix in one dataset what does not belong together."""
    path, url = destination / FILE_NAME, source.store.url
    theirs = source.header or Header(source=url)
    if before.source != url and before.origin != source.origin:
        raise ManifestError(
            f"{path}: this dataset came from {before.source}, and would now get photos from {url}. Keep two sources "
            "apart: ingest into another folder"
        )
    if before.extra.get("prepared") != theirs.extra.get("prepared"):
        raise ManifestError(
            f"{path}: the photos here and those at {url} were prepared in different ways; ingest into another folder"
        )
    if before.salt and theirs.salt and before.salt != theirs.salt:
        raise ManifestError(
            f"{path}: split with the salt {before.salt!r}, the dataset at {url} with {theirs.salt!r}. Ingest into "
            f"another folder, or split again first: bintally split {destination} --salt {theirs.salt}"
        )


def _nothing_found(source: Source) -> EmptySourceError:
    where, asked_for = source.store.url, source.asked_for
    if asked_for is not None:
        return EmptySourceError(
            f"{where}: none of the {asked_for} photos asked for is there; expected {LAYOUT}. Check the address and "
            "the keys: 01012 and 1012 are different photos"
        )
    others = f" There are other files: {', '.join(source.ignored.first)}." if source.ignored.count else ""
    return EmptySourceError(
        f"{where}: no photos there; expected {LAYOUT}.{others} Check the address: is a folder missing in it, "
        "or does --endpoint lead to something else than S3?"
    )


def _report(root: Path, source: Source, taker: Taker, new: int) -> IngestReport:
    rows, _ = scan_manifest(root)
    labelled, unplaced = pl.col("count").count().alias("labelled"), pl.col("split").null_count().alias("unplaced")
    counts = rows.select(pl.len().alias("photos"), labelled, unplaced).collect().row(0, named=True)
    return IngestReport(
        root=root,
        **counts,
        fetched=taker.fetched,
        kept=taker.kept,
        repaired=taker.repaired,
        new=new,
        missing=taker.missing,
        ignored=source.ignored,
        refused=taker.refused,
        flags=dict(taker.flags),
        examples={flag: tuple(problems) for flag, problems in taker.examples.items()},
    )
