"""`bintally sagemaker status`: everything that a project made in the account, what costs money first."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bintally.cli.extras import extra
from bintally.cli.sagemaker_options import (
    PROJECT_FILE,
    AwsProfile,
    DryRun,
    ProjectFile,
    complain,
    load_project,
    open_cloud,
    print_requests,
    usd,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from bintally.cloud.made import Made

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of a table.")] = False,
    project_file: ProjectFile = PROJECT_FILE,
    aws_profile: AwsProfile = None,
    dry_run: DryRun = False,
) -> None:
    """Show everything that this project made in the account: what costs by the hour first, then the newest."""
    project = load_project(project_file, "status")
    with extra("aws", "bintally sagemaker status"):
        from bintally.cloud.cost_running import find_workplaces, workplaces_requests
        from bintally.cloud.made import find_made, list_requests
        from bintally.cloud.running import usd_hour
    if dry_run:
        print_requests([*list_requests(project), *workplaces_requests(project)])
        return
    cloud = open_cloud(project.region, aws_profile)
    found = find_made(cloud, project, complain=complain)
    places = {each.made.arn: each for each in find_workplaces(cloud, project, complain=complain)}
    things = [each for each in found if each.arn not in places]  # a tag's list has them without status and price
    prices = {each.arn: usd_hour(cloud, each) for each in things}
    prices |= {arn: place.running.usd_hour for arn, place in places.items()}
    made = [*things, *(place.made for place in places.values())]
    made.sort(key=lambda each: (not each.costs, -(each.created or _LONG_AGO).timestamp(), each.name))
    if as_json:
        import json

        typer.echo(json.dumps([_plain(each) | {"usd_hour": prices[each.arn]} for each in made]))
        return
    console = Console(highlight=False)
    console.print(made_table(made, prices, f"Project {project.project} in {cloud.region}"))
    running = [each.name for each in made if each.costs]
    total = sum(price for price in prices.values() if price)
    priced = f" (about {usd(total)} an hour on demand)" if total else ""
    typer.echo(f"Costs money by the hour: {', '.join(running) or 'nothing'}{priced}")
    if any(each.costs for each in things):
        typer.echo("Stop and remove: bintally sagemaker clean")
    if any(place.made.costs for place in places.values()):
        typer.echo(
            "What runs in Studio stops there, under Running instances; a notebook instance by: "
            f"aws sagemaker stop-notebook-instance --notebook-instance-name {project.project}-notebook"
        )


def made_table(made: "Sequence[Made]", prices: "Mapping[str, float | None]", title: str) -> "Table":
    """Things for a person; `prices` by ARN, USD an hour."""
    from rich.table import Table

    table = Table("what", "name", "status", "made", "an hour", title=title, title_justify="left")
    for each in made:
        when = f"{each.created.astimezone():%Y-%m-%d %H:%M}" if each.created else ""
        price = prices.get(each.arn)
        hourly = "?" if price is None else usd(price) if price else ""
        table.add_row(each.what, each.name, each.status, when, hourly, style="yellow" if each.costs else None)
    return table


def _plain(made: "Made") -> dict[str, object]:
    return {
        "what": made.what,
        "name": made.name,
        "arn": made.arn,
        "status": made.status,
        "created": made.created.isoformat() if made.created else None,
        "costs": made.costs,
    }
