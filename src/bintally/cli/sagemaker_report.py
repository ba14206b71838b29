"""`bintally sagemaker attach` and `report`: a job followed again, and what it left fetched and shown."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bintally.cli.extras import extra
from bintally.cli.sagemaker_batch import fetch_answers
from bintally.cli.sagemaker_options import (
    PROJECT_FILE,
    AwsProfile,
    DryRun,
    Logs,
    Price,
    ProjectFile,
    load_project,
    open_cloud,
    print_requests,
)
from bintally.cli.sagemaker_tune_watch import follow_tuning_job, summary_of, write_results_of
from bintally.cli.sagemaker_watch import follow_job, summary
from bintally.errors import JobError

if TYPE_CHECKING:
    from bintally.cloud.artefacts import Artefacts
    from bintally.cloud.job_kinds import JobKind
    from bintally.cloud.job_state import JobState
    from bintally.cloud.session import Cloud

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The job's name; status lists them.")]


def attach(
    job: JobArgument,
    price: Price = None,
    logs: Logs = True,
    project_file: ProjectFile = PROJECT_FILE,
    aws_profile: AwsProfile = None,
    dry_run: DryRun = False,
) -> None:
    """Follow a job again: phases, log from its beginning, metrics, and how it ended."""
    project = load_project(project_file, "attach")
    from bintally.cloud.names import Kind

    kind = _kind(job, project.project)
    if dry_run:
        with extra("aws", "bintally sagemaker attach"):
            from bintally.cloud.logs import log_streams
            from bintally.cloud.tuning_state import jobs_request
        more = [log_streams(kind.log_group, job)] if logs and kind.log_group else []
        print_requests([kind.describe(job), *([jobs_request(job)] if kind.kind is Kind.TUNE else more)])
        return
    cloud = open_cloud(project.region, aws_profile)
    if kind.kind is Kind.TUNE:
        follow_tuning_job(cloud, job, usd_hour=price)
    else:
        follow_job(cloud, kind, job, logs=logs, usd_hour=price)


def report(
    job: JobArgument,
    out: Annotated[
        Path | None, typer.Option(help="The folder to fetch into.", show_default="sagemaker/JOB", file_okay=False)
    ] = None,
    fetch: Annotated[bool, typer.Option("--fetch/--no-fetch", help="Whether model and reports are fetched.")] = True,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the pages in the browser.")] = True,
    price: Price = None,
    project_file: ProjectFile = PROJECT_FILE,
    aws_profile: AwsProfile = None,
    dry_run: DryRun = False,
) -> None:
    """Say what a job came to, fetch what it left, and open its pages: health, profile, curves, model.

    What lies in the folder afterwards is a run, as `bintally train` makes it: evaluate, export and count take it. Of a
    tuning job it is what `bintally tune` writes, of a batch transform the table of counts.
    """
    project = load_project(project_file, "report")
    from bintally.cloud.names import Kind

    kind = _kind(job, project.project)
    if dry_run:
        print_requests([kind.describe(job)])
        return
    with extra("aws", "bintally sagemaker report"):
        from bintally.cloud.job_state import read_state
    cloud = open_cloud(project.region, aws_profile)
    if kind.kind is Kind.TUNE:
        _report_tuning(cloud, job, out or Path("sagemaker") / job, fetch=fetch, opened=show)
        return
    state = read_state(kind, cloud.send(kind.describe(job)))
    for line in summary(state, usd_hour=price):
        typer.echo(line)
    if state.reason:
        typer.echo(f"It failed: {state.reason}")
    if state.running:
        raise JobError(f"{job} is not done ({state.phase}); follow it: bintally sagemaker attach {job}")
    if fetch and kind.kind is Kind.BATCH:
        fetch_answers(cloud, job, None if out is None else out / "counts.parquet")
    elif fetch:
        _show(_fetch(cloud, state, out or Path("sagemaker") / job), opened=show)


def _report_tuning(cloud: "Cloud", name: str, folder: Path, *, fetch: bool, opened: bool) -> None:
    """What a tuning job found so far, be it over or not."""
    from bintally.cloud.tuning_state import ask_tuning

    state, said = ask_tuning(cloud, name)
    typer.echo(summary_of(state))
    if state.reason:
        typer.echo(f"It failed: {state.reason}")
    if fetch:
        results = write_results_of(cloud, state, said, folder)
        if opened:
            typer.launch(str(results.report.resolve()))


def _kind(job: str, project: str) -> "JobKind":
    from bintally.cloud.job_kinds import job_kind
    from bintally.cloud.names import kind_of

    return job_kind(kind_of(job, project), job)


def _fetch(cloud: "Cloud", state: "JobState", folder: Path) -> "Artefacts":
    from rich import progress

    from bintally.cloud.artefacts import fetch_artefacts

    columns = (progress.TextColumn("fetching"), progress.DownloadColumn(), progress.TransferSpeedColumn())
    console = Console(stderr=True)
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("fetching", total=None)
        return fetch_artefacts(cloud, state, folder, on_bytes=lambda size: bar.advance(task, size))


def _show(found: "Artefacts", *, opened: bool) -> None:
    """What was fetched: health in words, where the rest lies, pages in the browser."""
    for url in found.missing:
        typer.echo(f"Nothing at {url}")
    if not found.files:
        typer.echo("The job left nothing to fetch.")
        return
    names = {path.name: path for path in found.files}
    typer.echo(f"{found.folder}: {', '.join(sorted(str(path.relative_to(found.folder)) for path in found.files))}")
    if "health.json" in names:
        from bintally.evaluation.health import read_health

        typer.echo(f"Health: {read_health(names['health.json']).summary}")
    for page in (path for path in found.files if path.suffix == ".html"):
        typer.echo(f"Page: {page}")
        if opened:
            typer.launch(str(page.resolve()))
    if "model.onnx" in names:
        typer.echo(f"Next: bintally count PHOTO --model {names['model.onnx']}")
