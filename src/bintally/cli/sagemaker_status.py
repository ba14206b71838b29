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
)

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        from bintally.cloud.made import find_made, list_requests
    if dry_run:
        print_requests(list_requests(project))
        return
    cloud = open_cloud(project.region, aws_profile)
    made = find_made(cloud, project, complain=complain)
    made.sort(key=lambda each: (not each.costs, -(each.created or _LONG_AGO).timestamp(), each.name))
    if as_json:
        import json

        typer.echo(json.dumps([_plain(each) for each in made]))
        return
    console = Console(highlight=False)
    console.print(made_table(made, f"Project {project.project} in {cloud.region}"))
    running = [each.name for each in made if each.costs]
    typer.echo(f"Costs money by the hour: {', '.join(running) or 'nothing'}")
    if running:
        typer.echo("Stop and remove: bintally sagemaker clean")


def made_table(made: "Sequence[Made]", title: str) -> "Table":
    """Things for a person."""
    from rich.table import Table

    table = Table("what", "name", "status", "made", title=title, title_justify="left")
    for each in made:
        when = f"{each.created.astimezone():%Y-%m-%d %H:%M}" if each.created else ""
        table.add_row(each.what, each.name, each.status, when, style="yellow" if each.costs else None)
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
