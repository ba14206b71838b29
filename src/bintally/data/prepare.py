"""A dataset's photos, decoded and reduced once to what a recipe needs: a dataset of small files, in a folder or bucket.

A photo goes the way that serving goes and is encoded again (`preparing`). The manifest is written every now and then,
marked as not complete, and without that mark at the end: whatever ends a run, the next one goes on from there. Refuses
to mix with what else is there (`prepare_settings`).
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import polars as pl
from filelock import FileLock, Timeout

from bintally.data import abid
from bintally.data.files import cannot_write
from bintally.data.manifest import FILE_NAME, UNUSABLE, Manifest, has_any_flag, manifest_bytes, parse_manifest
from bintally.data.prepare_settings import PrepareSettings, check_can_be_prepared, check_same, prepared_header
from bintally.data.preparing import Job, Reduced, Results, assemble, reduce, reduce_into, standing
from bintally.data.published import without_local_paths
from bintally.data.source import COMPLETE, Tally
from bintally.data.store import Store
from bintally.data.transfer import OnProgress, Progress, Transfer, run
from bintally.errors import CannotWriteError, ManifestError, StoreError

WORK_FOLDER = ".prepare"
CHECKPOINT_SECONDS = 2.0  # between checkpoints, at least: so much work may have to be done again
_CHECKPOINT_SHARE = 20  # and at least so many times as long as the last one took: they cost 5 % of the time
_PARTING_SECONDS = 10.0  # for the checkpoint of a run that is ended


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareReport:
    """What a run did.

    Attributes:
        photos: rows in the prepared dataset: as many as in the one it was prepared from.
        prepared: photos prepared in this run.
        kept: photos that were there already.
        unusable: flagged so in the source: there is nothing to prepare.
        undecodable: could not be decoded, and are flagged so now.
        refused: could not be read or written, or are not the files in the manifest; running again tries them again.
        read_bytes: of the photos prepared in this run, before.
        written_bytes: of the same photos, after.
    """

    photos: int
    prepared: int
    kept: int
    unusable: int
    undecodable: Tally
    refused: Tally
    read_bytes: int
    written_bytes: int


def prepare(
    manifest: Manifest,
    destination: Store,
    settings: PrepareSettings | None = None,
    *,
    concurrency: int = 64,
    per_second: float | None = None,
    on_progress: OnProgress = lambda _: None,
) -> PrepareReport:
    """Prepare the photos of `manifest` into `destination`, with their records and rows.

    What was prepared there before in the same way, from the same photo and record, is kept; its row is written anew.

    Args:
        manifest: a dataset as ingested; split or not.
        destination: a folder or bucket that is empty, or holds what was prepared of this dataset before.
        settings: how; None: the default settings.
        concurrency: how many photos are under way at once; as many threads decode as there are cores.
        per_second: at most so many photos a second.
        on_progress: told how far it is.

    Raises:
        SettingsError: if `concurrency` or `per_second` lets nothing through.
        ManifestError: if the dataset is not one to prepare, or the destination holds something else.
        CannotWriteError: if the destination is a folder that cannot be written, or another run is at it.
        StoreError: if the destination keeps failing, or one photo after the other cannot be read.
    """
    check_can_be_prepared(manifest)
    work = _Run(manifest=manifest, destination=destination, settings=settings or PrepareSettings())
    moving = Transfer(work=work.prepare, failed=work.note_failure, concurrency=concurrency, per_second=per_second)
    with _lock(destination.folder):
        return run(work.go(moving, on_progress))


@contextmanager
def _lock(folder: Path | None) -> Iterator[None]:
    """One run at a time in one folder. In a bucket two would write the same bytes twice."""
    if folder is None:
        yield
        return
    try:
        (folder / WORK_FOLDER).mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / WORK_FOLDER / "lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CannotWriteError(f"{folder}: another run is preparing there; wait until it is done") from error
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield
    finally:
        lock.release()
        shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)


@dataclass(slots=True, kw_only=True)
class _Run:
    """One run and its account."""

    manifest: Manifest
    destination: Store
    settings: PrepareSettings
    undecodable: Tally = field(default_factory=Tally)
    refused: Tally = field(default_factory=Tally)
    prepared: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    results: Results = field(init=False)
    pool: ThreadPoolExecutor = field(init=False)
    there: bytes | None = None  # the manifest at the destination

    def __post_init__(self) -> None:
        """Get ready."""
        self.results = Results(settings=self.settings)
        self.pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="prepare")

    async def go(self, moving: Transfer[Job], on_progress: OnProgress) -> PrepareReport:
        """Do what is left to do."""
        done = self.results.table = await self._look()
        source = self.manifest.frame
        todo = source.join(done, on="photo_id", how="anti")
        moving.on_progress = lambda now: on_progress(replace(now, total=todo.height, counted=True))
        on_progress(Progress(total=todo.height, counted=True))
        if not todo.is_empty():
            await self._write(complete=False)  # shows that the place can be written, and makes it ours
            await self._work_off(moving, todo)
        await self._write(complete=True)
        return PrepareReport(
            photos=source.height,
            prepared=self.prepared,
            kept=done["sha256"].count(),
            unusable=source.filter(has_any_flag(UNUSABLE)).height,
            undecodable=self.undecodable,
            refused=self.refused,
            read_bytes=self.read_bytes,
            written_bytes=self.written_bytes,
        )

    # --- what is there -----------------------------------------------------------------------------------------------

    async def _look(self) -> pl.DataFrame:
        """Those results at the destination that still stand.

        Raises:
            ManifestError: if something else lies there.
        """
        url = self.destination.url
        listed = {entry.key: entry.size_bytes async for entry in self.destination.list("")}
        photos, records = (
            {key: size_bytes for key, size_bytes in listed.items() if key.startswith(folder)}
            for folder in (abid.PHOTO_FOLDER, abid.RECORD_FOLDER)
        )
        if FILE_NAME not in listed:
            if photos or records:
                raise ManifestError(
                    f"{url}: holds {len(photos)} photos and {len(records)} records, but no manifest that says how they "
                    "were prepared. Prepare into an empty place"
                )
            return self.results.table
        self.there = await self.destination.get(FILE_NAME)
        held = parse_manifest(self.there, self.destination.folder or Path(), f"{url}/{FILE_NAME}")
        check_same(held, self._prepared(self.manifest.frame), url)
        return standing(held.frame, self.manifest.frame, photos, records)

    # --- the work ----------------------------------------------------------------------------------------------------

    async def _work_off(self, moving: Transfer[Job], todo: pl.DataFrame) -> None:
        """Prepare what is to do; if that ends before its time, what is done is not lost."""
        enough = asyncio.Event()
        checkpoints = asyncio.create_task(self._checkpoints(enough))
        try:
            await moving.all(_jobs(todo))
            enough.set()
            await checkpoints  # not cancelled: what is under way to a bucket might arrive after the last manifest
        except BaseException:  # Ctrl-C arrives as a cancellation
            checkpoints.cancel()
            await asyncio.gather(checkpoints, return_exceptions=True)
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_PARTING_SECONDS):
                    await self._write(complete=False)
            raise
        finally:
            self.pool.shutdown(cancel_futures=True)

    async def prepare(self, job: Job) -> int:
        """Prepare one photo; how many bytes were written.

        Raises:
            StoreError: if a file cannot be read or is not the one in the manifest, or the destination refused it.
        """
        in_thread = partial(asyncio.get_running_loop().run_in_executor, self.pool)
        folder, settings = self.destination.folder, self.settings
        if folder is not None:
            reduced = await in_thread(reduce_into, folder, self.manifest, job, settings)
        else:
            reduced = await in_thread(reduce, self.manifest, job, settings)
            for key, data in reduced.files(job, settings):
                await self.destination.put(key, data)
        self._note(job, reduced)
        return sum(len(data) for _, data in reduced.files(job, settings))

    def _note(self, job: Job, reduced: Reduced) -> None:
        if reduced.photo is not None:
            self.prepared += 1
            self.read_bytes += reduced.read_bytes
            self.written_bytes += len(reduced.photo)
        if reduced.fault is not None:
            self.undecodable.add(reduced.fault)
        self.results.add(job, reduced)

    def note_failure(self, job: Job, error: StoreError) -> None:
        """Keep the row of a photo that could not be prepared; the next run tries it again."""
        self.refused.add(str(error))
        self.results.add(job, Reduced(), refusal=str(error))

    # --- the manifest ------------------------------------------------------------------------------------------------

    async def _checkpoints(self, enough: asyncio.Event) -> None:
        """Write the manifest now and then, so seldom that it costs little of the time."""
        pause = CHECKPOINT_SECONDS
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(enough.wait(), pause)
                return
            start = time.monotonic()
            with suppress(StoreError):  # if that matters, the photos fail too
                await self._write(complete=False)
            pause = max(CHECKPOINT_SECONDS, _CHECKPOINT_SHARE * (time.monotonic() - start))

    async def _write(self, *, complete: bool) -> None:
        """Write the manifest of all that is dealt with, unless these very bytes are there."""
        results = self.results.pack()

        def make() -> bytes:
            new = self._prepared(assemble(self.manifest.frame, results))
            if not complete:
                new = replace(new, header=replace(new.header, extra={**new.header.extra, COMPLETE: "no"}))
            return manifest_bytes(new)

        data = await asyncio.to_thread(make)
        if data != self.there:
            await self.destination.put(FILE_NAME, data)
            self.there = data

    def _prepared(self, frame: pl.DataFrame) -> Manifest:
        """These rows as a manifest at the destination: in a bucket without this machine's paths."""
        new = replace(self.manifest, frame=frame, header=prepared_header(self.manifest, self.settings))
        return without_local_paths(new) if self.destination.folder is None else new


async def _jobs(todo: pl.DataFrame) -> AsyncIterator[Job]:
    usable = (~has_any_flag(UNUSABLE)).alias("usable")
    for row in todo.select("photo_id", "photo_key", "sha256", "record_sha256", usable).iter_rows(named=True):
        yield Job(**row)
