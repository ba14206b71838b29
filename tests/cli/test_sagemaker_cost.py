"""`bintally sagemaker cost`, on recorded answers; the sums were added up by hand (tests/cloud/cost_explorer.py)."""

import csv
import io
import json
from pathlib import Path

import pytest
from tests.cli.runner import Bintally
from tests.cloud.cost_explorer import JOBS, NOW, add_endpoints, add_job, add_jobs, nothing_spent, record, recorded
from tests.cloud.standin import StandIn

from bintally.cloud.requests import Request, check

SPOT = JOBS[0][0]
DENIED = (
    "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: ce:GetCostAndUsage on resource: "
    "arn:aws:ce:us-east-1:123456789012:/GetCostAndUsage because no identity-based policy allows it"
)


@pytest.fixture
def aws(aws: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """An account with a week of costs, three jobs and an endpoint."""
    monkeypatch.setattr("bintally.cli.sagemaker_cost._now", lambda: NOW)
    record(aws, tagged=recorded())
    add_jobs(aws)
    variant = {"InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}
    add_endpoints(aws, ("bins-endpoint-20260203-040506-0001", "InService", variant, 2))
    return aws


def cost(bintally: Bintally, *options: str, code: int = 0) -> str:
    run = bintally("sagemaker", "cost", "--days", "7", *options)
    assert run.code == code, run.err
    return run.out


def test_everything_at_a_glance_and_a_page(aws: StandIn, bintally: Bintally, pages: list[str]) -> None:
    run = bintally("sagemaker", "cost", "--days", "7")
    assert run.code == 0, run.err
    for said in (
        "2026-02-01 to 2026-02-07: what bears the tag bintally:project=bins",
        "$26.07",
        "2026-02-06 ~",
        "Cost Explorer took $0.03",  # two pages and a forecast
        "2026-02-07 to 2026-02-28: $63.50; with what was spent before, $88.18 for the month",  # 24.679 + 63.50
        "3 jobs: $1.75",
        "Spot saved $3.21, 69% of the $4.65 that 2 spot jobs would have cost on demand",
        "Runs by the hour: $0.46",
    ):
        assert said in run.out
    assert "AWS takes 0.01 USD for each page and forecast" in run.err
    page = Path("sagemaker/cost.html")
    assert "USE1-Host:ml.m5.xlarge" in page.read_text(encoding="utf-8")
    assert pages == [str(page.resolve())]
    assert aws.writes == []


def test_the_price_is_told_before_anything_is_asked(
    aws: StandIn, bintally: Bintally, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    aws.on("GetCostAndUsage", lambda: told.append(capsys.readouterr().err))
    cost(bintally, "--no-page")
    assert "AWS takes 0.01 USD" in told[0]


def test_one_jobs_cost_and_saving(aws: StandIn, bintally: Bintally) -> None:
    out = cost(bintally, "--job", SPOT)
    for said in ("3 x ml.g4dn.xlarge, spot", "7,200 s", "2,160 s", "$4.42", "$1.32", "$3.09 70%", "not verified"):
        assert said in out
    assert aws.asked("GetCostAndUsage") == []  # costs nothing to ask
    given = cost(bintally, "--job", SPOT, "--price", "1")
    assert "1 job: $1.80 (the price given with --price)" in given
    assert "Spot saved $4.20, 70% of the $6.00" in given
    plain = json.loads(cost(bintally, "--job", SPOT, "--json"))
    assert plain["jobs"][0]["saved_usd"] == pytest.approx(3.0912)
    assert plain["jobs_total"]["saved_share"] == pytest.approx(0.7)
    (row,) = csv.DictReader(io.StringIO(cost(bintally, "--job", SPOT, "--csv")))
    assert (row["name"], float(row["cost_usd"])) == (SPOT, pytest.approx(1.3248))


def test_a_job_without_a_price_is_named(aws: StandIn, bintally: Bintally) -> None:
    name = "bins-train-20260206-040506-0a1e"
    add_job(aws, name, 1, "ml.p5.48xlarge", True, 1000, 400)
    out = cost(bintally, "--job", name)
    assert f"no price or no time is known: {name}. --price names one" in out
    assert "60%" in out


def test_json_holds_all_of_it(aws: StandIn, bintally: Bintally, pages: list[str]) -> None:
    said = json.loads(cost(bintally, "--json"))
    assert sum(row["amount"] for row in said["bill"]["costs"]) == pytest.approx(26.0695)
    assert said["bill"]["totals"] == pytest.approx({"USD": 26.0695})
    assert (said["bill"]["scope"], said["bill"]["estimated"]) == ("tag", ["2026-02-06", "2026-02-07"])
    assert said["forecast"]["amount"] == 63.5
    assert said["jobs_total"]["saved_usd"] == pytest.approx(3.2062)
    assert said["running_usd_hour"] == pytest.approx(0.46)
    assert (said["notes"], pages, Path("sagemaker").exists()) == ([], [], False)


def test_csv_holds_every_day(aws: StandIn, bintally: Bintally) -> None:
    rows = list(csv.DictReader(io.StringIO(cost(bintally, "--csv"))))
    assert len(rows) == 20
    assert sum(float(row["amount"]) for row in rows) == pytest.approx(26.0695)
    assert {row["day"] for row in rows if row["estimated"] == "true"} == {"2026-02-06", "2026-02-07"}
    jobs = list(csv.DictReader(io.StringIO(cost(bintally, "--csv", "--no-explorer"))))
    assert [row["name"] for row in jobs] == [JOBS[2][0], JOBS[1][0], SPOT]


def test_without_the_tag_it_is_said_and_the_accounts_costs_are_labelled(aws: StandIn, bintally: Bintally) -> None:
    record(aws, tagged=nothing_spent(), account=recorded())
    run = bintally("sagemaker", "cost", "--days", "7", "--no-open")
    assert run.code == 0
    assert "the tag is not activated for billing" in run.err
    assert "of the whole account in us-east-1, this project's or not" in run.out
    assert "Cost Explorer took $0.04" in run.out
    forecast = aws.asked("GetCostForecast")[0]["Filter"]["And"][0]
    assert forecast["Dimensions"]["Key"] == "SERVICE"  # of the same
    assert "the tag is not activated" in Path("sagemaker/cost.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        ("AccessDeniedException", DENIED, "allow ce:GetCostAndUsage for arn:aws:iam::123456789012:user/ann in IAM"),
        (
            "AccessDeniedException",
            "User not enabled for cost explorer access",
            "Billing console > Cost Explorer > Launch",
        ),
        ("LimitExceededException", "Rate exceeded", "AWS asks for fewer requests"),
    ],
    ids=["no permission", "not enabled", "throttled"],
)
def test_what_cost_explorer_refuses_does_not_hide_the_rest(
    code: str, message: str, said: str, aws: StandIn, bintally: Bintally
) -> None:
    aws.refuse("GetCostAndUsage", code, message, times=99)
    run = bintally("sagemaker", "cost")
    assert run.code == 8
    assert said in run.err
    assert "Spot saved $3.21" in run.out
    assert "did not answer" in Path("sagemaker/cost.html").read_text(encoding="utf-8")
    assert aws.asked("GetCostForecast") == []  # nothing more is paid for


def test_no_forecast_is_no_failure(aws: StandIn, bintally: Bintally) -> None:
    aws.refuse("GetCostForecast", "DataUnavailableException", "Insufficient amount of historical data", times=99)
    run = bintally("sagemaker", "cost", "--days", "7", "--no-page")
    assert run.code == 0
    assert "No forecast: ce GetCostForecast: Cost Explorer has not enough data for that yet" in run.err
    assert "$26.07" in run.out


def test_an_earlier_period_is_not_forecast(aws: StandIn, bintally: Bintally) -> None:
    out = cost(bintally, "--since", "2026-02-01", "--until", "2026-02-05", "--no-page")
    assert "Forecast" not in out
    assert aws.asked("GetCostForecast") == []
    assert aws.asked("GetCostAndUsage")[0]["TimePeriod"] == {"Start": "2026-02-01", "End": "2026-02-06"}


@pytest.mark.parametrize(
    ("options", "operations"),
    [
        (
            [],
            [
                "GetCostAndUsage",
                "GetCostForecast",
                "ListTrainingJobs",
                "ListProcessingJobs",
                "ListTransformJobs",
                "ListEndpoints",
                "ListDomains",
                "ListNotebookInstances",
            ],
        ),
        (
            ["--no-explorer"],
            [
                "ListTrainingJobs",
                "ListProcessingJobs",
                "ListTransformJobs",
                "ListEndpoints",
                "ListDomains",
                "ListNotebookInstances",
            ],
        ),
        (["--job", SPOT], ["DescribeTrainingJob"]),
        (["--job", "bins-tune-0a1b2c3d"], ["ListTrainingJobs"]),
    ],
    ids=["all", "no explorer", "a job", "a tuning job"],
)
def test_a_dry_run_sends_nothing(options: list[str], operations: list[str], aws: StandIn, bintally: Bintally) -> None:
    requests = json.loads(cost(bintally, *options, "--dry-run"))
    assert list(dict.fromkeys(each["operation"] for each in requests)) == operations
    for each in requests:
        check(Request(**each))
    assert aws.requests == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--csv", "--json"], "either --csv or --json"),
        (["--price", "1"], "name one with --job"),
        (["--job", "nonsense"], "not the name of one of this project's jobs"),
        (["--days", "900"], "Cost Explorer keeps 13 months"),
        (["--until", "2026-02-08"], "expected today"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_meant_is_refused(options: list[str], said: str, aws: StandIn, bintally: Bintally) -> None:
    run = bintally("sagemaker", "cost", *options)
    assert (run.code, said in run.err) == (2, True), run.err
    assert aws.requests == []
