"""`bintally sagemaker prepare`: a dataset made in the cloud: ingest, split, audit and push as a processing job."""

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer

from bintally.cli.extras import extra
from bintally.cli.sagemaker_options import (
    PROJECT_FILE,
    AwsProfile,
    DryRun,
    Image,
    InstanceType,
    Logs,
    MaxHours,
    Price,
    ProjectFile,
    VolumeGb,
    Wait,
    complain,
    load_project,
    open_cloud,
    print_requests,
    say_findings,
    usd,
)
from bintally.cli.sagemaker_watch import send_and_follow
from bintally.cli.split import parse_required_counts
from bintally.cli.stores import Anonymous


def prepare(
    source: Annotated[str, typer.Argument(help="The bucket with the photos: s3://aft-vbi-pds.")],
    dataset: Annotated[str, typer.Argument(help="The dataset's name in the project's bucket, or s3://...")] = "abid",
    file_list: Annotated[
        Path | None,
        typer.Option("--list", help="Only the photos on a file_list.json.", exists=True, dir_okay=False),
    ] = None,
    key_range: Annotated[
        str, typer.Option("--range", help="Only these keys, both ends included: 00001-00500.", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many photos; 0: no limit.")] = 0,
    region: Annotated[str, typer.Option(help="The source's region.", show_default="the project's; ABID's own")] = "",
    anonymous: Anonymous = None,
    side: Annotated[int, typer.Option(help="Reduce photos to squares of so many pixels; 0: as they came.")] = 0,
    salt: Annotated[str, typer.Option(help="Draw the splits from this text.", show_default=False)] = "",
    require_counts: Annotated[
        str | None,
        typer.Option(
            help="Counts of which every split must hold a photo: 1-5, or 0,1,2, or none.",
            show_default="those of 1-5 that occur",
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite another dataset of that name.")] = False,
    instance_type: InstanceType = "ml.m5.xlarge",
    volume_gb: VolumeGb = 50,
    max_hours: MaxHours = 4,
    image: Image = "",
    price: Price = None,
    wait: Wait = True,
    logs: Logs = True,
    project_file: ProjectFile = PROJECT_FILE,
    aws_profile: AwsProfile = None,
    dry_run: DryRun = False,
) -> None:
    """Make a dataset in the cloud: ingest, split, audit and push, as a processing job.

    The container runs the very code of `bintally ingest`, `split`, `audit`, `prepare` (with `--side`) and `push`. What
    was pushed stays, so the same command goes on after a failure. The audit's page lies with the job.
    """
    project = load_project(project_file, "prepare")
    with extra("aws", "bintally sagemaker prepare"):
        from bintally.cloud.checks import about_places, before_starting
        from bintally.cloud.contract import AUDIT_PAGE
        from bintally.cloud.model_source import upload_request
        from bintally.cloud.names import Kind, resource_name
        from bintally.cloud.places import dataset_url
        from bintally.cloud.prepare_arguments import PrepareSettings
        from bintally.cloud.prices import forecast
        from bintally.cloud.processing_job import PrepareJob, file_list_url, prepare_request, report_url
    if key_range:
        from bintally.data.abid import parse_range

        parse_range(key_range)
    listed = None if file_list is None else _read_list(file_list)
    settings = PrepareSettings(
        source=source,
        dest=dataset_url(project, dataset),
        keys=key_range,
        limit=limit,
        side_px=side,
        salt=salt,
        required_counts=None if require_counts is None else parse_required_counts(require_counts),
        replace=replace,
        region=region,
        anonymous=anonymous,
    )
    name = resource_name(project.project, Kind.PREPARE, content=(settings, listed), when=datetime.now(UTC))
    list_url = "" if listed is None else file_list_url(project, name)
    job = PrepareJob(
        name=name,
        project=project,
        settings=settings,
        instance_type=instance_type,
        image=image,
        list_url=list_url,
        volume_gb=volume_gb,
        max_run_seconds=round(max_hours * 3600),
    )
    request = prepare_request(job)
    for finding in about_places(project, settings.source, settings.dest):
        complain(finding.text)
    if dry_run:
        print_requests([*([upload_request(list_url, f"the list {file_list}")] if list_url else []), request])
        return
    cloud = open_cloud(project.region, aws_profile)
    say_findings(before_starting(cloud, project, image or project.train_image))
    told = forecast(instance_type, count=1, hours=max_hours, volume_gb=volume_gb, usd_hour=price)
    if told.usd_hour is not None and told.at_most_usd is not None:
        typer.echo(
            f"{instance_type}: {usd(told.usd_hour)} an hour, at most {usd(told.at_most_usd)} for {max_hours:g} h "
            f"({told.price_from})"
        )
    else:
        typer.echo(f"{instance_type}: the price is {told.price_from}")
    if listed is not None:
        cloud.send(upload_request(list_url, BytesIO(listed)))
    send_and_follow(cloud, Kind.PREPARE, name, request, wait=wait, logs=logs, usd_hour=price)
    if wait:
        typer.echo(f"Dataset: {settings.dest}\nThe audit's page: {report_url(project, name)}/{AUDIT_PAGE}")
        typer.echo(f"Next: bintally sagemaker train {dataset} --recipe NAME")


def _read_list(path: Path) -> bytes:
    """The list, once it is known that it is one.

    Raises:
        SettingsError: naming the entry that cannot be meant.
    """
    from bintally.data.abid import parse_file_list

    data = path.read_bytes()
    parse_file_list(data, str(path))
    return data
