"""A study in PostgreSQL: two workers at once, one that dies, what a server refuses. Skipped where there is none."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.made_up import MadeUp, orders_for

from bintally.errors import StoreAccessError, StoreUnavailableError
from bintally.tuning import storage, trials
from bintally.tuning.storage import find_place, open_storage
from bintally.tuning.study import join_study
from bintally.tuning.trials import Attribute, State, list_trials, requeue_dead
from bintally.tuning.tune import tune

pytest.importorskip("psycopg")


def find_server() -> Path | None:
    """The newest server's programs."""
    if found := shutil.which("pg_ctl"):
        return Path(found).parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


SERVER = find_server()
pytestmark = pytest.mark.skipif(SERVER is None, reason="no PostgreSQL server here")


def as_owner(*command: object) -> list[str]:
    """A server refuses to run as root."""
    words = [str(word) for word in command]
    return ["runuser", "-u", "postgres", "--", *words] if os.geteuid() == 0 else words


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server on loopback with its data in a folder of its own; gives `USER@HOST:PORT`."""
    assert SERVER is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = subprocess.run(as_owner("mktemp", "-d"), cwd="/", capture_output=True, text=True, check=True)
    folder = made.stdout.strip()  # not pytest's own: the server's user may not enter that
    start = [SERVER / "pg_ctl", "-D", folder, "-w", "-t", "120", "-l", f"{folder}/log"]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    try:
        subprocess.run(
            as_owner(SERVER / "initdb", "-D", folder, "-A", "trust", "-U", "ann", "-N"),
            cwd="/",
            stdout=subprocess.DEVNULL,
            check=True,
        )
        subprocess.run(as_owner(*start, "-o", options, "start"), cwd="/", stdout=subprocess.DEVNULL, check=True)
        yield f"ann@127.0.0.1:{port}"
        subprocess.run(as_owner(*start, "-m", "immediate", "stop"), cwd="/", stdout=subprocess.DEVNULL, check=True)
    finally:
        subprocess.run(as_owner("rm", "-rf", folder), cwd="/", check=True)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `studies/` is made."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_workers_share_a_database(server: str, here: Path) -> None:
    orders = orders_for(f"postgresql://{server}/postgres#two", budget=8, workers=2, make_train=MadeUp(seconds=0.1))
    results = tune(orders)
    assert len(results.trials) == 8
    assert {trial.state for trial in results.trials} <= {State.DONE, State.PRUNED}
    assert len({trial.worker for trial in results.trials}) == 2
    assert (here / "studies" / "two" / "report.html").exists()
    assert not (here / "studies" / "two" / "journal.log").exists()
    again = tune(orders)
    assert again.trials == results.trials


def test_a_killed_worker_of_this_machine_is_replaced_at_once(server: str, here: Path) -> None:
    trap = here / "trap"
    trap.touch()
    begun = time.monotonic()
    orders = orders_for(f"postgresql://{server}/postgres#killed", budget=2, make_train=MadeUp(dies_in=trap))
    results = tune(orders)
    assert [trial.state for trial in results.trials] == [State.DONE] * 2
    assert time.monotonic() - begun < 4 * storage.HEARTBEAT_SECONDS, "it did not wait for a heartbeat to fail"


def test_a_worker_elsewhere_is_dead_when_its_heart_is_still(
    server: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_GRACE_SECONDS", 1)
    monkeypatch.setattr(trials, "_UNMARKED_SECONDS", 9e9)
    orders = orders_for(f"postgresql://{server}/postgres#silent")
    there = join_study(orders.place, orders.facts)
    trial = there.ask()
    trial.set_user_attr(Attribute.WORKER, "elsewhere")
    there._storage.record_heartbeat(trial._trial_id)
    requeue_dead(there, lambda _: None)
    assert [each.state for each in list_trials(there)] == [State.RUNNING]
    time.sleep(2.5)
    requeue_dead(there, lambda _: None)
    assert [each.state for each in list_trials(there)] == [State.WAITING]
    assert list_trials(there)[0].number == 0


def test_commands_that_begin_at_once_in_an_empty_database_all_begin(server: str, here: Path) -> None:
    import psycopg

    with psycopg.connect(f"postgresql://{server}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE empty")
    orders = orders_for(f"postgresql://{server}/empty#at-once")
    with ThreadPoolExecutor(6) as pool:
        joined = list(pool.map(lambda _: join_study(orders.place, orders.facts), range(6)))
    joined[0].tell(joined[0].ask(), 1.0)
    assert [len(each.trials) for each in joined] == [1] * 6


def test_what_the_server_refuses_is_said(server: str, here: Path) -> None:
    with pytest.raises(StoreAccessError, match="no such database or user"):
        open_storage(find_place(f"postgresql://{server}/nowhere", name="x"))
    with pytest.raises(StoreAccessError, match="no such database or user"):
        open_storage(find_place(f"postgresql://bob@{server.partition('@')[2]}/postgres", name="x"))


def test_tables_that_are_kept_locked_are_said_to_be(server: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    orders = orders_for(f"postgresql://{server}/postgres#locked")
    join_study(orders.place, orders.facts)
    monkeypatch.setattr(storage, "_LOCK_SECONDS", 1.0)
    with psycopg.connect(f"postgresql://{server}/postgres") as other:
        other.execute("LOCK TABLE studies IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailableError, match="keeps its tables locked"):
            join_study(orders.place, orders.facts)
