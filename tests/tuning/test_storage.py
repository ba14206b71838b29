"""Where a study is kept, and what is said when it cannot be."""

import json
import os
from pathlib import Path

import optuna
import pytest
from filelock import FileLock
from sqlalchemy.exc import OperationalError
from tests.made_up import orders_for

from bintally.errors import (
    BintallyError,
    CannotWriteError,
    SettingsError,
    StoreAccessError,
    StoreError,
    StoreUnavailableError,
)
from bintally.tuning import storage
from bintally.tuning.storage import Journal, find_place, open_storage, translated
from bintally.tuning.study import join_study


def test_a_study_is_a_folder_or_a_database() -> None:
    assert find_place(None, name="a-b").folder == Path("studies/a-b")
    place = find_place("mine/x", name="a-b")
    assert (place.folder, place.url, place.name) == (Path("mine/x"), "", "x")
    place = find_place("postgresql://ann@host:5433/db", name="a-b")
    assert (place.folder, place.name) == (Path("studies/a-b"), "a-b")
    assert place.url == "postgresql+psycopg://ann@host:5433/db"
    place = find_place("postgres://host/db?sslmode=require#night", name="a-b")
    assert (place.folder, place.name) == (Path("studies/night"), "night")
    assert place.url == "postgresql+psycopg://host/db?sslmode=require"


@pytest.mark.parametrize(
    ("study", "said"),
    [
        ("mysql://host/db", "a folder or postgresql://HOST/DATABASE"),
        ("s3://bucket/study", "a folder or postgresql://HOST/DATABASE"),
        ("postgresql://host", "a folder or postgresql://HOST/DATABASE"),
        ("postgresql://ann:hush@host/db", "PGPASSWORD"),
        ("postgresql://host/db?password=hush", "PGPASSWORD"),
        ("mysql://ann:hush@host/db", "got 'mysql://host/db'"),
        ("postgresql://host/db#../x", "cannot be a study's name"),
        ("postgresql://host/db#..", "cannot be a study's name"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_and_no_password_repeated(study: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        find_place(study, name="x")
    assert said in str(caught.value)
    assert "hush" not in str(caught.value)


def test_half_a_line_is_cut_off_and_nothing_else_is_lost(tmp_path: Path) -> None:
    orders = orders_for(tmp_path / "s")
    study = join_study(orders.place, orders.facts)
    study.tell(study.ask(), 1.5)
    journal = tmp_path / "s" / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"wor')
    again = join_study(orders.place, orders.facts)
    again.tell(again.ask(), 0.5)
    assert journal.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in journal.read_text().splitlines())
    assert [trial.value for trial in join_study(orders.place, orders.facts).trials] == [1.5, 0.5]
    study.tell(study.ask(), 0.1)
    assert [trial.value for trial in study.trials] == [1.5, 0.5, 0.1], "who had it open goes on, too"


def test_a_journal_that_is_kept_locked_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_LOCK_SECONDS", 0.1)
    orders = orders_for(tmp_path / "s")
    join_study(orders.place, orders.facts)
    with FileLock(tmp_path / "s" / "journal.log.lock"):  # as another process would hold it
        journal = Journal(tmp_path / "s" / "journal.log")
        with pytest.raises(StoreUnavailableError, match=r"another process has kept it locked .*\(fuser"):
            journal.append_logs([{}])
    journal.append_logs([])


def test_a_lock_that_a_killed_process_left_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_LOCK_SECONDS", 0.1)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "journal.log.lock").touch()
    orders = orders_for(tmp_path / "s")
    assert join_study(orders.place, orders.facts).trials == []


@pytest.mark.parametrize(
    "text", ["what is this?\nx\n", "nonsense\n", '{"a": 1}\n', "[1]\n", '{"op_code": 99, "worker_id": "x"}\n', "{}\n"]
)
def test_another_file_in_the_journals_place_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "journal.log").write_text(text)
    with pytest.raises(StoreError, match=r"not a study's journal, or damaged .* --study"):
        open_storage(find_place(str(tmp_path), name="x"))
    assert (tmp_path / "journal.log").read_text() == text


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.parquet").touch()
    with pytest.raises(SettingsError, match=r"holds 'manifest\.parquet', so it is no study's folder"):
        open_storage(find_place(str(tmp_path), name="x"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.parquet"]


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").touch()
    with pytest.raises(CannotWriteError, match="a file is where a folder is needed"):
        open_storage(find_place(str(tmp_path / "s"), name="x"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CannotWriteError):
        open_storage(find_place(str(tmp_path / "s"), name="x"))


def test_a_journals_folder_is_no_place_for_a_databases_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    orders = orders_for("studies/night")
    join_study(orders.place, orders.facts)
    with pytest.raises(SettingsError, match="name this one otherwise: postgresql://127"):
        open_storage(find_place("postgresql://127.0.0.1:1/db#night", name="x"))


def test_a_database_that_cannot_be_reached_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreUnavailableError, match=r"the database cannot be reached .*127\.0\.0\.1"):
        open_storage(find_place("postgresql://127.0.0.1:1/db", name="x"))


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ('FATAL: password authentication failed for user "ann"', StoreAccessError, "PGPASSWORD"),
        ("fe_sendauth: no password supplied", StoreAccessError, "PGPASSWORD"),
        ('FATAL: database "db" does not exist', StoreAccessError, "no such database"),
        ("permission denied for schema public", StoreAccessError, "allowed to create tables"),
        ("canceling statement due to lock timeout", StoreUnavailableError, "keeps its tables locked"),
        ("cannot execute INSERT in a read-only transaction", StoreAccessError, "takes no writing"),
        ("server closed the connection unexpectedly", StoreUnavailableError, "Run it again when it can"),
    ],
)
def test_what_a_database_says_becomes_a_sentence(text: str, kind: type[BintallyError], said: str) -> None:
    place = find_place("postgresql://ann@host/db", name="x")
    with pytest.raises(kind, match=said), translated(place):
        raise OperationalError("SELECT 1", {}, Exception(text))
    with pytest.raises(kind, match=said), translated(place):
        raise optuna.exceptions.StorageInternalError("internal") from OperationalError("SELECT 1", {}, Exception(text))


def test_our_own_faults_are_not_the_storages() -> None:
    with pytest.raises(ZeroDivisionError), translated(find_place(None, name="x")):
        raise ZeroDivisionError
