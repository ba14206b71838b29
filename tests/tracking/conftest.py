"""One SQLite store for all of them: MLflow takes seconds to make one. Each test has an experiment of its own."""

import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bintally.tracking.store import Store, find_store


class Server:
    """MLflow's own server in this process, before the tests' SQLite store; it can die and come back."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._stop: Callable[[], None] | None = None

    def start(self) -> None:
        from mlflow.server import app
        from werkzeug.serving import make_server

        server = make_server("127.0.0.1", self._port, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()

        def stop() -> None:
            server.shutdown()
            thread.join()
            server.server_close()

        self._stop = stop

    def die(self) -> None:
        if self._stop is not None:
            self._stop()
            self._stop = None


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The store's address."""
    store = find_store(None, beside=tmp_path_factory.mktemp("store"))
    _ = store.experiment_id
    return store.uri


@pytest.fixture(autouse=True)
def no_store_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have one of their own."""
    for name in ("URI", "USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


@pytest.fixture
def store(database: str) -> Store:
    """An experiment that is empty."""
    return find_store(database, uuid.uuid4().hex, beside=Path())


@pytest.fixture
def server(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that runs."""
    monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", database)
    monkeypatch.setenv("_MLFLOW_SERVER_REGISTRY_STORE", database)
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", "mlflow-artifacts:/")
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", (tmp_path / "artefacts").as_uri())
    monkeypatch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
    running = Server()
    running.start()
    yield running
    running.die()


@pytest.fixture
def hanging() -> Iterator[str]:
    """The address of a server that takes calls and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return f"http://127.0.0.1:{port}"
