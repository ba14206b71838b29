"""Runs that belong together, below one of their own: a study and its trials, each sent once it is over.

Refuses to hold up whoever makes them: a thread of its own sends, and tries again what a store refused.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bintally.errors import StoreUnavailableError
from bintally.tracking.folder import Contents, Status, read_contents
from bintally.tracking.record import Origin, Record, new_record, read_record, write_record
from bintally.tracking.send import find_run, send_contents
from bintally.tracking.sender import EVERY_SECONDS, Attempts, run_again
from bintally.tracking.store import Store

_LAST_SECONDS = 300.0  # for all that is to be sent at the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One run of the group that is over.

    Attributes:
        number: its own in the group.
        folder: what is left of it; may be gone.
        status: how it ended.
        params: where the folder does not say them.
        tags: what else is said of it.
        figures: likewise.
    """

    number: int
    folder: Path
    status: Status
    params: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


class GroupSender(threading.Thread):
    """Sends a group.

    Args:
        store: where to.
        folder: the group's; gets `tracking.json`.
        name: what the group is called.
        origin: what its runs are made from.
        say: is told, once, that something cannot be sent.
    """

    def __init__(self, store: Store, folder: Path, name: str, origin: Origin, *, say: Callable[[str], None]) -> None:
        super().__init__(name="tracking", daemon=True)
        self._store, self._folder, self._name, self._say = store, folder, name, say
        self._record = read_record(folder) or new_record(store.uri, store.experiment, origin)
        self._attempts = Attempts(store, folder, say)
        self._members: tuple[Member, ...] = ()
        self._sent: set[int] = set()
        self._parent = ""
        self._end: tuple[Status, Mapping[str, float], tuple[Path, ...]] | None = None
        self._wake = threading.Event()

    def check(self) -> None:
        """See that the store can be used, before anything begins.

        Raises:
            SettingsError: if it cannot be meant.
            StoreError: if it refuses; where it cannot be reached, that is only said.
        """

        def reach() -> None:
            _ = self._store.experiment_id

        try:
            reach()
        except StoreUnavailableError:
            if self._store.database is not None:
                raise
            self._attempts.make(reach)

    def begin(self) -> None:
        """Keep the group's key, and send from here on."""
        write_record(self._record, self._folder)
        self.start()

    def update(self, members: tuple[Member, ...]) -> None:
        """Those that are over by now."""
        self._members = members

    def end(self, status: Status, figures: Mapping[str, float], files: tuple[Path, ...]) -> bool:
        """Send what is left, and the group's own figures and files; says whether all is there."""
        self._end = status, figures, files
        self._wake.set()
        self.join(_LAST_SECONDS)
        return not self.is_alive() and not self._attempts.failed

    def run(self) -> None:
        """Until the end."""
        while self._end is None:
            if self._attempts.is_due:
                self._attempts.make(self._send)
            self._wake.wait(EVERY_SECONDS)
        self._attempts.hurry()
        self._attempts.make(self._send_all, is_last=True)

    def _send(self) -> None:
        if not self._parent:
            tags = {"bintally.group": "study"}
            parent = find_run(self._store, self._record, self._name, tags=tags)
            run_again(self._store, parent)
            self._parent = parent
        for member in self._members:
            if member.number not in self._sent:
                self._send_member(member)
                self._sent.add(member.number)

    def _send_member(self, member: Member) -> None:
        contents = _contents(member, self._record)
        begun = min((point.time_ms for point in contents.points), default=self._record.begun_ms)
        key = f"{self._record.key}-{member.number}"
        record = self._record.model_copy(update={"key": key, "begun_ms": begun})
        run_id = find_run(self._store, record, contents.name, parent=self._parent)
        send_contents(self._store, run_id, contents, member.status)

    def _send_all(self) -> None:
        self._send()
        status, figures, files = self._end or (Status.FINISHED, {}, ())
        contents = Contents(
            name=self._name,
            origin=self._record.origin,
            params={},
            tags={},
            points=[],
            figures=dict(figures),
            files=[(path, "") for path in files if path.is_file()],
            is_finished=True,
        )
        send_contents(self._store, self._parent, contents, status)


def _contents(member: Member, group: Record) -> Contents:
    """What a member's folder says, with what is known of it besides."""
    name = f"trial {member.number}"
    if (member.folder / "settings.toml").is_file():
        held = read_contents(member.folder)
    else:
        held = Contents(
            name=name, origin=group.origin, params={}, tags={}, points=[], figures={}, files=[], is_finished=False
        )
    return replace(
        held,
        name=name,
        origin=group.origin,
        params={**member.params, **held.params},
        tags={**held.tags, **member.tags},
        figures={**held.figures, **member.figures},
    )
