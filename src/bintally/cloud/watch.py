"""A job followed from outside until it ends: its phases, its log, its metrics, as they come.

Nothing here prints or stops a job; what is seen is yielded. What cannot be reached for a while is asked again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bintally.cloud.job_kinds import JobKind
from bintally.cloud.job_state import JobState, Phase, read_state
from bintally.cloud.logs import LogLine, LogTail
from bintally.cloud.metrics import read_line
from bintally.cloud.session import Cloud
from bintally.cloud.waiting import poll
from bintally.errors import CloudAccessError, CloudUnavailableError

EVERY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Epoch:
    """The metrics of one epoch, as the container printed them."""

    metrics: dict[str, float]


Seen = Phase | LogLine | Epoch | JobState
"""What following a job yields; a JobState after every look, the last one when the job has ended."""


def follow(
    cloud: Cloud,
    kind: JobKind,
    name: str,
    *,
    complain: Callable[[str], None],
    logs: bool = True,
    every_seconds: float = EVERY_SECONDS,
) -> Iterator[Seen]:
    """Follow a job to its end; `complain` is told what could not be read, while the job goes on.

    Raises:
        CloudError: if the job is not there, or AWS cannot be reached for long.
    """
    tail = LogTail(cloud, kind.log_group, name) if logs and kind.log_group else None
    told = 0
    for state in poll(
        lambda: read_state(kind, cloud.send(kind.describe(name))), every_seconds=every_seconds, complain=complain
    ):
        yield from state.phases[told:]
        told = max(told, len(state.phases))
        if tail is not None:
            try:
                yield from _lines(tail)
            except CloudAccessError as error:
                tail = None
                complain(f"the log cannot be shown: {error}")
            except CloudUnavailableError as error:
                complain(str(error))
        yield state
        if not state.running:
            return


def _lines(tail: LogTail) -> Iterator[LogLine | Epoch]:
    for line in tail.new_lines():
        metrics = read_line(line.text)
        yield Epoch(metrics) if metrics else line
