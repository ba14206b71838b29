"""What the parts of the stand-in share: an answer that refuses, a job, a page of a list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

ACCOUNT = "123456789012"
REGION = "us-east-1"
ENDED = ("Completed", "Failed", "Stopped", "MaxRuntimeExceeded", "MaxWaitTimeExceeded")
PAGE = 10


class Refused(Exception):  # noqa: N818 - what AWS answers, no error of the stand-in's
    """AWS's answer is an error; `more` stands beside its code and message."""

    def __init__(self, code: str, message: str, status: int = 400, **more: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.more = code, message, status, more


@dataclass
class Job:
    """A job and how it will live."""

    request: dict[str, Any]
    arn: str
    created: datetime
    life: list[str]
    failure: str = ""
    past: list[tuple[str, datetime]] = field(default_factory=list)
    stopping: bool = False


def page(rows: Sequence[Any], key: str, said: Mapping[str, Any]) -> dict[str, Any]:
    start = int(said.get("NextToken", "0"))
    some = list(rows[start : start + said.get("MaxResults", PAGE)])
    more = {"NextToken": str(start + len(some))} if start + len(some) < len(rows) else {}
    return {key: some, **more}


def no_quota(what: str, limit: int, asked: int) -> Refused:
    return Refused(
        "ResourceLimitExceeded",
        f"The account-level service limit '{what}' is {limit} Instances, with current utilization of 0 Instances and a "
        f"request delta of {asked} Instances. Please use AWS Service Quotas to request an increase for this quota.",
    )
