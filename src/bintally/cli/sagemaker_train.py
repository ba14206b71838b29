"""`bintally sagemaker train`: `bintally train` on an instance of SageMaker's, followed from here."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.extras import extra
from bintally.cli.sagemaker_bootstrap import parse_tags
from bintally.cli.sagemaker_options import (
    PROJECT_FILE,
    AwsProfile,
    Config,
    Counts,
    DryRun,
    Force,
    Image,
    InputMode,
    InstanceType,
    JobTags,
    Logs,
    MaxHours,
    Price,
    ProjectFile,
    Spot,
    VolumeGb,
    Wait,
    Weights,
    complain,
    load_project,
    open_cloud,
    print_requests,
    say_findings,
    usd,
)
from bintally.cli.sagemaker_watch import send_and_follow
from bintally.cli.train import choose_settings
from bintally.errors import SettingsError
from bintally.evaluation.health import parse_rules

if TYPE_CHECKING:
    from bintally.cloud.training_job import TrainingJob

_HOUR = 3600


def train(
    dataset: Annotated[str, typer.Argument(help="A dataset's name in the project's bucket, or s3://...")],
    recipe: Annotated[str | None, typer.Option(help="A recipe by name; `bintally recipes` lists them.")] = None,
    config: Config = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change one setting: optimiser.lr=0.01; may be repeated.")
    ] = None,
    counts: Counts = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many passes over the photos.")] = None,
    seed: Annotated[int | None, typer.Option(help="Start of all random numbers.")] = None,
    max_steps: Annotated[int, typer.Option(min=-1, help="At most so many optimiser steps; -1: no such limit.")] = -1,
    weights: Weights = "",
    licence: Annotated[
        str | None, typer.Option(help="What the model file says of its use.", show_default=False)
    ] = None,
    instance_type: InstanceType = "ml.g4dn.xlarge",
    instance_count: Annotated[int, typer.Option(min=1, help="Instances that train together.")] = 1,
    spot: Spot = False,
    max_hours: MaxHours = 4,
    max_wait_hours: Annotated[
        float | None,
        typer.Option(help="Of a spot job: waiting and training together.", show_default="twice --max-hours"),
    ] = None,
    checkpoints: Annotated[
        str,
        typer.Option(
            help="Where unfinished state lies; another job's, to go on from it.", show_default="its own place"
        ),
    ] = "",
    no_checkpoints: Annotated[bool, typer.Option("--no-checkpoints", help="Keep no unfinished state.")] = False,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="Save after so many steps.", show_default="1 % of the time")
    ] = None,
    input_mode: InputMode = "FastFile",
    volume_gb: VolumeGb = 50,
    keep_warm: Annotated[int, typer.Option(min=0, help="Keep instances so many minutes for the next job; paid.")] = 0,
    profile: Annotated[bool, typer.Option("--profile", help="Find out where a step's time goes.")] = False,
    stop_on: Annotated[
        list[str] | None,
        typer.Option(help="End the run when this rule, or any, raises an alarm; may be repeated.", metavar="RULE|any"),
    ] = None,
    image: Image = "",
    tag: JobTags = None,
    force: Force = False,
    price: Price = None,
    wait: Wait = True,
    logs: Logs = True,
    project_file: ProjectFile = PROJECT_FILE,
    aws_profile: AwsProfile = None,
    dry_run: DryRun = False,
) -> None:
    """Train in the cloud: the very run of `bintally train`, on SageMaker's instances.

    Before anything is sent, role, image, dataset and weights are looked up and the price is told. Then phases, log and
    metrics are shown as they come; Ctrl-C asks whether to stop the job. An interrupted spot job goes on from its
    checkpoints. When it is done, `bintally sagemaker report JOB` fetches model, curves and reports.
    """
    project = load_project(project_file, "train")
    with extra("aws", "bintally sagemaker train"):
        from bintally.cloud.checks import about_places, about_recipe, before_sending
        from bintally.cloud.hyperparameters import JobSettings
        from bintally.cloud.names import Kind, resource_name
        from bintally.cloud.places import checkpoints_url, dataset_url
        from bintally.cloud.training_job import TrainingJob, training_request
    if checkpoints and no_checkpoints:
        raise SettingsError("expected either --checkpoints or --no-checkpoints")
    run = JobSettings(
        settings=choose_settings(recipe, config, counts=counts, seed=seed, epochs=epochs, changes=change or []),
        stop_on=parse_rules(stop_on or []),
        licence=licence,
        max_steps=max_steps,
        checkpoint_every=checkpoint_every,
        profile=profile,
    )
    name = resource_name(project.project, Kind.TRAIN, content=run, when=datetime.now(UTC))
    waits = max_wait_hours if max_wait_hours is not None or not spot else 2 * max_hours
    job = TrainingJob(
        name=name,
        project=project,
        job=run,
        data_url=dataset_url(project, dataset),
        instance_type=instance_type,
        image=image,
        instance_count=instance_count,
        volume_gb=volume_gb,
        weights_url=weights,
        checkpoints_url="" if no_checkpoints else checkpoints or checkpoints_url(project, name),
        input_mode=input_mode,
        max_run_seconds=round(max_hours * _HOUR),
        spot=spot,
        max_wait_seconds=None if waits is None else round(waits * _HOUR),
        kept_warm_seconds=keep_warm * 60,
        tags=parse_tags(tag or []),
    )
    request = training_request(job)
    places = about_places(project, job.data_url, job.weights_url, job.checkpoints_url)
    for finding in [*about_recipe(job, force=force), *places]:
        complain(finding.text)
    if dry_run:
        print_requests([request])
        _say(_forecast(job, price), err=True)
        return
    cloud = open_cloud(project.region, aws_profile)
    say_findings(before_sending(cloud, job))
    _say(_forecast(job, price))
    send_and_follow(cloud, Kind.TRAIN, name, request, wait=wait, logs=logs, usd_hour=price)
    if wait:
        typer.echo(f"Next: bintally sagemaker report {name}")


def _say(lines: Sequence[str], *, err: bool = False) -> None:
    for line in lines:
        typer.echo(line, err=err)


def _forecast(job: "TrainingJob", price: float | None) -> list[str]:
    """What the job may cost, for a person."""
    from bintally.cloud.prices import forecast, price_table

    hours = job.max_run_seconds / _HOUR
    warm = f" and {job.kept_warm_seconds // 60} min kept warm" if job.kept_warm_seconds else ""
    told = forecast(
        job.instance_type,
        count=job.instance_count,
        hours=hours + job.kept_warm_seconds / _HOUR,
        spot=job.spot,
        volume_gb=job.volume_gb,
        usd_hour=price,
    )
    what = f"{job.instance_count} x {job.instance_type}"
    if told.usd_hour is None or told.at_most_usd is None:
        return [f"{what}: the price is {told.price_from}"]
    said = [
        f"{what}: {usd(told.usd_hour)} an hour, at most {usd(told.at_most_usd)} for {hours:g} h{warm} "
        f"({told.price_from})"
    ]
    if told.spot_at_most_usd is not None:
        share = price_table().spot_share
        said.append(f"As spot perhaps {usd(told.spot_at_most_usd)}, if it costs {share:.0%} of that: an assumption")
    return said
