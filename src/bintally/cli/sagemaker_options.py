"""What the verbs of `bintally sagemaker` share: options, the account they talk to, and requests printed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bintally.cli.extras import extra
from bintally.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bintally.cloud.checks import Finding
    from bintally.cloud.project import Project
    from bintally.cloud.requests import Request
    from bintally.cloud.session import Cloud

PROJECT_FILE = Path("bintally-sagemaker.toml")
ProjectFile = Annotated[
    Path, typer.Option("--project", metavar="FILE", help="The project's file, as bootstrap wrote it.", dir_okay=False)
]
AwsProfile = Annotated[
    str | None, typer.Option(help="A profile of ~/.aws/config; by default the environment decides.", show_default=False)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the requests as JSON and send nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Config = Annotated[Path | None, typer.Option(help="A settings file of one's own instead of a recipe.")]
Counts = Annotated[str | None, typer.Option(help="Only photos with these counts, a class each: 1-5.")]
Weights = Annotated[
    str, typer.Option(help="s3://... of the backbone's weights; without, timm's hub is asked.", show_default=False)
]
Spot = Annotated[bool, typer.Option("--spot", help="Spot instances: cheaper, and may be interrupted.")]
InputMode = Annotated[
    Literal["FastFile", "File"], typer.Option(help="Read photos as they are needed, or copy them all first.")
]
JobTags = Annotated[list[str] | None, typer.Option(help="KEY=VALUE, on this job; may be repeated.")]
Force = Annotated[bool, typer.Option("--force", help="Train a large network without a GPU.")]
InstanceType = Annotated[str, typer.Option(help="What it runs on, as SageMaker calls it.")]
MaxHours = Annotated[float, typer.Option(help="SageMaker ends the job after so long.")]
VolumeGb = Annotated[int, typer.Option(min=1, help="Disk of each instance, in GB.")]
Image = Annotated[str, typer.Option(help="Another container than the project's.", show_default=False)]
Price = Annotated[
    float | None,
    typer.Option(help="What one instance costs, USD an hour; by default as in the table that comes along.", min=0),
]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Follow the job until it ends, or leave it as soon as it is sent.")
]
Logs = Annotated[bool, typer.Option("--logs/--no-logs", help="Whether what the containers print is shown.")]


def load_project(path: Path, verb: str) -> "Project":
    """The project's settings.

    Raises:
        SettingsError: if there are none, or they cannot be meant.
    """
    with extra("aws", f"bintally sagemaker {verb}"):
        import boto3  # noqa: F401

        from bintally.cloud.project import read_project
    return read_project(path)


def open_cloud(region: str | None, profile: str | None) -> "Cloud":
    """The account, as the environment or the profile says."""
    from bintally.cloud.session import Cloud

    return Cloud(region, profile=profile)


def print_requests(requests: "Sequence[Request]") -> None:
    """Check requests and print them, for `--dry-run`.

    Raises:
        SettingsError: if one breaks its service's model.
    """
    from bintally.cloud.requests import as_json, check

    for request in requests:
        check(request)
    typer.echo(as_json(requests))


def say_findings(findings: "Iterable[Finding]") -> None:
    """Say what was looked at before anything is sent.

    Raises:
        SettingsError: if some of it is wrong.
    """
    wrong = []
    for finding in findings:
        typer.echo(f"{'wrong' if finding.wrong else 'found'}: {finding.text}")
        wrong += [finding.text] if finding.wrong else []
    if wrong:
        raise SettingsError(f"nothing was sent: {'; '.join(wrong)}")


def complain(text: str) -> None:
    """Say what does not end the verb."""
    typer.secho(text, err=True, fg=typer.colors.YELLOW)


def usd(amount: float) -> str:
    """An amount for a person: cents, or more digits where it is less than one.

    >>> usd(12.3456), usd(0.0042)
    ('$12.35', '$0.0042')
    """
    return f"${amount:,.2f}" if amount >= 0.01 or amount == 0 else f"${amount:.2g}"  # noqa: PLR2004 - a cent
