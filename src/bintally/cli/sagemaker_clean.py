"""`bintally sagemaker clean`: what a project made is removed, after it was shown."""

from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.extras import extra
from bintally.cli.sagemaker_options import (
    PROJECT_FILE,
    AwsProfile,
    DryRun,
    ProjectFile,
    Yes,
    complain,
    load_project,
    open_cloud,
    print_requests,
)
from bintally.errors import CloudError

if TYPE_CHECKING:
    from bintally.cloud.clean import Step
    from bintally.cloud.project import Project
    from bintally.cloud.session import Cloud


def clean(
    data: Annotated[
        bool, typer.Option("--data", help="Also delete datasets, models, checkpoints: all that lies in the bucket.")
    ] = False,
    stack: Annotated[
        bool,
        typer.Option("--stack", help="Also delete the stack: role, repository with its images, budget, notebooks."),
    ] = False,
    project_file: ProjectFile = PROJECT_FILE,
    aws_profile: AwsProfile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Remove what this project made: endpoints, their configurations, models; jobs that still run are stopped.

    What goes is shown before it goes. Run it again as often as you like: what is gone is gone. If something fails, the
    rest is removed all the same, and what is left is named. The bucket is deleted with `--data --stack` only.
    `--dry-run` prints the requests that find what there is; what would be removed depends on their answers.
    """
    project = load_project(project_file, "clean")
    with extra("aws", "bintally sagemaker clean"):
        from bintally.cloud.clean import do_all
        from bintally.cloud.made import list_requests
    if dry_run:
        print_requests(list_requests(project))
        return
    cloud = open_cloud(project.region, aws_profile)
    steps = _steps(cloud, project, data=data, stack=stack)
    if not steps:
        typer.echo(f"Nothing of project {project.project} is to be removed.")
        return
    typer.echo(f"Project {project.project} in {cloud.region}:")
    for step in steps:
        typer.echo(f"  {step.text}")
    if not (yes or typer.confirm("Do it?", default=False)):
        typer.echo("Nothing was removed.")
        raise typer.Exit(1)
    done: list[str] = []

    def on_done(step: "Step", how: str) -> None:
        done.append(step.text)
        typer.echo(f"{step.text}: {how}")

    try:
        failed = do_all(cloud, steps, on_done=on_done)
    except KeyboardInterrupt:
        left = [step.text for step in steps if step.text not in done]
        complain(f"interrupted; not done yet: {'; '.join(left)}. Run the same command again")
        raise
    if failed:
        named = "; ".join(f"{step.text}: {why}" for step, why in failed)
        raise CloudError(f"{len(failed)} of {len(steps)} steps failed, the others are done. Left: {named}")


def _steps(cloud: "Cloud", project: "Project", *, data: bool, stack: bool) -> "list[Step]":
    """What is to be removed, in order."""
    from bintally.cloud.clean import Step, bucket_step, data_steps, held_in, own_bucket, steps_for
    from bintally.cloud.made import find_made
    from bintally.cloud.names import tagged
    from bintally.cloud.stack_apply import delete_stack, find_stack

    steps = steps_for(cloud, project, find_made(cloud, project, complain=complain), complain=complain)
    bucket = data and own_bucket(cloud, project, complain=complain)
    if bucket:
        steps += data_steps(project, held_in(cloud, project))
    name = f"bintally-{project.project}"
    found = find_stack(cloud, name) if stack else None
    if found and not tagged(found.get("Tags", ()), project.project):
        complain(f"the stack {name} lacks the project's tag and is left alone")
    elif found:

        def remove(cloud: "Cloud") -> None:
            delete_stack(cloud, name, on_event=lambda event: typer.echo(f"  {event.status} {event.resource}"))

        steps.append(Step(f"delete the stack {name}", remove))
    if stack and bucket:
        steps.append(bucket_step(project))
    return steps
