"""`bintally sagemaker deploy`: a model behind an endpoint, or behind one that is there."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bintally.cli.extras import extra
from bintally.cli.sagemaker_bootstrap import parse_tags
from bintally.cli.sagemaker_options import (
    PROJECT_FILE,
    AwsProfile,
    DryRun,
    Image,
    InstanceType,
    Price,
    ProjectFile,
    Yes,
    complain,
    load_project,
    open_cloud,
    print_requests,
    say_findings,
    usd,
)
from bintally.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bintally.cloud.endpoint import Endpoint, Scaling, Serverless
    from bintally.cloud.endpoint_state import EndpointState
    from bintally.cloud.project import Project

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A training or tuning job, s3://.../model.tar.gz, or a run, model file or archive here."
    ),
]
_HOURS_IN_MONTH = 730
_THOUSAND_PHOTOS_SECONDS = 100.0  # taken for the example: 0.1 s a photo


def deploy(
    model: ModelArgument,
    endpoint: Annotated[
        str, typer.Option(help="Update this endpoint instead of making one.", show_default=False, metavar="ENDPOINT")
    ] = "",
    instance_type: InstanceType = "ml.m5.large",
    count: Annotated[int, typer.Option(min=1, help="Instances at the beginning.")] = 1,
    min_count: Annotated[int, typer.Option(min=1, help="Where it scales: at least so many instances.")] = 1,
    max_count: Annotated[
        int | None, typer.Option(min=1, help="Let it scale: at most so many instances.", show_default="no scaling")
    ] = None,
    target: Annotated[float, typer.Option(help="Where it scales: photos a minute for each instance.")] = 200,
    no_scaling: Annotated[bool, typer.Option("--no-scaling", help="Of an update: end its scaling.")] = False,
    serverless: Annotated[
        bool, typer.Option("--serverless", help="No instances: paid while it answers, slow to answer first.")
    ] = False,
    memory: Annotated[int, typer.Option(help="Of a serverless endpoint, in MB: 1024, 2048, ... 6144.")] = 2048,
    concurrency: Annotated[int, typer.Option(help="Of a serverless endpoint: requests at a time.")] = 5,
    capture: Annotated[int, typer.Option(help="Keep so many percent of requests and answers in the bucket.")] = 0,
    env: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for the container, as docs/serving.md has them; repeatable.")
    ] = None,
    image: Image = "",
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, on all parts; may be repeated.")] = None,
    max_minutes: Annotated[float, typer.Option(min=1, help="Give up, and take all back, after so long.")] = 30,
    price: Price = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until it has counted a drawn bin, or leave it to itself.")
    ] = True,
    project_file: ProjectFile = PROJECT_FILE,
    aws_profile: AwsProfile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Put a model behind an endpoint: it is shown what that costs, made, waited for, and asked once.

    What never becomes healthy is removed again; what cannot be removed is named. An update of --endpoint makes new
    instances first, and goes back to the old ones if the new do not answer. It costs until `bintally sagemaker clean`.
    """
    project = load_project(project_file, "deploy")
    with extra("aws", "bintally sagemaker deploy"):
        from bintally.cloud.checks import about_places, before_starting
        from bintally.cloud.deploy import Deployment, check_former, find_former
        from bintally.cloud.endpoint import Scaling, Serverless, check_endpoint, making_requests
        from bintally.cloud.model_source import find_source, ready_model, source_requests
    _check_options(project, endpoint, wait=wait, max_count=max_count, no_scaling=no_scaling)
    source = find_source(project, model)
    made = _endpoint(
        project,
        endpoint,
        model_url=source.url,
        image=image,
        instance_type=instance_type,
        count=count,
        scaling=None if max_count is None else Scaling(least=min_count, most=max_count, target=target),
        serverless=Serverless(memory_mb=memory, concurrency=concurrency) if serverless else None,
        capture=capture,
        environment=parse_tags(env or []),
        tags=parse_tags(tag or []),
    )
    check_endpoint(made)
    for finding in about_places(project, source.url):
        complain(finding.text)
    if dry_run:
        print_requests([*source_requests(source), *making_requests(made, updates=bool(endpoint))])
        typer.echo(_priced(made, price), err=True)
        return
    cloud = open_cloud(project.region, aws_profile)
    say_findings(before_starting(cloud, project, image or project.serve_image))
    former = find_former(cloud, endpoint) if endpoint else None
    if former is not None and not no_scaling:
        check_former(made, former)
    typer.echo(_priced(made, price))
    if not (yes or typer.confirm(f"{'Update' if endpoint else 'Make'} endpoint {made.name}?", default=False)):
        typer.echo("Nothing was done.")
        raise typer.Exit(1)
    made = replace(made, model_url=ready_model(cloud, project, source, say=typer.echo))
    console = Console(highlight=False, soft_wrap=True)
    deployment = Deployment(
        cloud=cloud,
        endpoint=made,
        former=former,
        max_minutes=max_minutes,
        say=lambda text: console.print(text, markup=False),
        complain=complain,
    )
    try:
        with console.status(made.name) as status:
            deployment.on_state = lambda state: status.update(_now(state))
            probabilities = deployment.run(wait=wait)
    except KeyboardInterrupt:
        complain(deployment.left())
        raise
    if not wait:
        typer.echo(deployment.left())
        return
    most = max(range(len(probabilities)), key=probabilities.__getitem__)
    typer.echo(f"{made.name} is in service: it counted {most} in a drawn bin")
    typer.echo(f"Next: bintally sagemaker invoke {made.name} PHOTO")
    typer.echo("It costs until you remove it: bintally sagemaker clean")


