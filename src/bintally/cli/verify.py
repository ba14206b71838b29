"""`bintally verify`: does the photo agree with what should be in the bin?"""

from pathlib import Path
from typing import Annotated

import typer

from bintally.cli.answers import count_fields, json_line, sentence, verdict_fields
from bintally.cli.count import JsonOption, LevelOption, ModelOption, is_folder
from bintally.cli.exits import BY_DECISION
from bintally.domain.verdicts import Policy, decide
from bintally.errors import EmptySourceError, PhotoError, SettingsError


def verify(
    photo: Annotated[Path, typer.Argument(help="The photo of the bin.", readable=False)],
    expect: Annotated[int, typer.Option("--expect", "-e", min=0, help="How many items the record says are there.")],
    model: ModelOption = None,
    as_json: JsonOption = False,
    level: LevelOption = 0.9,
    clear_at: Annotated[
        float, typer.Option(help="Match from this P(count = expected); above 0.5, at most 1.")
    ] = Policy().clear_at,
    flag_at: Annotated[
        float, typer.Option(help="Short or over from this P(fewer) or P(more); above 0.5, at most 1.")
    ] = Policy().flag_at,
) -> None:
    """Check a photo against an expected count: match, short, over, or review by a person.

    Exit code 0 for match, 10 for short, 11 for over, 12 for review. An expectation at or above K, the model's last
    count, is never a match: "K or more" cannot tell K from K+1.
    """
    try:
        policy = Policy(clear_at=clear_at, flag_at=flag_at)
    except ValueError as error:
        raise SettingsError(f"--clear-at, --flag-at: {error}") from error
    from bintally.inference.engine import Engine
    from bintally.inference.find import find_model

    if is_folder(photo):
        raise EmptySourceError(f"{photo}: a folder; pass one photo")
    engine = Engine(find_model(model), threads=1)
    ((_, distribution),) = engine.count_files([photo])
    if isinstance(distribution, PhotoError):
        raise distribution
    verdict = decide(distribution, expect, policy, known_counts=engine.facts.known_counts)
    if as_json:
        typer.echo(json_line({**count_fields(photo.name, distribution, level), **verdict_fields(verdict)}))
    else:
        typer.echo(f"{verdict.decision.value.upper()}: {verdict.reason}")
        typer.echo(sentence(photo.name, distribution, level))
    raise typer.Exit(BY_DECISION[verdict.decision])
