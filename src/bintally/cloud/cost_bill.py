"""What Cost Explorer answered, as rows: a day, a service, a part of it, an amount in a currency.

Refuses to add up different currencies, to take an unfinished day for a finished one, and to ask without end. Where
nothing bears the project's tag, the services of the whole account are taken instead, and the bill says so.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, TypeVar

from bintally.cloud.cost_requests import (
    PRICE_PER_REQUEST_USD,
    By,
    Period,
    Scope,
    forecast_request,
    month_end,
    usage_request,
)
from bintally.cloud.project import Project
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.errors import CloudError

MOST_PAGES = 40
UNTAGGED = "(no tag)"
NO_TAG = (
    "Nothing in the bill bears the tag bintally:project={project}: it has cost nothing yet, or the tag is not "
    "activated for billing. To do: Billing console > Cost allocation tags > bintally:project > Activate, by whoever "
    "pays the account's bill; AWS counts it within a day, and from then on. Instead: {services} of the whole account "
    "in {region}"
)
_METRIC = "UnblendedCost"
_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one part of a service cost on one day.

    Attributes:
        part: a usage type, or a tag's value.
        amount: in `unit`, a currency: USD nearly everywhere.
        estimated: whether AWS may still change it.
    """

    day: date
    service: str
    part: str
    amount: float
    unit: str
    estimated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a period cost.

    Attributes:
        costs: all that is not nothing.
        estimated: days whose amounts AWS may still change.
        requests: how many were paid for to learn of it.
    """

    period: Period
    by: By
    scope: Scope
    costs: tuple[Cost, ...]
    estimated: frozenset[date]
    requests: int

    @property
    def totals(self) -> dict[str, float]:
        """By currency; none: nothing was spent."""
        return _sums((cost.unit, cost.amount) for cost in self.costs)

    def services(self, unit: str) -> dict[str, float]:
        """What each service cost in one currency, the dearest first."""
        return _sums((cost.service, cost.amount) for cost in self._in(unit))

    def parts(self, unit: str) -> dict[tuple[str, str], float]:
        """What each part of each service cost in one currency, the dearest first."""
        return _sums(((cost.service, cost.part), cost.amount) for cost in self._in(unit))

    def days(self, unit: str) -> dict[date, dict[str, float]]:
        """What each service cost on every day of the period, days without costs too."""
        found = _sums(((cost.day, cost.service), cost.amount) for cost in self._in(unit))
        return {day: {name: found.get((day, name), 0.0) for name in self.services(unit)} for day in self.period.days}

    def spent(self, start: date, end: date, unit: str) -> float:
        """What was spent in one currency from one day to the day before another."""
        return sum(cost.amount for cost in self._in(unit) if start <= cost.day < end)

    def _in(self, unit: str) -> Iterator[Cost]:
        return (cost for cost in self.costs if cost.unit == unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What the rest of a month may cost, as Cost Explorer guesses.

    Attributes:
        start, last: the first and the last day of it.
        amount: the mean of its guess, in `unit`.
    """

    start: date
    last: date
    amount: float
    unit: str


def ask_bill(cloud: Cloud, project: Project, asked: Period, *, by: By, complain: Callable[[str], None]) -> Bill:
    """What the project cost; where nothing bears its tag, what its services cost in the account.

    Raises:
        CloudError: if Cost Explorer refuses, or its answer has no end.
    """
    paid = 0
    for scope in (Scope.SERVICES,) if by is By.PROJECT else (Scope.TAG, Scope.SERVICES):
        bill = read_bill(_pages(cloud, usage_request(project, asked, by=by, scope=scope)), asked, by=by, scope=scope)
        paid += bill.requests
        if bill.costs:
            break
        if scope is Scope.TAG:
            services = "SageMaker, S3, ECR and CloudWatch"
            complain(NO_TAG.format(project=project.project, region=project.region, services=services))
    return replace(bill, requests=paid)


def read_bill(pages: Iterator[Mapping[str, Any]], asked: Period, *, by: By, scope: Scope) -> Bill:
    """A bill from the pages of an answer; days and groups in which nothing was spent leave no row."""
    costs: list[Cost] = []
    estimated: set[date] = set()
    read = 0
    for page in pages:
        read += 1
        for result in page.get("ResultsByTime", ()):
            day, unsure = date.fromisoformat(result["TimePeriod"]["Start"][:10]), bool(result.get("Estimated"))
            if unsure:
                estimated.add(day)
            for group in result.get("Groups", ()):
                said = group["Metrics"][_METRIC]
                if amount := float(said["Amount"]):
                    service, part = group["Keys"]
                    costs.append(
                        Cost(
                            day=day,
                            service=service,
                            part=part if by is By.USAGE else part.partition("$")[2] or UNTAGGED,
                            amount=amount,
                            unit=said["Unit"],
                            estimated=unsure,
                        )
                    )
    costs.sort(key=lambda cost: (cost.day, cost.service, cost.part, cost.unit))
    return Bill(period=asked, by=by, scope=scope, costs=tuple(costs), estimated=frozenset(estimated), requests=read)


def ask_outlook(cloud: Cloud, project: Project, today: date, *, scope: Scope) -> Outlook:
    """What the days from today to the month's end may cost.

    Raises:
        CloudError: if Cost Explorer refuses; of a young account it knows too little.
    """
    said = cloud.send(forecast_request(project, today, scope=scope)).get("Total", {})
    if "Amount" not in said:
        raise CloudError("Cost Explorer forecast nothing, and gave no reason. To do: ask again in a day")
    last = max(day for day in Period(start=today, end=month_end(today)).days)
    return Outlook(start=today, last=last, amount=float(said["Amount"]), unit=said.get("Unit", "USD"))


def _pages(cloud: Cloud, request: Request) -> Iterator[Mapping[str, Any]]:
    more: dict[str, str] = {}
    for _ in range(MOST_PAGES):
        answer = cloud.send(
            Request(service=request.service, operation=request.operation, parameters={**request.parameters, **more})
        )
        yield answer
        if not answer.get("NextPageToken"):
            return
        more = {"NextPageToken": answer["NextPageToken"]}
    raise CloudError(
        f"Cost Explorer's answer has more than {MOST_PAGES} pages, {PRICE_PER_REQUEST_USD} USD each, and was left. "
        "To do: ask for fewer --days"
    )


def _sums(amounts: Iterator[tuple[_Key, float]]) -> dict[_Key, float]:
    """Amounts with the same key added up, the largest first."""
    found: defaultdict[_Key, float] = defaultdict(float)
    for key, amount in amounts:
        found[key] += amount
    return dict(sorted(found.items(), key=lambda each: -each[1]))