def _check_options(project: "Project", endpoint: str, *, wait: bool, max_count: int | None, no_scaling: bool) -> None:
    from bintally.cloud.names import Kind, kind_of

    if endpoint and kind_of(endpoint, project.project) is not Kind.ENDPOINT:
        raise SettingsError(
            f"--endpoint {endpoint}: not the name of one of this project's endpoints. `bintally sagemaker status` "
            "lists them"
        )
    if no_scaling and (max_count is not None or not endpoint):
        raise SettingsError("--no-scaling: it ends the scaling of --endpoint, and --max-count begins one")
    if max_count is not None and not wait:
        raise SettingsError("--max-count with --no-wait: an endpoint can scale only once it is in service")


def _endpoint(
    project: "Project",
    name: str,
    *,
    model_url: str,
    image: str,
    instance_type: str,
    count: int,
    scaling: "Scaling | None",
    serverless: "Serverless | None",
    capture: int,
    environment: "Mapping[str, str]",
    tags: "Mapping[str, str]",
) -> "Endpoint":
    """The endpoint with names for all its parts."""
    from bintally.cloud.endpoint import Endpoint
    from bintally.cloud.names import Kind, resource_name

    when = datetime.now(UTC)
    model, config, new = (
        resource_name(project.project, kind, content=(model_url, instance_type, count), when=when)
        for kind in (Kind.MODEL, Kind.CONFIG, Kind.ENDPOINT)
    )
    return Endpoint(
        name=name or new,
        config=config,
        model=model,
        project=project,
        model_url=model_url,
        image=image,
        instance_type=instance_type,
        instance_count=count,
        scaling=scaling,
        serverless=serverless,
        capture_percent=capture,
        environment=environment,
        tags=tags,
    )


def _priced(endpoint: "Endpoint", price: float | None) -> str:
    """What it costs by the hour and the month, for a person."""
    from bintally.cloud.prices import forecast, price_table, serverless_usd

    if (serverless := endpoint.serverless) is not None:
        thousand = serverless_usd(serverless.memory_mb, seconds=_THOUSAND_PHOTOS_SECONDS)
        table = price_table()
        return (
            f"serverless, {serverless.memory_mb} MB: nothing while it is idle; a thousand photos of 0.1 s "
            f"{usd(thousand)} ({table.source}, {table.as_of})"
        )
    told = forecast(endpoint.instance_type, count=endpoint.instance_count, hours=_HOURS_IN_MONTH, usd_hour=price)
    what = f"{endpoint.instance_count} x {endpoint.instance_type}"
    if told.usd_hour is None or told.at_most_usd is None:
        return f"{what}: the price is {told.price_from}"
    said = f"{what}: {usd(told.usd_hour)} an hour, {usd(told.at_most_usd)} a month ({told.price_from})"
    if endpoint.scaling is not None:
        most = endpoint.scaling.most / endpoint.instance_count
        said += f"; {endpoint.scaling.most} instances {usd(told.usd_hour * most)} and {usd(told.at_most_usd * most)}"
    return said


def _now(state: "EndpointState") -> str:
    since = (datetime.now(UTC) - state.created).total_seconds() if state.created else 0
    return f"{state.name}: {state.status}, {max(0, since) / 60:.0f} min since it was made; Ctrl-C leaves it"
