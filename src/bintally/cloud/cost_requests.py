"""What Cost Explorer is asked: what a project cost by day, and what the month's rest may cost. Pure functions.

Refuses periods that Cost Explorer has no days of. Credits and refunds are left out, so that free months do not look
as if nothing had been used; taxes belong to no service and are not in it either.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from bintally.cloud.names import KIND_TAG, PROJECT_TAG
from bintally.cloud.project import Project
from bintally.cloud.requests import Request
from bintally.errors import SettingsError

PRICE_PER_REQUEST_USD = 0.01
"""What AWS takes for each page of an answer, forecasts too: https://aws.amazon.com/aws-cost-management/pricing/."""

SERVICES = (
    "Amazon SageMaker",
    "Amazon Simple Storage Service",
    "Amazon EC2 Container Registry (ECR)",
    "AmazonCloudWatch",
)
"""What a project's costs consist of, as bills call it."""

_DAYS_KEPT = 396  # 13 months: what Cost Explorer has of days
_NOT_COUNTED = ("Credit", "Refund")


class By(StrEnum):
    """What each service's cost is divided by, besides days."""

    USAGE = "usage"  # AWS's usage types: USE1-Train:ml.g4dn.xlarge
    KIND = "kind"  # the tag bintally:kind: train, prepare, endpoint, ...
    PROJECT = "project"  # the tag bintally:project: all projects of the account, and what has no such tag


class Scope(StrEnum):
    """Whose costs they are."""

    TAG = "tag"  # of what bears the project's tag
    SERVICES = "services"  # of the whole account's services in the project's region


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Days, from `start` to the day before `end`."""

    start: date
    end: date

    def __post_init__(self) -> None:
        """Refuse a period without a day."""
        if self.start >= self.end:
            raise SettingsError(f"--since {self.start}: expected a day before {self.end}")

    @property
    def days(self) -> tuple[date, ...]:
        """All of them."""
        return tuple(self.start + timedelta(days=n) for n in range((self.end - self.start).days))

    @property
    def last(self) -> date:
        """The last day."""
        return self.end - timedelta(days=1)


def period(today: date, *, days: int, since: date | None = None, until: date | None = None) -> Period:
    """The days that are asked for; without `since` and `until` the last `days`, today among them.

    Raises:
        SettingsError: if they lie where Cost Explorer has none.

    >>> asked = period(date(2026, 2, 3), days=2)
    >>> asked.start.isoformat(), asked.last.isoformat()
    ('2026-02-02', '2026-02-03')
    """
    last = until or today
    if last > today:
        raise SettingsError(f"--until {last}: expected today, {today}, or an earlier day; --forecast looks ahead")
    asked = Period(start=since or last - timedelta(days=days - 1), end=last + timedelta(days=1))
    if asked.start < today - timedelta(days=_DAYS_KEPT):
        oldest = today - timedelta(days=_DAYS_KEPT)
        raise SettingsError(f"--since {asked.start}: expected {oldest} or later: Cost Explorer keeps 13 months")
    return asked


def usage_request(project: Project, asked: Period, *, by: By, scope: Scope) -> Request:
    """Asks what each service cost on each day, divided by `by`; its answer comes in pages."""
    second = {
        By.USAGE: {"Type": "DIMENSION", "Key": "USAGE_TYPE"},
        By.KIND: {"Type": "TAG", "Key": KIND_TAG},
        By.PROJECT: {"Type": "TAG", "Key": PROJECT_TAG},
    }[by]
    parameters = {
        "TimePeriod": _between(asked.start, asked.end),
        "Granularity": "DAILY",
        "Metrics": ["UnblendedCost"],
        "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}, second],
        "Filter": _filter(project, scope),
    }
    return Request(service="ce", operation="GetCostAndUsage", parameters=parameters)


def forecast_request(project: Project, today: date, *, scope: Scope) -> Request:
    """Asks what the days from today to the month's end may cost."""
    parameters = {
        "TimePeriod": _between(today, month_end(today)),
        "Granularity": "DAILY",
        "Metric": "UNBLENDED_COST",
        "Filter": _filter(project, scope),
    }
    return Request(service="ce", operation="GetCostForecast", parameters=parameters)


def month_end(day: date) -> date:
    """The first day of the month after.

    >>> month_end(date(2026, 12, 31)).isoformat()
    '2027-01-01'
    """
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1)


def _between(start: date, end: date) -> dict[str, str]:
    return {"Start": start.isoformat(), "End": end.isoformat()}


def _filter(project: Project, scope: Scope) -> dict[str, Any]:
    counted = {"Not": {"Dimensions": {"Key": "RECORD_TYPE", "Values": list(_NOT_COUNTED)}}}
    if scope is Scope.TAG:
        return {"And": [{"Tags": {"Key": PROJECT_TAG, "Values": [project.project]}}, counted]}
    services = {"Dimensions": {"Key": "SERVICE", "Values": list(SERVICES)}}
    region = {"Dimensions": {"Key": "REGION", "Values": [project.region]}}
    return {"And": [services, region, counted]}
