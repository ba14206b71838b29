"""`bintally sagemaker prepare`: a dataset made in the cloud: ingest, audit, split and push as a processing job."""

from datetime import UTC, datetime
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
    usd,
)


def prepare(
    source: Annotated[str, typer.Argument(help="The bucket with the photos: s3://aft-vbi-pds.")],
    dataset: Annotated[str, typer.Argument(help="The dataset's name in the project's bucket, or s3://...")] = "abid",
    key_range: Annotated[
        str, typer.Option("--range", help="Only these keys, both ends included: 00001-00500.", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many photos; 0: no limit.")] = 0,
    side: Annotated[int, typer.Option(help="Reduce photos to squares of so many pixels; 0: as they came.")] = 0,
    salt: Annotated[str, typer.Option(help="Draw the splits from this text.", show_default=False)] = "",
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
    """Make a dataset in the cloud: ingest, audit, split and push, as a processing job.

    The container runs the very code of `bintally ingest`, `audit`, `split`, `prepare` (with `--side`) and `push`. What
    was pushed stays, so the same command goes on after a failure. The audit's page lies with the job.
    """
    project = load_project(project_file, "prepare")
    with extra("aws", "bintally sagemaker prepare"):
        from bintally.cloud.checks import about_places
        from bintally.cloud.names import Kind, resource_name
        from bintally.cloud.places import dataset_url
        from bintally.cloud.prepare_arguments import PrepareSettings
        from bintally.cloud.prices import forecast
        from bintally.cloud.processing_job import PrepareJob, prepare_request, report_url
    if key_range:
        from bintally.data.abid import parse_range

        parse_range(key_range)
    settings = PrepareSettings(
        source=source,
        dest=dataset_url(project, dataset),
        keys=key_range,
        limit=limit,
        side_px=side,
        salt=salt,
        replace=replace,
    )
    name = resource_name(project.project, Kind.PREPARE, content=settings, when=datetime.now(UTC))
    job = PrepareJob(
        name=name,
        project=project,
        settings=settings,
        instance_type=instance_type,
        image=image,
        volume_gb=volume_gb,
        max_run_seconds=round(max_hours * 3600),
    )
    request = prepare_request(job)
    for finding in about_places(project, settings.source, settings.dest):
        complain(finding.text)
    if dry_run:
        print_requests([request])
        return
    cloud = open_cloud(project.region, aws_profile)
    told = forecast(instance_type, count=1, hours=max_hours, volume_gb=volume_gb, usd_hour=price)
    if told.usd_hour is not None and told.at_most_usd is not None:
        typer.echo(
            f"{instance_type}: {usd(told.usd_hour)} an hour, at most {usd(told.at_most_usd)} for {max_hours:g} h "
            f"({told.price_from})"
        )
    else:
        typer.echo(f"{instance_type}: the price is {told.price_from}")
    from bintally.cli.sagemaker_train import send_and_follow

    send_and_follow(cloud, Kind.PREPARE, name, request, wait=wait, logs=logs, usd_hour=price)
    if wait:
        typer.echo(f"Dataset: {settings.dest}\nThe audit's page: {report_url(project, name)}/audit.html")
        typer.echo(f"Next: bintally sagemaker train {dataset} --recipe NAME")
