"""What a job's containers print, read from CloudWatch Logs as it comes: each line once, in each instance's order."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.errors import NotInCloudError

_PAGES_AT_ONCE = 20  # of each stream; the rest comes with the next look
_LONGEST_LINE = 2000  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line.

    Attributes:
        host: the instance, as SageMaker calls it: `algo-1`.
        milliseconds: since 1970.
    """

    host: str
    milliseconds: int
    text: str


@dataclass
class LogTail:
    """Reads on where it read before.

    Args:
        group: the log group.
        job: the job's name, with which its streams begin.
    """

    cloud: Cloud
    group: str
    job: str
    _tokens: dict[str, str] = field(default_factory=dict)

    def new_lines(self) -> Iterator[LogLine]:
        """All that came since the last time; nothing, while there is no log.

        Raises:
            CloudError: if the log cannot be read.
        """
        try:
            streams = list(
                self.cloud.pages(log_streams(self.group, self.job), items="logStreams", following="nextToken")
            )
        except NotInCloudError:
            return
        for stream in streams:
            yield from self._read(stream["logStreamName"])

    def _read(self, stream: str) -> Iterator[LogLine]:
        host = stream.removeprefix(f"{self.job}/").rpartition("-")[0] or stream
        for _ in range(_PAGES_AT_ONCE):
            token = self._tokens.get(stream)
            parameters = {"logGroupName": self.group, "logStreamName": stream, "startFromHead": True}
            if token:
                parameters["nextToken"] = token
            answer = self.cloud.send(Request(service="logs", operation="GetLogEvents", parameters=parameters))
            for event in answer.get("events", ()):
                text = _printable(event.get("message", ""))
                yield LogLine(host=host, milliseconds=event.get("timestamp", 0), text=text)
            following = answer.get("nextForwardToken", token)
            if following == token or not following:  # CloudWatch's way to say that there is no more
                return
            self._tokens[stream] = following


def log_streams(group: str, job: str) -> Request:
    """Asks for the streams of a job's instances."""
    return Request(
        service="logs",
        operation="DescribeLogStreams",
        parameters={"logGroupName": group, "logStreamNamePrefix": f"{job}/"},
    )


def _printable(text: str) -> str:
    r"""A line without what would move a terminal's cursor; of a progress bar, its last state.

    >>> _printable("10%\r20%\x1b[31m red\n")
    '20% red'
    """
    last = text.rstrip("\r\n").rpartition("\r")[2][:_LONGEST_LINE]
    plain = ""
    rest = last
    while rest:
        before, escape, rest = rest.partition("\x1b[")
        plain += before
        if escape:
            rest = rest.lstrip("0123456789;?")[1:]
    return "".join(each for each in plain if each.isprintable() or each == "\t")
