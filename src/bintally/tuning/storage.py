"""Where a study is kept: a journal file in the study's folder, or a PostgreSQL database; several processes at once.

The journal is Optuna's, but for two things: its lock is the kernel's, so that a killed process leaves none behind, and
half a line that a full disk or a killed process left is cut off. Refuses passwords in addresses.
"""

import json
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from bintally.data.files import cannot_write
from bintally.errors import (
    BintallyError,
    MissingExtraError,
    SettingsError,
    StoreAccessError,
    StoreError,
    StoreUnavailableError,
)

OnStale = Callable[[optuna.Study, FrozenTrial], None]
JOURNAL_NAME = "journal.log"
HEARTBEAT_SECONDS = 15  # a worker elsewhere that was silent for four of these is dead
_GRACE_SECONDS = 4 * HEARTBEAT_SECONDS
_LOCK_SECONDS = 30.0  # a journal's lock is held for milliseconds
_ATTEMPTS, _PAUSE_SECONDS = 5, 0.5
_RESULTS = {"best.toml", "trials.csv", "report.html", "tracking.json"}
_ITS_OWN = {JOURNAL_NAME, f"{JOURNAL_NAME}.lock", "trials", "workers", *_RESULTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a study is.

    Attributes:
        folder: its runs, results and, without a database, its journal.
        url: the database; empty: the journal in the folder.
        name: what the study is called in the database.
    """

    folder: Path
    url: str
    name: str

    @property
    def address(self) -> str:
        """The database's, as a user writes it."""
        return self.url.replace("+psycopg", "", 1)

    def __str__(self) -> str:
        return f"study {self.name!r} at {self.address}" if self.url else f"study {self.folder}"


def find_place(study: str | None, *, name: str) -> Place:
    """A folder, or `postgresql://HOST/DATABASE#NAME`, whose runs lie in `studies/NAME`.

    Args:
        study: as the command has it; None: `studies/NAME`.
        name: what a study is called that is not given a name.

    Raises:
        SettingsError: if it is an address of something else, or holds a password.

    >>> find_place(None, name="smallcnn-default").folder.as_posix()
    'studies/smallcnn-default'
    """
    if study is None:
        return Place(folder=Path("studies") / name, url="", name=name)
    if "://" not in study:
        return Place(folder=Path(study), url="", name=Path(study).name)
    url, _, fragment = study.partition("#")
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise SettingsError(f"--study: expected a folder or postgresql://HOST/DATABASE, got {_safe(url)!r}")
    if parts.password is not None or "password=" in parts.query:
        raise SettingsError(
            "--study: an address with a password is seen by everyone on the machine; "
            "put it into PGPASSWORD or ~/.pgpass, and leave it out of the address"
        )
    called = fragment or name
    if not re.fullmatch(r"[\w.-]+", called) or called.strip(".") == "":
        raise SettingsError(f"--study: {called!r} cannot be a study's name; letters, digits, '-', '_' and '.' can")
    return Place(folder=Path("studies") / called, url=f"postgresql+psycopg{url[len(parts.scheme) :]}", name=called)


def _safe(url: str) -> str:
    return re.sub(r"://[^/@]*@", "://", url)


def open_storage(place: Place, *, on_stale: OnStale | None = None) -> BaseStorage:
    """The study's storage, made where there is none.

    Args:
        place: where it is.
        on_stale: is given a trial of a database whose worker's heartbeat ceased, once it is set to failed.

    Raises:
        CannotWriteError: if the folder cannot be written.
        MissingExtraError: if the database's driver is not installed.
        SettingsError: if the folder is something else's.
        StoreError: if it is locked, damaged, or cannot be reached.
    """
    try:
        found = {path.name for path in place.folder.iterdir()} if place.folder.exists() else set()
        place.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(place.folder, error) from error
    if strange := sorted(each for each in found - _ITS_OWN if not each.startswith(".")):
        raise SettingsError(f"{place.folder}: holds {strange[0]!r}, so it is no study's folder; choose another --study")
    if place.url and JOURNAL_NAME in found:
        raise SettingsError(
            f"{place.folder}: holds a study with a journal; name this one otherwise: {place.address}#NAME"
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with translated(place):
        return _database(place, on_stale) if place.url else _journal(place.folder / JOURNAL_NAME)


def _journal(path: Path) -> JournalStorage:
    try:
        storage = JournalStorage(Journal(path))
        _check_end(path)
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise StoreError(
            f"{path}: not a study's journal, or damaged ({type(error).__name__}: {error}). Choose another --study, or "
            "move it away"
        ) from error
    return storage


def _check_end(path: Path) -> None:
    """Optuna looks at the last line only once another follows it.

    Raises:
        ValueError: if it is no entry.
    """
    lines = path.read_bytes().split(b"\n")[:-1]
    if lines and "op_code" not in json.loads(lines[-1]):
        raise ValueError("the last line is no entry")


def _database(place: Place, on_stale: OnStale | None) -> RDBStorage:
    if find_spec("psycopg") is None:
        raise MissingExtraError("postgres", needed_for="a study in PostgreSQL")
    for _ in range(_ATTEMPTS):
        try:
            return _connected(place, on_stale)
        except Exception as error:
            if not (_is_database_error(error) and re.search("already exists|duplicate key", str(error))):
                raise
        time.sleep(_PAUSE_SECONDS)  # another process is just making the tables
    return _connected(place, on_stale)


def _connected(place: Place, on_stale: OnStale | None) -> RDBStorage:
    options = f"-c lock_timeout={_LOCK_SECONDS:.0f}s"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats
        return RDBStorage(
            place.url,
            engine_kwargs={"pool_pre_ping": True, "connect_args": {"connect_timeout": 10, "options": options}},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=_GRACE_SECONDS,
            heartbeat_stale_trial_callback=on_stale,
        )


class Journal(JournalFileBackend):
    """A journal file under the kernel's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kernel_lock = FileLock(f"{path}.lock")
        super().__init__(str(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add lines, after cutting off what is no whole line.

        Raises:
            StoreUnavailableError: if another process keeps the lock.
        """
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        try:
            self._kernel_lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout as error:
            raise StoreUnavailableError(
                f"{self._path}: another process has kept it locked for {_LOCK_SECONDS:.0f} seconds; "
                f"find it (fuser {self._path}.lock) and end it, then run the same command again"
            ) from error
        try:
            with self._path.open("r+b") as file:
                end = _cut(file.seek(0, os.SEEK_END), self._path)
                file.truncate(end)
                file.seek(end)
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        finally:
            self._kernel_lock.release()


def _cut(size: int, path: Path) -> int:
    """Where the last whole line of a file of that size ends."""
    if size == 0:
        return 0
    with path.open("rb") as file:
        file.seek(size - 1)
        if file.read() == b"\n":
            return size
        file.seek(0)
        return file.read().rfind(b"\n") + 1


@contextmanager
def translated(place: Place) -> Iterator[None]:
    """What a disk or a database says becomes a sentence.

    Raises:
        StoreError: or what is below it.
    """
    try:
        yield
    except BintallyError:
        raise
    except OSError as error:
        raise cannot_write(place.folder, error) from error
    except optuna.exceptions.StorageInternalError as error:
        raise _database_error(place, error.__cause__ or error) from error
    except Exception as error:
        if not _is_database_error(error):
            raise
        raise _database_error(place, error) from error


def _is_database_error(error: BaseException) -> bool:
    """Whether SQLAlchemy raised it; where no database was used, it is not even imported."""
    module = sys.modules.get("sqlalchemy.exc")
    return module is not None and isinstance(error, module.SQLAlchemyError)


_SAID: Mapping[str, tuple[type[StoreError], str]] = {
    "authentication failed": (StoreAccessError, "the server refused the password: check PGPASSWORD or ~/.pgpass"),
    "no password supplied": (StoreAccessError, "the server wants a password: set PGPASSWORD, or use ~/.pgpass"),
    "permission denied": (StoreAccessError, "this user may not do that there: have it allowed to create tables"),
    "does not exist": (StoreAccessError, "no such database or user: check the address"),
    "lock timeout": (StoreUnavailableError, "something else keeps its tables locked: end that, then run it again"),
    "read-only": (StoreAccessError, "the database takes no writing: choose another"),
}


def _database_error(place: Place, error: BaseException) -> StoreError:
    text = " ".join(str(error).split())
    for said, (kind, meaning) in _SAID.items():
        if said in text:
            return kind(f"{place}: {meaning}")
    first = text.partition("(Background")[0].partition("[SQL")[0].strip()[:300]
    return StoreUnavailableError(f"{place}: the database cannot be reached ({first}). Run it again when it can")
