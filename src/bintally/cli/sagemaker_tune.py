"""`bintally sagemaker tune`: `bintally tune` by SageMaker's tuner, each trial a training job."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
from bintally.cli.sagemaker_tune_watch import follow_tuning_job, write_results_of
from bintally.cli.sagemaker_watch import say_how_to_attach, send_job, sent_once
from bintally.cli.train import choose_settings
from bintally.errors import SettingsError

if TYPE_CHECKING:
    from bintally.cloud.tuning_job import TuningJob

_HOUR = 3600


def tune(
    dataset: Annotated[str, typer.Argument(help="A dataset's name in the project's bucket, or s3://...")],
    recipe: Annotated[str | None, typer.Option(help="The recipe to tune; `bintally recipes` lists them.")] = None,
    config: Config = None,
    space: Annotated[
        str, typer.Option(help="What to try: default, resnet101-course, extended, or a file: mine.toml.")
    ] = "default",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change one setting: optimiser.name=sgd; may be repeated.")
    ] = None,
    counts: Counts = None,
    seed: Annotated[int | None, typer.Option(help="Start of all random numbers, the tuner's as well.")] = None,
    weights: Weights = "",
    strategy: Annotated[
        Literal["bayesian", "random", "hyperband"], typer.Option(help="How the tuner chooses values.")
    ] = "bayesian",
    jobs: Annotated[int, typer.Option(min=1, help="At most so many training jobs.")] = 20,
    parallel: Annotated[int, typer.Option(min=1, help="So many of them at a time.")] = 2,
    early_stopping: Annotated[bool, typer.Option(help="End jobs that are unlikely to become the best.")] = True,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(metavar="JOB", help="Learn from an earlier tuning job; may be repeated.", show_default=False),
    ] = None,
    warm_start_type: Annotated[
        Literal["same", "transfer"], typer.Option(help="Whether earlier jobs had the same data and image.")
    ] = "same",
    instance_type: InstanceType = "ml.g4dn.xlarge",
    instance_count: Annotated[int, typer.Option(min=1, help="Instances of each job, that train together.")] = 1,
    spot: Spot = False,
    max_hours: MaxHours = 2,
    max_wait_hours: Annotated[
        float | None,
        typer.Option(help="Of each spot job: waiting and training together.", show_default="twice --max-hours"),
    ] = None,
    input_mode: InputMode = "FastFile",
    volume_gb: VolumeGb = 50,
    image: Image = "",
    tag: JobTags = None,
    force: Force = False,
    out: Annotated[
        Path | None, typer.Option(help="Where the results go.", show_default="sagemaker/JOB", file_okay=False)
    ] = None,
    price: Price = None,
    wait: Wait = True,
    project_file: ProjectFile = PROJECT_FILE,
    aws_profile: AwsProfile = None,
    dry_run: DryRun = False,
) -> None:
    """Search for a recipe's best settings in the cloud: each trial is a training job that SageMaker's tuner starts.

    The space is the one of `bintally tune`, and so are the results: best.toml for `train --config`, trials.csv and one
    page. Jobs are judged by the lowest validation loss that they print. Ctrl-C asks whether to stop; what was found
    until then, `bintally sagemaker report JOB` fetches at any time.
    """
    project = load_project(project_file, "tune")
    with extra("aws", "bintally sagemaker tune"):
        from bintally.cloud.checks import about_places, about_recipe, before_sending
        from bintally.cloud.hyperparameters import JobSettings
        from bintally.cloud.names import Kind, kind_of, resource_name
        from bintally.cloud.places import checkpoints_url, dataset_url
        from bintally.cloud.training_job import TrainingJob
        from bintally.cloud.tuning_job import Strategy, TuningJob, WarmStart, search_hash, tuning_request
        from bintally.cloud.tuning_state import ask_tuning
        from bintally.tuning.checks import check_space
        from bintally.tuning.space_file import find_space
    what = find_space(space)
    if what.recipe is not None and config is None and recipe is None:
        recipe = what.recipe
    changes = change or []
    settings = choose_settings(recipe, config, counts=counts, seed=seed, changes=changes)
    fixed = [each.partition("=")[0].strip() for each in changes]
    with extra("train", f"space {what.name}, which tries networks,"):
        check_space(what, settings, given=fixed)
    if weights and "model.backbone" in what.parameters:
        raise SettingsError(f"space {what.name} tries several backbones, but --weights fits one; leave it away")
    parents = tuple(warm_start or ())
    if strange := [name for name in parents if kind_of(name, project.project) is not Kind.TUNE]:
        raise SettingsError(f"--warm-start {strange[0]}: not the name of one of this project's tuning jobs")
    run = JobSettings(settings=settings)
    searched = search_hash(settings, what)
    name = resource_name(project.project, Kind.TUNE, content=searched, when=datetime.now(UTC))
    waits = max_wait_hours if max_wait_hours is not None or not spot else 2 * max_hours
    training = TrainingJob(
        name=f"{name}-001-00000000",
        project=project,
        job=run,
        data_url=dataset_url(project, dataset),
        instance_type=instance_type,
        image=image,
        instance_count=instance_count,
        volume_gb=volume_gb,
        weights_url=weights,
        checkpoints_url=checkpoints_url(project, name),
        input_mode=input_mode,
        max_run_seconds=round(max_hours * _HOUR),
        spot=spot,
        max_wait_seconds=None if waits is None else round(waits * _HOUR),
        tags=parse_tags(tag or []),
    )
    job = TuningJob(
        name=name,
        training=training,
        space=what,
        strategy=Strategy(strategy),
        jobs=jobs,
        parallel=parallel,
        early_stopping=early_stopping,
        parents=parents,
        warm_start=WarmStart(warm_start_type),
        seed=seed,
    )
    request = tuning_request(job)
    for finding in [*about_recipe(training, force=force), *about_places(project, training.data_url, weights)]:
        complain(finding.text)
    if dry_run:
        print_requests([request])
        typer.echo(_forecast(job, price), err=True)
        return
    cloud = open_cloud(project.region, aws_profile)
    say_findings(before_sending(cloud, training))
    typer.echo(_forecast(job, price))
    send_job(cloud, name, request, about=f" (settings and space {searched})")
    if not wait:
        say_how_to_attach(name)
        return
    with sent_once(name):
        follow_tuning_job(cloud, name, usd_hour=price)
    with sent_once(name, then="report"):
        write_results_of(cloud, *ask_tuning(cloud, name), out or Path("sagemaker") / name)


def _forecast(job: "TuningJob", price: float | None) -> str:
    """What all its jobs may cost, for a person."""
    from bintally.cloud.prices import forecast

    training, hours = job.training, job.training.max_run_seconds / _HOUR
    told = forecast(
        training.instance_type,
        count=training.instance_count,
        hours=hours,
        spot=training.spot,
        volume_gb=training.volume_gb,
        usd_hour=price,
    )
    what = f"{job.jobs} jobs, {job.parallel} at a time, each on {training.instance_count} x {training.instance_type}"
    if told.usd_hour is None or told.at_most_usd is None:
        return f"{what}: the price is {told.price_from}"
    spot = ""
    if told.spot_at_most_usd is not None:
        spot = f"; as spot perhaps {usd(job.jobs * told.spot_at_most_usd)}: an assumption"
    return (
        f"{what}: {usd(told.usd_hour)} an hour each, at most {usd(job.jobs * told.at_most_usd)} if every one takes "
        f"{hours:g} h ({told.price_from}){spot}"
    )
