"""`bintally sagemaker invoke`: photos counted by an endpoint."""

import json
from pathlib import Path
from typing import Annotated

import typer

from bintally.cli.answers import count_fields, error_fields, json_line, sentence
from bintally.cli.count import LevelOption, name_photos
from bintally.cli.exits import BAD_PHOTO
from bintally.cli.extras import extra
from bintally.cli.sagemaker_options import (
    PROJECT_FILE,
    AwsProfile,
    DryRun,
    ProjectFile,
    load_project,
    open_cloud,
    print_requests,
)
from bintally.errors import PhotoError, SettingsError


def invoke(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Its name; status lists them.")],
    photos: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", metavar="PHOTO|FOLDER...")],
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON per photo, as `bintally count`.")] = False,
    words: Annotated[bool, typer.Option("--words", help="One sentence per photo, as `bintally count`.")] = False,
    level: LevelOption = 0.9,
    project_file: ProjectFile = PROJECT_FILE,
    aws_profile: AwsProfile = None,
    dry_run: DryRun = False,
) -> None:
    """Count photos by an endpoint, and print the array of predictions: a row of probabilities over 0..K for each photo.

    Photos that are too large for an endpoint, or cannot be counted, are told one by one, and leave no row; exit code 4
    at the end.
    """
    project = load_project(project_file, "invoke")
    with extra("aws", "bintally sagemaker invoke"):
        from bintally.cloud.invoke import invoke as ask
        from bintally.cloud.invoke import invoke_request
        from bintally.domain.counts import CountDistribution
    if as_json and words:
        raise SettingsError("expected either --json or --words")
    named = name_photos(photos)
    if dry_run:
        sizes = {name: f"the {path.stat().st_size:,} bytes of {path}" for path, name in named.items()}
        print_requests([invoke_request(endpoint, text.encode(), name=name) for name, text in sizes.items()])
        return
    cloud = open_cloud(project.region, aws_profile)
    rows, failed = [], 0
    for path, name in named.items():
        try:
            row = ask(cloud, endpoint, _read(path), name=name)
        except PhotoError as error:
            failed += 1
            typer.echo(f"bintally: {error}", err=True)
            if as_json:
                typer.echo(json_line(error_fields(name, str(error))))
            continue
        believed = CountDistribution(row)
        rows.append(row)
        if as_json:
            # The row itself: making it a distribution again may round its last digit.
            typer.echo(json_line(count_fields(name, believed, level) | {"probabilities": row}))
        elif words:
            typer.echo(sentence(name, believed, level))
    if not (as_json or words):
        typer.echo(json.dumps(rows))
    if failed:
        raise typer.Exit(BAD_PHOTO)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PhotoError(f"{path}: cannot be read ({error})") from error
