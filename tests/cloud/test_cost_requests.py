from datetime import date

import pytest

from bintally.cloud.cost_requests import By, Period, Scope, forecast_request, month_end, period, usage_request
from bintally.cloud.project import Project
from bintally.cloud.requests import check
from bintally.cloud.session import Cloud
from bintally.errors import SettingsError

TODAY = date(2026, 2, 7)
WEEK = Period(start=date(2026, 2, 1), end=date(2026, 2, 8))


@pytest.mark.parametrize("by", By)
@pytest.mark.parametrize("scope", Scope)
def test_requests_hold_to_cost_explorers_model(by: By, scope: Scope, project: Project) -> None:
    request = usage_request(project, WEEK, by=by, scope=scope)
    check(request)
    check(forecast_request(project, TODAY, scope=scope))
    assert len(request.parameters["GroupBy"]) == 2  # as many as Cost Explorer takes
    assert request.parameters["Granularity"] == "DAILY"


def test_the_projects_own_costs_are_found_by_its_tag(project: Project) -> None:
    asked = usage_request(project, WEEK, by=By.USAGE, scope=Scope.TAG).parameters
    assert asked["TimePeriod"] == {"Start": "2026-02-01", "End": "2026-02-08"}  # the end's own day is not in it
    assert asked["Filter"]["And"] == [
        {"Tags": {"Key": "bintally:project", "Values": ["bins"]}},
        {"Not": {"Dimensions": {"Key": "RECORD_TYPE", "Values": ["Credit", "Refund"]}}},
    ]
    account = usage_request(project, WEEK, by=By.USAGE, scope=Scope.SERVICES).parameters
    assert [each.get("Dimensions", {}).get("Key") for each in account["Filter"]["And"]] == ["SERVICE", "REGION", None]


def test_the_forecast_ends_with_the_month(project: Project) -> None:
    asked = forecast_request(project, TODAY, scope=Scope.TAG).parameters
    assert asked["TimePeriod"] == {"Start": "2026-02-07", "End": "2026-03-01"}
    assert forecast_request(project, date(2024, 2, 29), scope=Scope.TAG).parameters["TimePeriod"]["End"] == "2024-03-01"
    assert month_end(date(2026, 1, 31)) == date(2026, 2, 1)


def test_periods() -> None:
    assert period(TODAY, days=7) == WEEK
    assert period(TODAY, days=30, since=date(2026, 2, 1), until=date(2026, 2, 7)) == WEEK
    assert period(TODAY, days=1, until=date(2026, 2, 3)).days == (date(2026, 2, 3),)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"days": 500}, "Cost Explorer keeps 13 months"),
        ({"days": 5, "since": date(2024, 1, 1)}, "expected 2025-01-07 or later"),
        ({"days": 5, "until": date(2026, 2, 8)}, "--until 2026-02-08: expected today"),
        ({"days": 5, "since": date(2026, 2, 5), "until": date(2026, 2, 1)}, "expected a day before"),
    ],
    ids=["too many", "too early", "not yet", "backwards"],
)
def test_days_that_cost_explorer_does_not_have_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        period(TODAY, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "ap-southeast-2"])
def test_cost_explorer_is_one_for_all_regions(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert Cloud(region)._client("ce").meta.endpoint_url == "https://ce.us-east-1.amazonaws.com"
