"""A dataset into a bucket or folder that others read: records and photos first, the manifest last.

A manifest at the destination says that everything it names is there. What is there already is compared and never sent
again, so a push that was interrupted goes on where it was. Nothing at the destination is removed, and nothing there
with other bytes is overwritten unless that was asked for. Refuses files that are not what the manifest says.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from bintally.data.manifest import FILE_NAME, Manifest, manifest_bytes, parse_manifest
from bintally.data.prepared import NOTE
from bintally.data.published import refuse_loss, without_local_paths
from bintally.data.shipment import File, Shipment, State, list_all, shipment_of
from bintally.data.source import COMPLETE, Tally
from bintally.data.store import Store
from bintally.data.transfer import OnProgress, Progress, Transfer, run
from bintally.errors import ManifestError, ObjectNotFoundError, SettingsError, StoreError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushReport:
    """What a push did; there is one only where everything has arrived and the manifest is there.

    Attributes:
        url: the destination.
        files: photos and records that the manifest names, all of them there.
        sent: how many of them were sent in this run.
        sent_bytes: how many bytes those are.
        kept: how many were there already.
        replaced: how many of those sent took the place of other bytes.
        read_back: how many were read from the destination and compared.
        left_alone: photos at the destination that the manifest does not name.
        manifest_sent: whether the manifest was written; not where it was there just so.
    """

    url: str
    files: int
    sent: int
    sent_bytes: int
    kept: int
    replaced: int
    read_back: int
    left_alone: int
    manifest_sent: bool


def push(
    manifest: Manifest,
    destination: Store,
    *,
    concurrency: int = 64,
    per_second: float | None = None,
    read_back: bool = False,
    replace: bool = False,
    on_progress: OnProgress = lambda _: None,
) -> PushReport:
    """Copy the photos and records of `manifest` to `destination`, then the manifest, without this machine's paths.

    Args:
        manifest: the dataset.
        destination: a bucket or folder, opened with `create=True`.
        concurrency: how many files are under way at once.
        per_second: at most so many are sent or read in a second.
        read_back: read everything from the destination in the end and compare its sha256.
        replace: overwrite what is there with other bytes, a manifest of another dataset too.
        on_progress: told how many files are there.

    Raises:
        SettingsError: if `destination` is the dataset's own folder.
        ManifestError: if the destination holds something else, the dataset is not finished, or files of it are missing
            or changed.
        CannotWriteError: if the destination is a folder that is full or cannot be written.
        StoreError: if files did not arrive; the manifest was not written then.
    """
    if destination.folder == manifest.root.resolve():
        raise SettingsError(f"{manifest.root}: expected a destination other than the dataset's own folder")
    if manifest.header.extra.get(COMPLETE, "yes") != "yes":
        raise ManifestError(
            f"{manifest.root / FILE_NAME}: this dataset is not finished: the verb that writes it was interrupted. Run "
            "that one again first"
        )
    task = _Push(
        manifest=without_local_paths(manifest),
        taken_from=manifest.header.source,
        store=destination,
        concurrency=concurrency,
        per_second=per_second,
        replace=replace,
        on_progress=on_progress,
    )
    return run(task.go(read_back=read_back))


@dataclass(slots=True, kw_only=True)
class _Push:
    """One run and how far it is."""

    manifest: Manifest
    taken_from: str
    store: Store
    concurrency: int
    per_second: float | None
    replace: bool
    on_progress: OnProgress
    total: int = 0
    done: int = 0
    moved_bytes: int = 0
    sent: int = 0
    sent_bytes: int = 0
    replaced: int = 0
    read_back: int = 0
    spoilt: Tally = field(default_factory=Tally)
    failed: Tally = field(default_factory=Tally)
    last_failure: StoreError | None = None
    shipment: Shipment = field(init=False)

    async def go(self, *, read_back: bool) -> PushReport:
        """The whole way."""
        listing = await list_all(self.store)
        data = manifest_bytes(self.manifest)
        manifest_there = await self._check_manifest(listing, data)
        self.shipment = shipment_of(self.manifest.frame, listing)
        self.total = len(self.shipment) * (2 if read_back else 1)
        del listing
        await self._each(State.LISTED, self._compare)
        await self._each(State.DOUBTFUL, self._compare_bytes, self.per_second)
        kept = self.shipment.count(State.THERE)
        await self._each(State.OTHER, self._send, self.per_second)
        await self._each(State.ABSENT, self._send, self.per_second)
        self._check_all_sent()
        left_alone = await self._check_listed()
        if read_back:
            await self._each(State.THERE, self._check_arrived, self.per_second)
            self._check_all_sent()
        if not manifest_there:
            await self._send_manifest(data, read_back=read_back)
        return PushReport(
            url=self.store.url,
            files=len(self.shipment),
            sent=self.sent,
            sent_bytes=self.sent_bytes,
            kept=kept,
            replaced=self.replaced,
            read_back=self.read_back,
            left_alone=left_alone,
            manifest_sent=not manifest_there,
        )

    async def _check_manifest(self, listing: pl.DataFrame, data: bytes) -> bool:
        """Whether the very manifest is there already; refuses where another dataset's is."""
        listed = listing.filter(pl.col("key") == FILE_NAME)
        if listed.is_empty():
            return False
        if listed["md5"][0] == _md5(data):
            return True
        found = await self.store.get(FILE_NAME)
        if found == data:
            return True
        if not self.replace:
            refuse_loss(self.manifest, _parsed(found, self.manifest.root, self.store.url), self.store.url)
        return False

    async def _each(
        self, state: State, work: Callable[[File], Awaitable[int]], per_second: float | None = None
    ) -> None:
        """Do `work` on every file that is in `state` now."""

        async def counted(file: File) -> int:
            moved = await work(file)
            self.moved_bytes += moved
            return moved

        def note_failure(file: File, error: StoreError) -> None:
            self._note(self.failed, file, str(error))
            self.last_failure = error

        def tell(_: Progress) -> None:
            self.on_progress(Progress(done=self.done, total=self.total, counted=True, done_bytes=self.moved_bytes))

        moving = Transfer(
            work=counted,
            failed=note_failure,
            on_progress=tell,
            concurrency=self.concurrency,
            per_second=per_second,
        )
        await moving.all(self.shipment.in_state(state))

    def _settle(self, file: File, state: State) -> None:
        self.shipment.states[file.row] = state
        self.done += 1

    def _note(self, tally: Tally, file: File, why: str) -> None:
        _log.info("%s", why)
        tally.add(why)
        self._settle(file, State.FAILED)

    async def _local(self, file: File) -> bytes | None:
        """The file's bytes; None, and noted, where they are not what the manifest says."""
        path = self.manifest.root / file.key
        data, fault = await asyncio.to_thread(_read, path, file.sha256)
        if data is None:
            self._note(self.spoilt, file, f"{file.key} {fault}")
            return None
        self.shipment.sizes[file.row] = len(data)
        return data

    async def _compare(self, file: File) -> int:
        """Compare a file with what the listing says of it."""
        data = await self._local(file)
        if data is None:
            return 0
        if file.listed_bytes == len(data) and file.md5 == await asyncio.to_thread(_md5, data):
            self._settle(file, State.THERE)
        elif file.listed_bytes == len(data):  # encrypted with a key of one's own, sent in parts, or in a folder
            self.shipment.states[file.row] = State.DOUBTFUL
        else:
            self._found_other(file)
        return 0

    async def _compare_bytes(self, file: File) -> int:
        """Compare a file with what is there; to read is cheaper than to send, and overwrites nothing."""
        try:
            found = await self.store.get(file.key)
        except ObjectNotFoundError:
            self.shipment.states[file.row] = State.ABSENT
            return 0
        self.read_back += 1
        if await asyncio.to_thread(_sha256, found) == file.sha256:
            self._settle(file, State.THERE)
        else:
            self._found_other(file)
        return len(found)

    def _found_other(self, file: File) -> None:
        if not self.replace:
            raise ManifestError(
                f"{self.store.url} holds other bytes at {file.key} than this dataset, and nothing was sent. Push to "
                "another prefix or folder, or say --replace to overwrite such files"
            )
        self.shipment.states[file.row] = State.OTHER

    async def _send(self, file: File) -> int:
        data = await self._local(file)
        if data is None:
            return 0
        await self.store.put(file.key, data)
        self.replaced += int(self.shipment.states[file.row] == State.OTHER)
        self.sent += 1
        self.sent_bytes += len(data)
        self._settle(file, State.THERE)
        return len(data)

    async def _check_arrived(self, file: File) -> int:
        found = await self.store.get(file.key)
        self.read_back += 1
        if await asyncio.to_thread(_sha256, found) != file.sha256:
            raise StoreError(f"{self.store.url}: read back {file.key} with other bytes than were sent")
        self.done += 1
        return len(found)

    def _check_all_sent(self) -> None:
        """Refuse to go on where files are not there.

        Raises:
            ManifestError: if files of the dataset are not what its manifest says.
            StoreError: if the destination did not take files, or gives others back.
        """
        if self.spoilt.count:
            verb = "prepare" if NOTE in self.manifest.header.extra else "ingest"
            raise ManifestError(
                f"{self.manifest.root}: {self.spoilt.count} files are not as the manifest has them, so it was not "
                f"pushed: {_few(self.spoilt)}. Mend the dataset, then push again: bintally {verb} {self.taken_from} "
                f"{self.manifest.root}"
            )
        if self.last_failure is None:
            return
        if not self.shipment.count(State.THERE):
            raise self.last_failure
        raise StoreError(
            f"{self.store.url}: {self.failed.count} of {len(self.shipment)} files did not arrive, so the manifest was "
            f"not pushed. Run the same command again; what is there is not sent again. They are: {_few(self.failed)}"
        )

    async def _check_listed(self) -> int:
        """Check that the destination lists every file with its size; returns how many other photos it lists."""
        listing = await list_all(self.store)
        if wrong := self.shipment.not_in(listing):
            raise StoreError(
                f"{self.store.url}: {len(wrong)} files were sent but are not listed with their size, so the manifest "
                f"was not pushed: {', '.join(wrong[:5])}. Does something else write there? Run the same command again"
            )
        return self.shipment.other_photos(listing)

    async def _send_manifest(self, data: bytes, *, read_back: bool) -> None:
        await self.store.put(FILE_NAME, data)
        if read_back and await self.store.get(FILE_NAME) != data:
            raise StoreError(f"{self.store.url}: read back {FILE_NAME} with other bytes than were sent; push again")


def _parsed(data: bytes, root: Path, url: str) -> Manifest:
    try:
        return parse_manifest(data, root, f"{url}/{FILE_NAME}")
    except ManifestError as error:
        raise ManifestError(
            f"{url} holds a manifest that cannot be read ({error}). Push to another prefix or folder, or say --replace "
            "to let this dataset take its place"
        ) from error


def _read(path: Path, sha256: str) -> tuple[bytes | None, str]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None, "is missing"
    except OSError as error:
        return None, f"cannot be read ({error.strerror or error})"
    return (data, "") if _sha256(data) == sha256 else (None, "has changed")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _few(tally: Tally) -> str:
    return "; ".join(tally.first) + ("; ..." if tally.count > len(tally.first) else "")
