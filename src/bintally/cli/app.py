"""`bintally`: puts the verbs together and turns errors into a sentence and an exit code."""

import logging
import sys
from typing import Annotated

import typer

from bintally import __version__
from bintally.cli.audit import audit
from bintally.cli.count import count
from bintally.cli.data import data
from bintally.cli.demo import demo
from bintally.cli.draw import draw
from bintally.cli.evaluate import evaluate
from bintally.cli.exits import INTERRUPTED, exit_code
from bintally.cli.export import export
from bintally.cli.ingest import ingest
from bintally.cli.models import models
from bintally.cli.prepare import prepare
from bintally.cli.promote import promote
from bintally.cli.push import push
from bintally.cli.recipes import recipes
from bintally.cli.registry import registry
from bintally.cli.sagemaker import sagemaker
from bintally.cli.serve import serve
from bintally.cli.split import split
from bintally.cli.track import track
from bintally.cli.train import train
from bintally.cli.tune import tune
from bintally.cli.verify import verify
from bintally.errors import BintallyError

app = typer.Typer(
    name="bintally",
    help="Counts the items in a photo of a warehouse bin and checks the count against the record.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)
for verb in (
    demo,
    draw,
    ingest,
    split,
    audit,
    prepare,
    push,
    recipes,
    train,
    tune,
    track,
    evaluate,
    export,
    promote,
    count,
    verify,
    serve,
):
    app.command(verb.__name__)(verb)
app.add_typer(data)
app.add_typer(models)
app.add_typer(registry)
app.add_typer(sagemaker)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bintally {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done, to standard error.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def main() -> None:
    """Run the command line; a Bintally error ends as one sentence on standard error and its exit code."""
    try:
        app()
    except BintallyError as error:
        typer.echo(f"bintally: {error}", err=True)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        typer.echo("bintally: interrupted", err=True)
        sys.exit(INTERRUPTED)
