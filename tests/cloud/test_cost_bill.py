"""A bill from recorded answers; every sum beside it was added up by hand (tests/cloud/cost_explorer.py)."""

from datetime import date

import pytest
from tests.cloud.cost_explorer import (
    ECR,
    ESTIMATED,
    HOST,
    S3,
    SAGEMAKER,
    TRAIN,
    nothing_spent,
    record,
    recorded,
    result,
)
from tests.cloud.standin import StandIn

from bintally.cloud.cost_bill import MOST_PAGES, UNTAGGED, Bill, ask_bill, ask_outlook, read_bill
from bintally.cloud.cost_requests import By, Period, Scope
from bintally.cloud.project import Project
from bintally.cloud.session import Cloud
from bintally.errors import CloudAccessError, CloudError, CloudUnavailableError

TODAY = date(2026, 2, 7)
WEEK = Period(start=date(2026, 2, 1), end=date(2026, 2, 8))


def ask(cloud: Cloud, project: Project, said: list[str], by: By = By.USAGE) -> Bill:
    return ask_bill(cloud, project, WEEK, by=by, complain=said.append)


@pytest.mark.parametrize(("per_page", "pages"), [(7, 1), (4, 2), (1, 7)])
def test_a_bill_is_added_up_over_all_pages(
    per_page: int, pages: int, aws: StandIn, cloud: Cloud, project: Project
) -> None:
    record(aws, tagged=recorded(per_page=per_page))
    said: list[str] = []
    bill = ask(cloud, project, said)
    assert (bill.scope, bill.requests, said) == (Scope.TAG, pages, [])
    assert bill.totals == pytest.approx({"USD": 26.0695})
    assert bill.services("USD") == pytest.approx({SAGEMAKER: 25.852, ECR: 0.1365, S3: 0.081})
    assert list(bill.services("USD")) == [SAGEMAKER, ECR, S3]  # the dearest first
    assert bill.parts("USD")[SAGEMAKER, TRAIN] == pytest.approx(5.152)
    assert bill.parts("USD")[SAGEMAKER, HOST] == pytest.approx(20.70)
    assert len(aws.asked("GetCostAndUsage")) == pages


def test_days_without_costs_are_there_and_unfinished_days_are_known(
    aws: StandIn, cloud: Cloud, project: Project
) -> None:
    record(aws, tagged=recorded())
    bill = ask(cloud, project, [])
    days = bill.days("USD")
    assert list(days) == list(WEEK.days)
    assert days[date(2026, 2, 3)] == {SAGEMAKER: 0, ECR: 0, S3: 0}
    assert sum(days[date(2026, 2, 5)].values()) == pytest.approx(8.506)
    assert bill.estimated == set(ESTIMATED)
    assert {cost.day for cost in bill.costs if cost.estimated} == set(ESTIMATED)
    assert bill.spent(date(2026, 2, 1), TODAY, "USD") == pytest.approx(26.0695 - 1.3905)


def test_what_cost_nothing_brings_no_currency(aws: StandIn, cloud: Cloud, project: Project) -> None:
    record(aws, tagged=recorded())  # with AWS Lambda at 0 N/A on every day
    assert {cost.unit for cost in ask(cloud, project, []).costs} == {"USD"}


def test_currencies_are_never_added_up() -> None:
    pages = [
        {"ResultsByTime": [result(date(2026, 2, 1), {(SAGEMAKER, TRAIN): "3"})]},
        {"ResultsByTime": [result(date(2026, 2, 1), {(SAGEMAKER, TRAIN): "7"}, unit="CNY")]},
    ]
    bill = read_bill(iter(pages), WEEK, by=By.USAGE, scope=Scope.TAG)
    assert bill.totals == {"CNY": 7, "USD": 3}
    assert bill.services("CNY") == {SAGEMAKER: 7}
    assert bill.days("USD")[date(2026, 2, 1)] == {SAGEMAKER: 3}


def test_without_the_tag_the_accounts_services_are_taken_and_it_is_said(
    aws: StandIn, cloud: Cloud, project: Project
) -> None:
    record(aws, tagged=nothing_spent(), account=recorded())
    said: list[str] = []
    bill = ask(cloud, project, said)
    assert (bill.scope, bill.requests) == (Scope.SERVICES, 3)  # one page in vain, then two
    assert bill.totals == pytest.approx({"USD": 26.0695})
    (why,) = said
    for part in ("bintally:project=bins", "Cost allocation tags", "Activate", "of the whole account in us-east-1"):
        assert part in why


def test_tags_as_parts(aws: StandIn, cloud: Cloud, project: Project) -> None:
    groups = {(SAGEMAKER, "bintally:project$bins"): "2", (SAGEMAKER, "bintally:project$"): "1"}
    record(aws, tagged=(), account=[{"ResultsByTime": [result(date(2026, 2, 1), groups)]}])
    bill = ask(cloud, project, [], By.PROJECT)
    assert bill.parts("USD") == {(SAGEMAKER, "bins"): 2, (SAGEMAKER, UNTAGGED): 1}
    assert bill.scope is Scope.SERVICES


def test_an_answer_without_end_is_left(aws: StandIn, cloud: Cloud, project: Project) -> None:
    record(aws, tagged=())
    aws.answers["GetCostAndUsage"] = lambda _: {"ResultsByTime": [], "NextPageToken": "again"}
    with pytest.raises(CloudError, match="ask for fewer --days"):
        ask(cloud, project, [])
    assert len(aws.requests) == MOST_PAGES


@pytest.mark.parametrize(
    ("code", "message", "kind", "said"),
    [
        (
            "AccessDeniedException",
            "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: ce:GetCostAndUsage on resource: "
            "arn:aws:ce:us-east-1:123456789012:/GetCostAndUsage because no identity-based policy allows the "
            "ce:GetCostAndUsage action",
            CloudAccessError,
            "allow ce:GetCostAndUsage for arn:aws:iam::123456789012:user/ann in IAM; docs/sagemaker.md has the policy",
        ),
        (
            "AccessDeniedException",
            "User not enabled for cost explorer access",
            CloudAccessError,
            "Cost Explorer > Launch",
        ),
        ("AccessDeniedException", "Linked account doesn't have access to cost explorer.", CloudAccessError, "> Launch"),
        ("LimitExceededException", "Rate exceeded", CloudUnavailableError, "fewer requests"),
        ("DataUnavailableException", "Data is not available.", CloudError, "not enough data"),
    ],
    ids=["no permission", "not enabled", "linked account", "throttled", "no data"],
)
def test_refusals(
    code: str, message: str, kind: type[CloudError], said: str, aws: StandIn, cloud: Cloud, project: Project
) -> None:
    record(aws, tagged=())
    aws.refuse("GetCostAndUsage", code, message, times=99)
    with pytest.raises(kind, match=said.replace("(", r"\(")) as caught:
        ask(cloud, project, [])
    assert type(caught.value) is kind


def test_the_months_rest(aws: StandIn, cloud: Cloud, project: Project) -> None:
    record(aws, tagged=())
    ahead = ask_outlook(cloud, project, TODAY, scope=Scope.TAG)
    assert (ahead.start, ahead.last, ahead.amount, ahead.unit) == (TODAY, date(2026, 2, 28), 63.5, "USD")
    aws.answers["GetCostForecast"] = lambda _: {}
    with pytest.raises(CloudError, match="forecast nothing"):
        ask_outlook(cloud, project, TODAY, scope=Scope.TAG)
