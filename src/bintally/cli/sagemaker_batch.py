"""`bintally sagemaker batch`: all photos below a prefix counted by a transform job, and one table of the answers."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bintally.cli.extras import extra
from bintally.cli.sagemaker_bootstrap import parse_tags
from bintally.cli.sagemaker_deploy import ModelArgument
from bintally.cli.sagemaker_options import (
    PROJECT_FILE,
    AwsProfile,
    DryRun,
    Image,
    InstanceType,
    Logs,
    Price,
    ProjectFile,
    Wait,
    complain,
    load_project,
    open_cloud,
    print_requests,
    say_findings,
    usd,
)
from bintally.cli.sagemaker_watch import follow_job, say_how_to_attach, sent_once
from bintally.errors import EmptySourceError, JobError

if TYPE_CHECKING:
    from bintally.cloud.session import Cloud
    from bintally.cloud.transform_job import TransformJob


def batch(
    model: ModelArgument,
    source: Annotated[str, typer.Argument(metavar="s3://...", help="A prefix: every photo below it is counted.")],
    lines: Annotated[
        bool, typer.Option("--lines", help="Below it lie JSON lines of records, not photos; docs/serving.md has them.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The table, Parquet.", show_default="sagemaker/JOB/counts.parquet")
    ] = None,
    instance_type: InstanceType = "ml.m5.xlarge",
    count: Annotated[int, typer.Option(min=1, help="Instances that share the photos.")] = 1,
    payload_mb: Annotated[int, typer.Option(min=1, help="The largest photo, in MB.")] = 6,
    parallel: Annotated[
        int | None, typer.Option(min=1, help="Photos at a time on each instance.", show_default="as the container says")
    ] = None,
    image: Image = "",
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, on job and model; may be repeated.")] = None,
    price: Price = None,
    wait: Wait = True,
    logs: Logs = False,
    project_file: ProjectFile = PROJECT_FILE,
    aws_profile: AwsProfile = None,
    dry_run: DryRun = False,
) -> None:
    """Count all photos below a prefix, with instances that are there for this job alone.

    The table has a row for each photo: photo, count, probabilities over 0..K, interval, mean; or error. A single object
    that is no photo makes SageMaker fail the job; what was counted until then is fetched all the same, with the reason.
    """
    project = load_project(project_file, "batch")
    with extra("aws", "bintally sagemaker batch"):
        from bintally.cloud.batch import batch_requests, drop_model, send_batch
        from bintally.cloud.batch_results import list_keys, list_request
        from bintally.cloud.checks import about_places, before_starting
        from bintally.cloud.job_kinds import JOB_KINDS
        from bintally.cloud.model_source import find_source, ready_model, source_requests
        from bintally.cloud.names import Kind, resource_name
        from bintally.cloud.transform_job import TransformJob, folder_url
    found, when = find_source(project, model), datetime.now(UTC)

    def job_of(url: str) -> TransformJob:
        content = (url, source, instance_type)
        return TransformJob(
            name=resource_name(project.project, Kind.BATCH, content=content, when=when),
            model=resource_name(project.project, Kind.MODEL, content=content, when=when),
            project=project,
            model_url=url,
            source=source,
            lines=lines,
            image=image,
            instance_type=instance_type,
            instance_count=count,
            payload_mb=payload_mb,
            parallel=parallel,
            tags=parse_tags(tag or []),
        )

    job = job_of(found.url)
    requests = batch_requests(job)
    for finding in about_places(project, source, found.url):
        complain(finding.text)
    if dry_run:
        print_requests([*source_requests(found), list_request(folder_url(source)), *requests])
        typer.echo(_priced(job, price), err=True)
        return
    cloud = open_cloud(project.region, aws_profile)
    say_findings(before_starting(cloud, project, image or project.serve_image))
    sizes = list_keys(cloud, folder_url(source))
    if not sizes:
        raise EmptySourceError(f"{source}: no object lies below it")
    _check_sizes(sizes, job)
    typer.echo(f"{len(sizes):,} objects, {sum(sizes.values()) / 1e6:,.1f} MB. {_priced(job, price)}")
    job = job_of(ready_model(cloud, project, found, say=typer.echo))
    typer.echo(f"Sending {job.name}")
    send_batch(cloud, job, complain=complain)
    if not wait:
        say_how_to_attach(job.name)
        typer.echo(f"When it is done: bintally sagemaker report {job.name}")
        return
    try:
        with sent_once(job.name):
            follow_job(cloud, JOB_KINDS[Kind.BATCH], job.name, logs=logs, usd_hour=price)
    except JobError as error:
        drop_model(cloud, job.model, complain=complain)
        with sent_once(job.name, then="report"):
            fetch_answers(cloud, job.name, out)
        raise JobError(f"{error}. What was counted, and why the rest was not, stands in the table") from error
    drop_model(cloud, job.model, complain=complain)
    with sent_once(job.name, then="report"):
        fetch_answers(cloud, job.name, out)


def fetch_answers(cloud: "Cloud", name: str, out: Path | None) -> None:
    """Fetch a transform job's answers into one table, and say what is in it."""
    from rich import progress

    from bintally.cloud.batch_results import write_answers
    from bintally.cloud.job_kinds import JOB_KINDS
    from bintally.cloud.names import Kind

    path = out or Path("sagemaker") / name / "counts.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    said = cloud.send(JOB_KINDS[Kind.BATCH].describe(name))
    console = Console(stderr=True)
    columns = (progress.TextColumn("fetching"), progress.BarColumn(), progress.MofNCompleteColumn())
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("fetching", total=None)
        answers = write_answers(
            cloud,
            said,
            path,
            complain=complain,
            on_object=lambda done, of: bar.update(task, completed=done, total=of),
        )
    typer.echo(f"{answers.path}: {answers.counted:,} photos counted, {answers.failed:,} not")
    for row in answers.first_errors:
        complain(row)


def _check_sizes(sizes: dict[str, int], job: "TransformJob") -> None:
    """A single object above the limit would fail the job after minutes."""
    from bintally.errors import PhotoTooLargeError

    limit = job.payload_mb * 1_000_000
    if large := [name for name, size in sizes.items() if size > limit and not job.lines]:
        raise PhotoTooLargeError(
            f"{large[0]}: {sizes[large[0]] / 1e6:.1f} MB, as {len(large) - 1} others more than --payload-mb "
            f"{job.payload_mb}: SageMaker would fail the job. To do: a larger --payload-mb, up to 100"
        )


def _priced(job: "TransformJob", price: float | None) -> str:
    from bintally.cloud.prices import forecast

    told = forecast(job.instance_type, count=job.instance_count, hours=1, usd_hour=price)
    what = f"{job.instance_count} x {job.instance_type}"
    if told.usd_hour is None:
        return f"{what}: the price is {told.price_from}"
    return f"{what}: {usd(told.usd_hour)} an hour while it runs ({told.price_from})"
