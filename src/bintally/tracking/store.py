"""Where runs are recorded: an SQLite file, or a tracking server by URL; reached within bounded time.

The one place that imports MLflow, with its telemetry switched off, and where its errors become ours.
Refuses other databases (put `mlflow server` before them) and passwords in addresses.
"""

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bintally.data.files import cannot_write
from bintally.errors import (
    BintallyError,
    SettingsError,
    StoreAccessError,
    StoreError,
    StoreUnavailableError,
)

DEFAULT_EXPERIMENT = "bintally"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
FILE_NAME, ARTEFACTS_NAME = "mlflow.db", "mlflow-artifacts"
LIVE_SECONDS, PATIENT_SECONDS = 5, 60
_SQLITE = "sqlite:///"
_LONGEST_NAME = 200
_EXAMPLES = f"{_SQLITE}runs/{FILE_NAME} or http://127.0.0.1:5000"
_set_by_us: set[str] = set()
_NO_SERVER = {"ENDPOINT_NOT_FOUND", "INVALID_PARAMETER_VALUE", "BAD_REQUEST"}
_REFUSALS = {"PERMISSION_DENIED", "UNAUTHENTICATED"}


@dataclass(slots=True)
class Store:
    """A place for runs, and the experiment they belong to.

    Attributes:
        uri: `sqlite:///FILE` or `http(s)://...`, checked.
        experiment: its name.
        seconds: that one request to a server may take.
    """

    uri: str
    experiment: str = DEFAULT_EXPERIMENT
    seconds: int = PATIENT_SECONDS
    _client: Any = field(default=None, repr=False)
    _experiment_id: str = field(default="", repr=False)

    @property
    def database(self) -> Path | None:
        """The SQLite file; None: a server."""
        return Path(self.uri.removeprefix(_SQLITE)) if self.uri.startswith(_SQLITE) else None

    @property
    def client(self) -> Any:
        """MLflow's client; nothing is asked of a server yet.

        Raises:
            BintallyError: if an SQLite file cannot be made or read.
        """
        if self._client is None:
            client_of = load_mlflow(self.seconds)
            if self.database is not None:
                _check_database(self.database)
            with translated(self.uri):
                self._client = client_of(self.uri, self.uri)
        return self._client

    @property
    def experiment_id(self) -> str:
        """The experiment's number; it is made where it is missing.

        Raises:
            SettingsError: if it was deleted, or no MLflow server answers there.
            StoreError: if the store refuses or cannot be reached.
        """
        if not self._experiment_id:
            client = self.client
            with translated(self.uri):
                found = client.get_experiment_by_name(self.experiment) or self._make_experiment()
            if found.lifecycle_stage != "active":
                raise SettingsError(
                    f"experiment {self.experiment!r} was deleted from {self.uri}; choose another --experiment, or "
                    f"restore it: mlflow experiments restore --experiment-id {found.experiment_id}"
                )
            self._experiment_id = str(found.experiment_id)
        return self._experiment_id

    def _make_experiment(self) -> Any:
        place = None if self.database is None else (self.database.parent / ARTEFACTS_NAME).as_uri()
        try:
            self.client.create_experiment(self.experiment, artifact_location=place)
        except Exception:
            if (found := self.client.get_experiment_by_name(self.experiment)) is None:
                raise
            return found  # another process was quicker
        return self.client.get_experiment_by_name(self.experiment)

    def hurry(self, seconds: int) -> None:
        """From here on a request may take so long."""
        self.seconds = seconds
        _bound(seconds)


def find_store(
    uri: str | None, experiment: str = DEFAULT_EXPERIMENT, *, beside: Path, seconds: int = PATIENT_SECONDS
) -> Store:
    """The store that is meant. Nothing is asked of it yet.

    Args:
        uri: as the command has it; None: `$MLFLOW_TRACKING_URI`, else an SQLite file in `beside`.
        experiment: its name.
        beside: the folder of the runs' folders.
        seconds: that one request may take.

    Raises:
        SettingsError: if it is no address of a store, or no name of an experiment.

    >>> find_store("http://127.0.0.1:5000/", beside=Path("runs")).uri
    'http://127.0.0.1:5000'
    >>> find_store("ftp://x", beside=Path("runs"))
    Traceback (most recent call last):
    bintally.errors.SettingsError: --tracking-uri: expected sqlite:///runs/mlflow.db or http://127.0.0.1:5000, got 'ftp://x'
    """
    if not experiment.strip() or len(experiment) > _LONGEST_NAME or not experiment.isprintable():
        raise SettingsError(f"--experiment: expected a name of 1 to {_LONGEST_NAME} characters, got {experiment!r}")
    wanted = uri or os.environ.get(URI_VARIABLE) or f"{_SQLITE}{beside / FILE_NAME}"
    return Store(_check_uri(wanted), experiment, seconds)


