"""`bintally sagemaker cost`: what a project costs, what one job cost, what spot saved, what runs at this moment."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from bintally.cli.extras import extra
from bintally.cli.sagemaker_options import (
    PROJECT_FILE,
    AwsProfile,
    DryRun,
    Price,
    ProjectFile,
    complain,
    load_project,
    open_cloud,
    print_requests,
)
from bintally.errors import CloudError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bintally.cloud.cost_bill import Bill, Outlook
    from bintally.cloud.cost_jobs import JobCost
    from bintally.cloud.cost_page import Costs
    from bintally.cloud.cost_requests import By, Period
    from bintally.cloud.project import Project
    from bintally.cloud.requests import Request
    from bintally.cloud.session import Cloud


def cost(
    job: Annotated[
        str | None, typer.Option("--job", metavar="JOB", help="Only this job's; a tuning job: all of its own.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="So many days, today the last.")] = 30,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="From this day on, instead of --days.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="To this day.", show_default="today")
    ] = None,
    by: Annotated[
        Literal["usage", "kind", "project"],
        typer.Option(help="Services divided by usage type, by tag bintally:kind, or all projects by tag."),
    ] = "usage",
    explorer: Annotated[
        bool, typer.Option("--explorer/--no-explorer", help="Whether Cost Explorer is asked, 0.01 USD a request.")
    ] = True,
    forecast: Annotated[
        bool, typer.Option("--forecast/--no-forecast", help="Whether it is asked for the month's rest, too.")
    ] = True,
    price: Price = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="The days' costs as CSV; without Cost Explorer the jobs.")] = (
        False
    ),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables and a page.")] = False,
    out: Annotated[Path, typer.Option(help="The page, an HTML file.", dir_okay=False)] = Path("sagemaker/cost.html"),
    page: Annotated[bool, typer.Option("--page/--no-page", help="Whether to make the page.")] = True,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    project_file: ProjectFile = PROJECT_FILE,
    aws_profile: AwsProfile = None,
    dry_run: DryRun = False,
) -> None:
    """Show what the project costs: by day and service, each job with what spot saved, what runs by the hour.

    The bill is Cost Explorer's, which takes 0.01 USD for each request; most bills are one, one more is the forecast.
    Jobs are reckoned from their billable seconds and the price of an hour, which costs nothing to ask. What a job may
    cost before it is sent, `train --dry-run` says.
    """
    project = load_project(project_file, "cost")
    if as_csv and as_json:
        raise SettingsError("expected either --csv or --json")
    if job is not None:
        _one_job(project, job, aws_profile, price, as_csv=as_csv, as_json=as_json, dry_run=dry_run)
        return
    if price is not None:
        raise SettingsError("--price: jobs have different instances; name one with --job")
    with extra("aws", "bintally sagemaker cost"):
        from bintally.cli.sagemaker_cost_tables import print_costs, print_csv, print_json
        from bintally.cloud.cost_page import write_page
        from bintally.cloud.cost_requests import By, period
    now = _now()
    asked = period(now.date(), days=days, since=since.date() if since else None, until=until.date() if until else None)
    if dry_run:
        print_requests(_requests(project, asked, By(by), now, explorer=explorer, forecast=forecast))
        return
    cloud = open_cloud(project.region, aws_profile)
    costs, refused = _ask(cloud, project, asked, By(by), now, explorer=explorer, forecast=forecast)
    if as_json:
        print_json(costs)
    elif as_csv:
        print_csv(costs)
    else:
        print_costs(costs)
        if page:
            write_page(out, costs)
            typer.echo(f"Page: {out}")
            if show:
                typer.launch(str(out.resolve()))
    if refused is not None:
        raise refused


def _now() -> datetime:
    return datetime.now(UTC)


def _requests(
    project: "Project", asked: "Period", by: "By", now: datetime, *, explorer: bool, forecast: bool
) -> "list[Request]":
    """What would be asked first; more pages follow, and a look at every job, endpoint and application that there is."""
    from bintally.cloud.cost_jobs import jobs_requests
    from bintally.cloud.cost_requests import By, Scope, forecast_request, usage_request
    from bintally.cloud.cost_running import endpoints_request, workplaces_requests

    scope = Scope.SERVICES if by is By.PROJECT else Scope.TAG
    ahead = forecast and asked.last == now.date()
    bill = [usage_request(project, asked, by=by, scope=scope)] if explorer else []
    outlook = [forecast_request(project, now.date(), scope=scope)] if explorer and ahead else []
    return [*bill, *outlook, *jobs_requests(project), endpoints_request(project), *workplaces_requests(project)]


def _ask(
    cloud: "Cloud", project: "Project", asked: "Period", by: "By", now: datetime, *, explorer: bool, forecast: bool
) -> "tuple[Costs, CloudError | None]":
    """Everything that can be learned, and why Cost Explorer refused, if it did."""
    from bintally.cloud.cost_jobs import total
    from bintally.cloud.cost_page import Costs
    from bintally.cloud.cost_running import find_running

    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        complain(text)

    bill, outlook, refused, paid = None, None, None, 0
    if explorer:
        bill, refused = _bill(cloud, project, asked, by, note)
        if refused is not None:
            notes.append(str(refused))
        elif bill is not None:
            paid = bill.requests
            if forecast and asked.last == now.date():
                paid, outlook = paid + 1, _outlook(cloud, project, bill, now, note)
    jobs = _jobs(cloud, project)
    costs = Costs(
        project=project,
        when=now,
        bill=bill,
        outlook=outlook,
        jobs=jobs,
        total=total(jobs),
        requests=paid,
        running=find_running(cloud, project, jobs, complain=note),
        notes=notes,
    )
    return costs, refused


def _bill(
    cloud: "Cloud", project: "Project", asked: "Period", by: "By", note: "Callable[[str], None]"
) -> "tuple[Bill | None, CloudError | None]":
    from bintally.cloud.cost_bill import ask_bill
    from bintally.cloud.cost_requests import PRICE_PER_REQUEST_USD

    typer.echo(f"Asking Cost Explorer: AWS takes {PRICE_PER_REQUEST_USD} USD for each page and forecast", err=True)
    try:
        return ask_bill(cloud, project, asked, by=by, complain=note), None
    except CloudError as error:
        return None, error


def _outlook(
    cloud: "Cloud", project: "Project", bill: "Bill", now: datetime, note: "Callable[[str], None]"
) -> "Outlook | None":
    """Nobody has to know the future: what is refused is told, and the rest is shown."""
    from bintally.cloud.cost_bill import ask_outlook

    try:
        return ask_outlook(cloud, project, now.date(), scope=bill.scope)
    except CloudError as error:
        note(f"No forecast: {error}")
        return None


def _jobs(cloud: "Cloud", project: "Project") -> "list[JobCost]":
    from bintally.cloud.cost_jobs import ask_jobs

    console, seen = Console(stderr=True), 0
    with console.status("asking after every job") as status:

        def on_job(_: "JobCost") -> None:
            nonlocal seen
            seen += 1
            status.update(f"asking after every job: {seen}")

        return ask_jobs(cloud, project, on_job=on_job)


def _one_job(
    project: "Project",
    name: str,
    aws_profile: str | None,
    price: float | None,
    *,
    as_csv: bool,
    as_json: bool,
    dry_run: bool,
) -> None:
    """One job's cost; of a tuning job, that of all its training jobs."""
    from bintally.cli.sagemaker_cost_tables import print_jobs
    from bintally.cloud.cost_jobs import ask_job, ask_tuning, tuning_jobs
    from bintally.cloud.job_kinds import job_kind
    from bintally.cloud.names import Kind, kind_of

    kind = job_kind(kind_of(name, project.project), name)
    if dry_run:
        print_requests([tuning_jobs(name) if kind.kind is Kind.TUNE else kind.describe(name)])
        return
    cloud = open_cloud(project.region, aws_profile)
    if kind.kind is Kind.TUNE:
        jobs = ask_tuning(cloud, name, usd_hour=price)
    else:
        jobs = [ask_job(cloud, kind, name, usd_hour=price)]
    print_jobs(jobs, given=price is not None, as_csv=as_csv, as_json=as_json)
