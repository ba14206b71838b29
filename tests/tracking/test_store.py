"""Which store is meant, and what is said of one that cannot be used."""

import os
import sqlite3
import time
from pathlib import Path

import pytest

from bintally.errors import CannotWriteError, SettingsError, StoreUnavailableError
from bintally.tracking.store import LIVE_SECONDS, Store, find_store, load_mlflow


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://host/x",
        "runs",
        "./mlruns",
        "http://",
        "http://host:port",
        "sqlite:///",
        "sqlite://",
        "databricks",
        "htp:/x",
    ],
)
def test_what_is_no_store_is_refused(uri: str) -> None:
    with pytest.raises(SettingsError, match=r"--tracking-uri: expected sqlite:///runs/mlflow.db or http"):
        find_store(uri, beside=Path("runs"))


def test_other_databases_are_named_with_what_to_do_and_without_their_password() -> None:
    with pytest.raises(SettingsError, match="by an `mlflow server` before them") as caught:
        find_store("postgresql://me:secret@host/db", beside=Path("runs"))
    assert "secret" not in str(caught.value)


def test_a_password_in_an_address_is_refused() -> None:
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        find_store("https://me:secret@host", beside=Path("runs"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "a\nb"])
def test_names_of_experiments(name: str) -> None:
    with pytest.raises(SettingsError, match="--experiment: expected a name"):
        find_store(None, name, beside=Path("runs"))


def test_the_default_is_beside_the_runs_unless_the_environment_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_store(None, beside=tmp_path).database == tmp_path / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert find_store(None, beside=tmp_path).uri == "http://127.0.0.1:5000"
    assert find_store("sqlite:///x.db", beside=tmp_path).database == Path("x.db").absolute()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWriteError, match="a file is where a folder is needed"):
        _ = find_store(f"sqlite:///{tmp_path}/file/mlflow.db", beside=tmp_path).experiment_id


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(SettingsError, match="is no SQLite database"):
        _ = find_store(None, beside=tmp_path).experiment_id


def test_a_database_that_another_process_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bintally.tracking.store.LIVE_SECONDS", 0.1)
    held = sqlite3.connect(tmp_path / "mlflow.db")
    held.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailableError, match="database is locked"):
        _ = find_store(None, beside=tmp_path).experiment_id
    held.close()


def test_an_experiment_that_was_deleted(store: Store) -> None:
    store.client.delete_experiment(store.experiment_id)
    again = find_store(store.uri, store.experiment, beside=Path())
    with pytest.raises(SettingsError, match=r"was deleted .* mlflow experiments restore"):
        _ = again.experiment_id


def test_a_server_that_is_down_is_found_out_at_once(closed: str) -> None:
    store = find_store(closed, beside=Path(), seconds=LIVE_SECONDS)
    with pytest.raises(StoreUnavailableError, match=r"cannot be reached, or failed .*refused"):
        _ = store.experiment_id


def test_a_server_that_hangs_is_waited_for_no_longer_than_said(hanging: str) -> None:
    store = find_store(hanging, beside=Path(), seconds=1)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="timed out"):
        _ = store.experiment_id
    assert time.monotonic() - begun < 60, "far less than MLflow's own patience, an hour"


def test_what_the_user_says_of_timeouts_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bintally.tracking.store._set_by_us", set())
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "17")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    load_mlflow(LIVE_SECONDS)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "17"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
