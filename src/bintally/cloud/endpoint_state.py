"""What SageMaker says of an endpoint, and the wait until it serves or never will.

Refuses to wait for ever: what is not in service in time is given up, and said to be there still.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bintally.cloud.endpoint import describe_request
from bintally.cloud.logs import LogTail
from bintally.cloud.refusals import failure_reason
from bintally.cloud.session import Cloud
from bintally.cloud.waiting import poll
from bintally.errors import CloudError, JobError

EVERY_SECONDS = 15.0
_CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
_LAST_LINES = 5
_LOG_GROUP = "/aws/sagemaker/Endpoints/"
_STREAMS = "main"  # they begin with the variant's name


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointState:
    """An endpoint at one moment.

    Attributes:
        status: Creating, InService, Updating, RollingBack, Failed, ...
        config: the configuration it serves by.
        reason: why it failed, or why an update was taken back; empty: it was not.
        instances: how many serve; 0 where there are none.
    """

    name: str
    status: str
    config: str
    reason: str
    instances: int
    created: datetime | None

    @property
    def changing(self) -> bool:
        """Whether it is on its way to another status."""
        return self.status in _CHANGING


def read_endpoint(said: Mapping[str, Any]) -> EndpointState:
    """What DescribeEndpoint answered."""
    reason = said.get("FailureReason", "")
    variants = said.get("ProductionVariants") or [{}]
    return EndpointState(
        name=said["EndpointName"],
        status=said["EndpointStatus"],
        config=said.get("EndpointConfigName", ""),
        reason=failure_reason(reason) if reason else "",
        instances=int(variants[0].get("CurrentInstanceCount", 0)),
        created=said.get("CreationTime"),
    )


def wait_in_service(
    cloud: Cloud,
    name: str,
    *,
    config: str,
    max_minutes: float,
    on_state: Callable[[EndpointState], None],
    complain: Callable[[str], None],
) -> EndpointState:
    """Wait until an endpoint serves by a configuration.

    Raises:
        JobError: if it failed, took the update back, or is not there in time; with the reason and its log's last lines.
        CloudError: if AWS cannot be asked for long.
    """
    looks = max(1, round(max_minutes * 60 / EVERY_SECONDS))
    for state in poll(
        lambda: read_endpoint(cloud.send(describe_request(name))), every_seconds=EVERY_SECONDS, complain=complain
    ):
        on_state(state)
        looks -= 1
        if state.status == "InService" and state.config == config:
            return state
        if not state.changing:
            raise JobError(f"{name} did not become healthy ({state.status}): {_why(cloud, state)}")
        if looks <= 0:
            raise JobError(
                f"{name} did not become healthy in {max_minutes:g} minutes (still {state.status}): {_why(cloud, state)}"
            )
    raise AssertionError  # poll asks for ever


def last_lines(cloud: Cloud, endpoint: str) -> list[str]:
    """The last lines that an endpoint's containers printed; none where they cannot be read."""
    tail = LogTail(cloud, f"{_LOG_GROUP}{endpoint}", _STREAMS)
    lines: list[str] = []
    try:
        while new := [line.text for line in tail.new_lines()]:
            lines = [*lines, *new][-_LAST_LINES:]
    except CloudError:
        return []
    return lines


def _why(cloud: Cloud, state: EndpointState) -> str:
    said = state.reason or "SageMaker gave no reason"
    lines = [line for line in last_lines(cloud, state.name) if line.strip()]
    printed = f"; the container's last words: {' | '.join(lines)}" if lines else ""
    return f"{said}{printed}"