def _check_uri(uri: str) -> str:
    if uri.startswith(_SQLITE) and len(uri) > len(_SQLITE):
        return f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).absolute()}"
    try:
        parts = urlsplit(uri)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        beyond = " (other databases: by an `mlflow server` before them)" if "sql" in uri.partition(":")[0] else ""
        raise SettingsError(f"--tracking-uri: expected {_EXAMPLES}, got {_shown(uri)!r}{beyond}")
    if parts.username or parts.password:
        raise SettingsError(
            "--tracking-uri: expected an address without a password; it belongs into MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    return uri.rstrip("/")


def _shown(uri: str) -> str:
    """Without what may be a password.

    >>> _shown("postgresql://me:secret@host/db")
    'postgresql://***@host/db'
    """
    return re.sub(r"//[^/@]*@", "//***@", uri)


def load_mlflow(seconds: int) -> Any:
    """MLflow's client class; imported here, so that nothing else of it runs before its telemetry is off.

    Raises:
        ModuleNotFoundError: if MLflow is not installed.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    _bound(seconds)
    from mlflow import MlflowClient  # noqa: PLC0415 - as the docstring says

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient


def _bound(seconds: int) -> None:
    """How long a request may take and how often it is tried, unless the user has said so."""
    tries = 0 if seconds <= LIVE_SECONDS else 1
    for name, value in (("TIMEOUT", seconds), ("MAX_RETRIES", tries), ("BACKOFF_FACTOR", 1)):
        variable = f"MLFLOW_HTTP_REQUEST_{name}"
        if variable not in os.environ or variable in _set_by_us:
            os.environ[variable] = str(value)
            _set_by_us.add(variable)


def _check_database(path: Path) -> None:
    """Make the file, or see that it can be written; MLflow would say so in a traceback, or try for minutes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
        with sqlite3.connect(path, timeout=LIVE_SECONDS) as database:
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
        database.close()
    except OSError as error:
        raise cannot_write(path, error) from error
    except sqlite3.OperationalError as error:
        raise StoreUnavailableError(
            f"{path}: cannot be used now ({error}); try again, or another --tracking-uri"
        ) from error
    except sqlite3.DatabaseError as error:
        raise SettingsError(f"--tracking-uri: {path} is no SQLite database ({error}); choose another file") from error


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """What MLflow, its database or the network raises in here, as an error of ours.

    Raises:
        SettingsError: if what was asked cannot be meant.
        StoreError: if the store refuses or cannot be reached.
    """
    try:
        yield
    except BintallyError:
        raise
    except Exception as error:  # MLflow lets through whatever its database, disk and HTTP libraries raise
        raise _ours(error, uri) from error


def _ours(error: Exception, uri: str) -> BintallyError:
    said = _first_line(error)
    code = str(getattr(error, "error_code", ""))
    if code in _REFUSALS:
        return StoreAccessError(
            f"{uri}: refused ({said}). Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN"
        )
    if "out-of-date database schema" in str(error):
        return SettingsError(f"{uri}: made by an older MLflow; after a backup: mlflow db upgrade {uri}")
    if code in _NO_SERVER:
        return SettingsError(f"{uri}: does not answer as an MLflow server does ({said}); check --tracking-uri")
    if code == "RESOURCE_DOES_NOT_EXIST":
        return StoreError(f"{uri}: {said}")
    return StoreUnavailableError(f"{uri}: cannot be reached, or failed ({said})")


def _first_line(error: Exception) -> str:
    """Of what it says, short; of a network's fault the reason at its end.

    >>> _first_line(ValueError("API request failed: Max retries exceeded with url: /x (Caused by E('refused'))"))
    "E('refused')"
    """
    text = (str(error).splitlines() or [""])[0] or type(error).__name__
    if (cause := re.search(r"\(Caused by (.*)\)$", text)) is not None:
        text = re.sub(r"HTTPS?Connection(Pool)?\([^)]*\)[:,] ", "", cause[1])
    return text[:200]
