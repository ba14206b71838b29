import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from tests.cloud.cost_explorer import ECR, JOBS, NOW, S3, SAGEMAKER, add_jobs, record, recorded, result
from tests.cloud.standin import StandIn

from bintally.cloud.cost_bill import Bill, ask_bill, ask_outlook, read_bill
from bintally.cloud.cost_jobs import ask_jobs, total
from bintally.cloud.cost_page import Costs, render_page, write_page
from bintally.cloud.cost_requests import By, Period, Scope
from bintally.cloud.cost_running import Running
from bintally.cloud.project import Project
from bintally.cloud.session import Cloud
from bintally.errors import CannotWriteError

WEEK = Period(start=date(2026, 2, 1), end=date(2026, 2, 8))
ENDPOINT = Running(what="endpoint", name="bins-endpoint-x", on="2 x ml.m5.xlarge", usd_hour=0.46)


@pytest.fixture
def costs(aws: StandIn, cloud: Cloud, project: Project) -> Costs:
    record(aws, tagged=recorded())
    add_jobs(aws)
    jobs = ask_jobs(cloud, project, on_job=lambda _: None)
    return Costs(
        project=project,
        when=NOW,
        bill=ask_bill(cloud, project, WEEK, by=By.USAGE, complain=pytest.fail),
        outlook=ask_outlook(cloud, project, NOW.date(), scope=Scope.TAG),
        requests=3,
        jobs=jobs,
        total=total(jobs),
        running=[ENDPOINT],
        notes=[],
    )


def cells(page: str) -> list[list[str]]:
    """The text of every row of every table."""
    rows = re.findall(r"<tr.*?</tr>", page, re.DOTALL)
    return [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", row, re.DOTALL)] for row in rows]


def test_the_page_of_a_recorded_week(costs: Costs) -> None:
    page = render_page(costs)
    rows = cells(page)
    assert [SAGEMAKER, "USE1-Host:ml.m5.xlarge", "$20.70", "79.4 %"] in rows  # 20.70 / 26.0695
    assert [SAGEMAKER, "USE1-Train:ml.g4dn.xlarge", "$5.15", "19.8 %"] in rows
    assert ["together", "", "$26.07", ""] in rows
    spot = next(row for row in rows if row[0] == JOBS[0][0])
    assert spot[2:] == ["3 x ml.g4dn.xlarge, spot", "7,200", "2,160", "$4.42", "$1.32", "$3.09", "70 %"]
    on_demand = next(row for row in rows if row[0] == JOBS[2][0])
    assert on_demand[2:] == ["1 x ml.c5.xlarge", "5,400", "5,400", "$0.31", "$0.31", "", ""]
    assert next(row for row in rows if row[0] == "3 jobs")[-3:] == ["$1.75", "$3.21", "69 %"]
    assert ["endpoint", "bins-endpoint-x", "2 x ml.m5.xlarge", "$0.46", "$335.80", ""] in rows  # 730 hours a month
    tiles = re.findall(r"<b>(.*?)</b>", page)
    assert tiles[:4] == ["$26.07", "$63.50", "$0.46", "$3.21"]
    assert "3 requests: $0.03" in page
    assert "not verified" in page


def test_the_page_loads_nothing(costs: Costs) -> None:
    page = render_page(costs)
    assert not re.search(r"(src|href)\s*=|@import|url\((?!#)|<script", page)
    assert page.count("<svg") == 1


def test_unfinished_days_are_hatched(costs: Costs) -> None:
    page = render_page(costs)
    assert "AWS may still change it" in page
    assert costs.bill is not None
    finished = render_page(replace(costs, bill=replace(costs.bill, estimated=frozenset())))
    assert "may still change" not in finished
    assert "<pattern" in page  # hatching, as SVG has it
    assert "<pattern" not in finished


def test_two_currencies_have_two_plots_and_no_sum(costs: Costs) -> None:
    days = [result(date(2026, 2, 1), {(SAGEMAKER, "a"): "3"}), result(date(2026, 2, 2), {(S3, "b"): "-7"}, unit="CNY")]
    bill = read_bill(iter([{"ResultsByTime": days}]), WEEK, by=By.USAGE, scope=Scope.TAG)
    page = render_page(replace(costs, bill=bill))
    assert page.count("<svg") == 2
    assert "never added up" in page
    assert "-7.00 CNY" in page
    assert "$3.00" in page
    assert "-$4" not in page


def test_a_week_in_which_nothing_was_spent(costs: Costs) -> None:
    none = Bill(period=WEEK, by=By.USAGE, scope=Scope.TAG, costs=(), estimated=frozenset(), requests=2)
    bare = replace(costs, bill=none, outlook=None, jobs=[], total=total([]), running=[])
    page = render_page(bare)
    for said in ("Nothing was spent", "no jobs yet", "Nothing of the project's costs money by the hour.", "$0.00"):
        assert said in page


def test_what_was_missed_stands_on_the_page_and_nothing_in_it_is_markup(costs: Costs) -> None:
    page = render_page(replace(costs, bill=None, outlook=None, notes=["no permission for <b>ce:x</b>"]))
    assert "no permission for &lt;b&gt;ce:x" in page
    assert "<svg" not in page
    assert "Cost Explorer was not asked" in page


def test_many_services_share_the_last_colour(costs: Costs) -> None:
    groups = {(f"Service {n}", "x"): str(10 - n) for n in range(8)}
    days = [result(date(2026, 2, 1) + timedelta(days=n), groups) for n in range(3)]
    bill = read_bill(iter([{"ResultsByTime": days}]), WEEK, by=By.USAGE, scope=Scope.SERVICES)
    page = render_page(replace(costs, bill=bill))
    legend = re.findall(r">(Service \d|others)</text>", page)
    assert legend == ["Service 0", "Service 1", "Service 2", "Service 3", "Service 4", "others"]
    assert "of the whole account in us-east-1" in page
    assert ECR not in page


def test_the_page_is_written_whole(costs: Costs, tmp_path: Path) -> None:
    write_page(tmp_path / "new" / "cost.html", costs)
    assert (tmp_path / "new" / "cost.html").read_text(encoding="utf-8") == render_page(costs)
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWriteError):
        write_page(tmp_path / "file" / "cost.html", costs)
