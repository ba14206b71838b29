"""A server as a process of its own, on loopback, on a port that was free."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import httpx

T = TypeVar("T")
PATIENCE_SECONDS = 60  # far more than anything here takes, for a machine that does other work
BINTALLY = [str(Path(sys.executable).parent / "bintally"), "serve", "--port", "0"]
GATED = [sys.executable, str(Path(__file__).with_name("gated_server.py"))]
CONTAINER = [sys.executable, "-m", "bintally.serving.container", "serve", "--host", "127.0.0.1"]


class ServerProcess:
    """Started on entry, ended on exit; it must have said where it listens."""

    def __init__(
        self, command: Sequence[object], folder: Path, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = [str(word) for word in command]
        self._out, self._err = folder / "stdout", folder / "stderr"
        self._environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **(environment or {})}

    def __enter__(self) -> "ServerProcess":
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(self._command, stdout=out, stderr=err, env=self._environment)
        self.port = int(self.said(r"listening on http://127\.0\.0\.1:(\d+)"))
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=PATIENCE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "client"):
            self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def stderr(self) -> str:
        return self._err.read_text()

    def said(self, pattern: str) -> str:
        """Wait for something on standard error; the pattern's first group."""
        return wait_for(lambda: (found := re.search(pattern, self.stderr)) and found[1], self._alive)

    def ready(self) -> "ServerProcess":
        """Wait until /ping says so."""
        wait_for(lambda: self.client.get("/ping").status_code == 200, self._alive)
        return self

    def lines(self, path: str, count: int) -> list[dict[str, object]]:
        """Wait for so many requests of a path in the log."""

        def found() -> list[dict[str, object]]:
            lines = [json.loads(line) for line in self._out.read_text().splitlines()]
            return [line for line in lines if line["path"] == path]

        wait_for(lambda: len(found()) >= count, self._alive)
        return found()

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def _alive(self) -> None:
        assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.stderr}"


def wait_for(condition: Callable[[], T], check: Callable[[], None] = lambda: None) -> T:
    """What `condition` gives, once it gives something."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if found := condition():
            return found
        check()
        time.sleep(0.01)
    raise AssertionError("waited in vain")
