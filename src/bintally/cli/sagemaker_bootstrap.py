"""`bintally sagemaker bootstrap`: what a project needs in an AWS account, as one CloudFormation stack."""

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
    Yes,
    complain,
    open_cloud,
    print_requests,
)
from bintally.errors import SettingsError

if TYPE_CHECKING:
    from rich.table import Table

    from bintally.cloud.session import Cloud
    from bintally.cloud.stack_apply import Plan, StackEvent
    from bintally.cloud.stack_settings import Budget, StackSettings

_LINT_REGION = "us-east-1"  # where no region is named: for --dry-run
_WRONG = "red"


def bootstrap(
    name: Annotated[str, typer.Argument(help="The project: lower case, digits, hyphens; part of every name.")],
    budget: Annotated[
        float | None, typer.Option(help="USD a month for SageMaker, S3, ECR, CloudWatch; --email is told.")
    ] = None,
    email: Annotated[list[str] | None, typer.Option(help="Who is told of the budget; may be repeated.")] = None,
    no_budget: Annotated[bool, typer.Option("--no-budget", help="Go without an alarm.")] = False,
    region: Annotated[str | None, typer.Option(help="Where everything is to be.", show_default="the profile's")] = None,
    kms_key: Annotated[
        str, typer.Option(help="A KMS key's ID or ARN, for bucket and volumes.", show_default=False)
    ] = "",
    subnet: Annotated[list[str] | None, typer.Option(help="Run jobs, and Studio, in it; may be repeated.")] = None,
    security_group: Annotated[list[str] | None, typer.Option(help="Of jobs in a subnet; may be repeated.")] = None,
    vpc: Annotated[str, typer.Option(help="Studio's network.", show_default=False)] = "",
    studio: Annotated[bool, typer.Option("--studio", help="Make a Studio domain with a user.")] = False,
    studio_user: Annotated[str, typer.Option(help="That user's name.")] = "bintally",
    notebook: Annotated[
        bool, typer.Option("--notebook", help="Make a notebook instance that stops when idle.")
    ] = False,
    notebook_type: Annotated[str, typer.Option(help="What the notebook instance runs on.")] = "ml.t3.medium",
    idle_minutes: Annotated[int, typer.Option(help="After so long Studio's JupyterLab and the notebook stop.")] = 60,
    checkpoint_days: Annotated[int, typer.Option(help="Unfinished jobs' state is removed after so long.")] = 30,
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, on everything; may be repeated.")] = None,
    show_template: Annotated[bool, typer.Option("--template", help="Print the template alone, and stop.")] = False,
    project_file: ProjectFile = PROJECT_FILE,
    aws_profile: AwsProfile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Make, or bring up to date, what a project needs in an AWS account.

    A bucket, a role for jobs and a policy for you with no more rights than they need, an ECR repository, a budget that
    sends mail; if asked, Studio or a notebook instance. The template is checked by cfn-lint, then shown as a change set
    before anything is made. In the end the project's file is written, which all other verbs read. An administrator's
    credentials are needed. Nothing of it costs by the hour, but for a notebook instance while it runs.
    """
    with extra("aws", "bintally sagemaker bootstrap"):
        from bintally.cloud.project import check_own_file, keep_by_hand, write_project
        from bintally.cloud.stack import template_text
        from bintally.cloud.stack_apply import change_set_request, project_of
        from bintally.cloud.stack_lint import lint_template
        from bintally.cloud.stack_settings import Notebook, StackSettings, Studio
    subnets, groups = tuple(subnet or ()), tuple(security_group or ())
    settings = StackSettings(
        project=name,
        budget=_budget(budget, email or [], no_budget=no_budget),
        studio=Studio(vpc=vpc, subnets=subnets, user=studio_user, idle_minutes=idle_minutes) if studio else None,
        notebook=Notebook(instance_type=notebook_type, idle_minutes=idle_minutes) if notebook else None,
        kms_key=kms_key,
        subnets=subnets if groups else (),
        security_groups=groups,
        checkpoint_days=checkpoint_days,
        tags=parse_tags(tag or []),
    )
    if subnets and not groups and not studio:
        raise SettingsError("--subnet: expected --security-group as well, for jobs, or --studio")
    if not (dry_run or show_template):
        check_own_file(project_file, name)
    text, when = template_text(settings), datetime.now(UTC)
    cloud = None if dry_run or show_template else open_cloud(region, aws_profile)
    for warning in lint_template(text, region=cloud.region if cloud else region or _LINT_REGION):
        complain(f"cfn-lint: {warning}")
    if show_template:
        typer.echo(text)
    elif cloud is None:
        print_requests([change_set_request(settings, when=when, creates=True)])
    else:
        outputs = _apply(cloud, settings, when, yes=yes)
        made = project_of(settings, outputs, region=cloud.region)
        write_project(project_file, keep_by_hand(made, project_file))
        typer.echo(f"Written: {project_file}. Let people use the project: attach {outputs.get('UserPolicyArn')}")
        typer.echo("Next: push the images (docs/sagemaker.md), then bintally sagemaker prepare SOURCE")


def parse_tags(said: list[str]) -> dict[str, str]:
    """Tags as a person gives them.

    Raises:
        SettingsError: if one has no '='.

    >>> parse_tags(["team=vision"])
    {'team': 'vision'}
    """
    if bad := [each for each in said if not each.partition("=")[0] or "=" not in each]:
        raise SettingsError(f"--tag {bad[0]!r}: expected KEY=VALUE")
    return {key: value for key, _, value in (each.partition("=") for each in said)}


def _budget(usd_month: float | None, emails: list[str], *, no_budget: bool) -> "Budget | None":
    from bintally.cloud.stack_settings import Budget

    if no_budget:
        if usd_month is not None or emails:
            raise SettingsError("--no-budget: leave out --budget and --email")
        return None
    if usd_month is None:
        raise SettingsError("expected --budget USD --email ADDRESS, so that somebody hears of costs; or --no-budget")
    return Budget(usd_month=usd_month, emails=tuple(emails))


def _apply(cloud: "Cloud", settings: "StackSettings", when: datetime, *, yes: bool) -> dict[str, str]:
    """Show what would be done, ask, do it; the stack's outputs."""
    from bintally.cloud.stack_apply import carry_out, discard, find_stack, plan

    console = Console(highlight=False)
    with console.status("CloudFormation works out what is to be done"):
        made = plan(cloud, settings, when=when, on_event=lambda _: None)
    if made is None:
        typer.echo(f"Stack {settings.stack_name} is as it should be: nothing to do.")
        found = find_stack(cloud, settings.stack_name) or {}
        return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}
    console.print(_table(made, cloud.region))
    try:
        agreed = yes or typer.confirm("Do it?")
    except (KeyboardInterrupt, typer.Abort):
        agreed = False
    if not agreed:
        discard(cloud, made)
        typer.echo("Nothing was done.")
        raise typer.Exit(1)
    try:
        with console.status(f"stack {made.stack}") as status:

            def on_event(event: "StackEvent") -> None:
                style = _WRONG if event.status.endswith("FAILED") else ""
                reason = f": {event.reason}" if style else ""
                console.print(f"{event.status:<28} {event.resource} ({event.kind}){reason}", style=style, markup=False)
                status.update(f"stack {made.stack}: {event.resource}")

            return dict(carry_out(cloud, made, on_event=on_event))
    except KeyboardInterrupt:
        complain(f"CloudFormation goes on with stack {made.stack}; run the same command again to see how it ended")
        raise


def _table(made: "Plan", region: str) -> "Table":
    from rich.table import Table

    verb = "make" if made.creates else "change"
    table = Table("what", "resource", "type", title=f"Stack {made.stack} in {region}: to {verb}", title_justify="left")
    for change in made.changes:
        what = f"{change.action}, replaced" if change.replaces else change.action
        table.add_row(what, change.resource, change.kind, style=_WRONG if change.replaces else None)
    return table
