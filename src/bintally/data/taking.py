"""One photo and its record from a source into a dataset's folder, and the row that comes of them.

What lies in the folder already is compared with what is known of it, and fetched only where it differs. Refuses to let
one photo's fault end the run: it becomes a flagged row.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from bintally.data import abid
from bintally.data.describe import Problem, Row, describe
from bintally.data.manifest import INGEST_FLAGS, SCHEMA, Flag
from bintally.data.parts import Block, Parts
from bintally.data.source import Tally, Wanted
from bintally.data.store import Store, write_whole
from bintally.errors import CannotWriteError, ObjectNotFoundError, StoreError

_EXAMPLES = 5
_OTHER_HASH = "its sha256 is not the one in the manifest there. Push the dataset again first, then ingest"
_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Job:
    """A photo to take, the block that its row belongs to, and the photo's bytes once they are in the folder."""

    wanted: Wanted
    block: Block
    photo: bytes | None = None

    @property
    def before(self) -> Row | None:
        """The row that the photo had."""
        return self.block.before.get(self.wanted.photo_id)


@dataclass(slots=True, kw_only=True)
class Taker:
    """Takes photos one by one, many at once, and keeps account.

    Attributes:
        source: where they are.
        destination: the dataset's folder.
        parts: where their rows go.
        missing: photos that are not there.
        refresh: fetch also what is there.
        began_empty: nothing was there when the run began, so no photo has to be looked for.
    """

    source: Store
    destination: Path
    parts: Parts
    missing: Tally
    refresh: bool = False
    began_empty: bool = False
    fetched: int = 0
    kept: int = 0
    repaired: int = 0
    refused: Tally = field(default_factory=Tally)
    last_failure: StoreError | None = None
    flags: Counter[Flag] = field(default_factory=Counter)
    examples: dict[Flag, list[Problem]] = field(default_factory=dict)

    async def jobs(self, blocks: AsyncIterator[list[Wanted]]) -> AsyncIterator[Job]:
        """A job for each photo wanted."""
        number = 0
        async for wanted in blocks:
            block = self.parts.start_block(number, [str(each.photo_id) for each in wanted])
            number += 1
            for each in wanted:
                yield Job(wanted=each, block=block)

    async def take(self, job: Job) -> int:
        """Bring in one photo and its record.

        Returns:
            How many bytes came from the source.

        Raises:
            StoreError: if the source refused one of them, or what arrived is not what it said.
            CannotWriteError: if the folder cannot be written or read.
        """
        wanted = job.wanted
        job.photo = None if self.refresh or self.began_empty else self._kept_photo(wanted, job.before)
        moved = 0
        if job.photo is None:
            try:
                photo = await self.source.get(wanted.photo_key)
            except ObjectNotFoundError:
                self.missing.add(wanted.photo_id)
                self.parts.finish_one(job.block, None)
                return 0
            _check_arrived(wanted, photo)
            write_whole(self.destination / wanted.photo_key, photo)
            job.photo, moved = photo, len(photo)
            self.fetched += 1
        else:
            self.kept += 1
        record, record_moved = await self._record(wanted)
        self._finish(job, _row(wanted, job.before, job.photo, record))
        return moved + record_moved

    def note_failure(self, job: Job, error: StoreError) -> None:
        """Keep what there is of a photo that could not be had, or whose record could not: a row that says so."""
        self.last_failure = error
        self.refused.add(str(error))
        if job.photo is not None:
            self._finish(job, {**_row(job.wanted, job.before, job.photo, None), "problem": str(error)})
            return
        nothing: Row = {
            **dict.fromkeys(SCHEMA.names()),
            "photo_id": job.wanted.photo_id,
            "photo_key": job.wanted.photo_key,
            "items": [],
            "flags": [Flag.NOT_FETCHED.value],
            "problem": str(error),
        }
        self._finish(job, job.before or nothing)

    def _kept_photo(self, wanted: Wanted, before: Row | None) -> bytes | None:
        """The photo's bytes, where they lie in the folder already and are what they should be."""
        path = self.destination / wanted.photo_key
        photo = _read(path)
        if photo is None:
            return None
        known = wanted.row or before or {}
        listed = wanted.size_bytes
        changed_there = before is not None and wanted.row is None and listed not in (None, before["size_bytes"])
        expected = None if changed_there else known.get("sha256")
        if listed in (None, len(photo)) and _agrees(photo, expected):
            return photo
        _log.info("%s: not as it should be, fetched again", path)
        self.repaired += 1
        return None

    async def _record(self, wanted: Wanted) -> tuple[bytes | None, int]:
        """(the record's bytes, None where there is none; how many came from the source)."""
        expected = wanted.row["record_sha256"] if wanted.row else None
        if wanted.row and expected is None:
            return None, 0
        key = abid.record_key(wanted.photo_id)
        record = None if self.refresh or self.began_empty else _read(self.destination / key)
        if record is not None and _agrees(record, expected):
            return record, 0
        try:
            record = await self.source.get(key)
        except ObjectNotFoundError:
            return None, 0
        if not _agrees(record, expected):
            raise StoreError(f"{self.source.url}/{key}: {_OTHER_HASH}")
        write_whole(self.destination / key, record)
        return record, len(record)

    def _finish(self, job: Job, row: Row) -> None:
        flags = row["flags"]
        for flag in INGEST_FLAGS:
            if not isinstance(flags, list) or flag.value not in flags:
                continue
            self.flags[flag] += 1
            examples = self.examples.setdefault(flag, [])
            if len(examples) < _EXAMPLES:
                text = str(row["problem"] or flag.value)
                examples.append(Problem(photo_id=job.wanted.photo_id, flags=(flag,), text=text))
        self.parts.finish_one(job.block, row)


def _agrees(data: bytes, sha256: object) -> bool:
    """Whether `data` has that hash; None: it is not known which it should have."""
    return sha256 is None or hashlib.sha256(data).hexdigest() == sha256


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CannotWriteError(f"{path}: cannot be read ({error.strerror or error}). Check the disk") from error


def _check_arrived(wanted: Wanted, photo: bytes) -> None:
    if wanted.size_bytes not in (None, len(photo)):
        raise StoreError(
            f"{wanted.photo_key}: the source said {wanted.size_bytes} bytes, and {len(photo)} came. Run it again"
        )
    if wanted.row and not _agrees(photo, wanted.row["sha256"]):
        raise StoreError(f"{wanted.photo_key}: {_OTHER_HASH}")


def _row(wanted: Wanted, before: Row | None, photo: bytes, record: bytes | None) -> Row:
    """The photo's row: the source's own, the one it had if nothing changed, or a new one in its old split."""
    if wanted.row is not None:
        return wanted.row
    row, _ = describe(wanted.photo_id, photo, record)
    if before is None:
        return row
    if (row["sha256"], row["record_sha256"]) == (before["sha256"], before["record_sha256"]):
        return before
    return {**row, "group": before["group"], "split": before["split"]}
