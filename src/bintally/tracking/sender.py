"""Sends a run to its store while it trains, in a thread of its own: whatever the store does, training does not wait.

What cannot be sent is said once and tried again now and then, the last time at the end; the folder keeps it all.
"""

import shlex
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bintally.errors import BintallyError
from bintally.tracking.folder import Status, read_contents
from bintally.tracking.journal import Journal
from bintally.tracking.record import Record
from bintally.tracking.send import find_run, missing, send_contents, send_points, send_start
from bintally.tracking.store import LIVE_SECONDS, Store

EVERY_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 600.0
_LAST_SECONDS = 120.0  # for all that is to be sent at the end
_LAST_REQUEST_SECONDS = 20


class Attempts:
    """Tries again what a store refused: after pauses that grow; the first fault is said."""

    def __init__(self, store: Store, what: Path, say: Callable[[str], None], *, is_down: bool = False) -> None:
        self._store, self._what, self._say = store, what, say
        self.failed = self._said = is_down
        self._pause = _FIRST_PAUSE
        self._again_at = time.monotonic() + self._pause if is_down else 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time for another."""
        return time.monotonic() >= self._again_at

    def make(self, send: Callable[[], None], *, is_last: bool = False) -> None:
        """One."""
        try:
            send()
        except Exception as error:  # noqa: BLE001 - recording is never worth a run
            self.failed = True
            self._again_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            if not self._said and not is_last:
                self._said = True
                self._say(said_of(error, self._what, self._store))
        else:
            self.failed, self._pause = False, _FIRST_PAUSE

    def hurry(self) -> None:
        """For the last one: wait a little longer, unless there is little hope."""
        self._store.hurry(LIVE_SECONDS if self.failed else _LAST_REQUEST_SECONDS)


class Sender(threading.Thread):
    """Sends one run.

    Args:
        store: where to.
        run: the run's folder.
        record: the run's.
        journal: its figures.
        say: is told, once, that something cannot be sent.
        is_down: the store could not be reached just now, which was said.
    """

    def __init__(
        self,
        store: Store,
        run: Path,
        record: Record,
        journal: Journal,
        *,
        say: Callable[[str], None],
        is_down: bool = False,
    ) -> None:
        super().__init__(name="tracking", daemon=True)
        self._store, self._run, self._record, self._journal = store, run, record, journal
        self._attempts = Attempts(store, run, say, is_down=is_down)
        self._sent = 0
        self._run_id = ""
        self._wake = threading.Event()
        self._status: Status | None = None  # set at the end
        self.is_whole = False

    def run(self) -> None:
        """Until the end."""
        while self._status is None:
            if self._attempts.is_due:
                self._attempts.make(self._send_new)
            self._wake.wait(EVERY_SECONDS)
            self._wake.clear()
        self._attempts.hurry()
        self._attempts.make(self._send_all, is_last=True)
        self.is_whole = not self._attempts.failed

    def end(self, status: Status) -> None:
        """Try to send everything, for the last time; wait for it, but not for ever."""
        self._status = status
        self._wake.set()
        self.join(_LAST_SECONDS)

    def _send_new(self) -> None:
        if not self._run_id:
            run_id = find_run(self._store, self._record, self._run.name)
            send_start(self._store, run_id, read_contents(self._run, self._record))
            run_again(self._store, run_id)
            points = self._journal.points
            send_points(self._store, run_id, missing(self._store, run_id, points))
            self._run_id, self._sent = run_id, len(points)
        points = self._journal.points
        send_points(self._store, self._run_id, points[self._sent :])
        self._sent = len(points)

    def _send_all(self) -> None:
        contents = read_contents(self._run, self._record)
        self._run_id = self._run_id or find_run(self._store, self._record, self._run.name)
        send_contents(self._store, self._run_id, contents, self._status or Status.FINISHED)


def run_again(store: Store, run_id: str) -> None:
    """A run that goes on runs again."""
    if store.client.get_run(run_id).info.status != Status.RUNNING:
        store.client.update_run(run_id, Status.RUNNING.value)


def said_of(error: Exception, run: Path, store: Store) -> str:
    """What a person is told."""
    reason = str(error) if isinstance(error, BintallyError) else f"{store.uri}: {error!r}"
    return f"{reason}. Training goes on; what is not sent stays in {run}. {remedy(run, store)}"


def remedy(run: Path, store: Store) -> str:
    """How it is sent afterwards."""
    words = ["bintally", "track", str(run), "--tracking-uri", store.uri, "--experiment", store.experiment]
    return f"To send it afterwards: {shlex.join(words)}"
