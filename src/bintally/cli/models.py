"""`bintally models`: which are here (`list`), what one is (`show`), whether it is whole (`verify`), and `add`."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bintally.inference.library import KnownModel
    from bintally.inference.model_file import ModelFacts

models = typer.Typer(
    name="models",
    help="See which models are here, what they are, and whether they are whole.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
NameArgument = Annotated[str, typer.Argument(help="A model's name, file, or run; by default the one that is used.")]


@models.command("list")
def list_models() -> None:
    """List the models that `--model NAME` can call, and which one is used where none is named."""
    from rich.console import Console
    from rich.table import Table

    from bintally.errors import ModelError
    from bintally.inference.engine import Engine
    from bintally.inference.find import ENVIRONMENT_VARIABLE, HOW_TO_GET_ONE, find_model
    from bintally.inference.library import added_names, installed_names, known_model

    names = list(dict.fromkeys([*installed_names(), *added_names()]))
    if not names:
        typer.echo(f"No model is installed, and none was added. {HOW_TO_GET_ONE}")
        return
    used, fault = None, ""
    try:
        used = find_model(None)
    except ModelError as error:
        fault = str(error)
    table = Table(title="Models", title_justify="left")
    for column in ("name", "", "from", "MB", "counts", "side", "licence"):
        table.add_column(column, overflow="fold")
    for name in names:
        try:
            model = known_model(name)
            facts = Engine(model.path, threads=1).facts
        except ModelError as error:
            table.add_row(name, "cannot be used", str(error))
            continue
        table.add_row(
            name,
            "used by default" if model.path == used else "",
            model.package or str(model.path),
            f"{model.path.stat().st_size / 1e6:.1f}",
            _counts(facts),
            f"{facts.side_px} px",
            facts.provenance.licence,
        )
    Console(highlight=False).print(table)
    if fault:
        typer.echo(f"None is used by default: {fault}")
    elif os.environ.get(ENVIRONMENT_VARIABLE):
        typer.echo(f"${ENVIRONMENT_VARIABLE} says which one is used by default: {used}")


@models.command()
def show(name: NameArgument = "") -> None:
    """Show what a model says of itself: what it counts, its figures, where it comes from, its licence and its card."""
    from rich.console import Console
    from rich.markdown import Markdown

    from bintally.inference.engine import Engine

    model = _find(name)
    facts = Engine(model.path, threads=1).facts
    for title, value in _facts(model, facts):
        typer.echo(f"{title:<12}{value}")
    if model.card:
        Console().print(Markdown(model.card))


@models.command()
def verify(name: NameArgument = "") -> None:
    """Look whether a model's file is whole and answers on this machine as it did where it was exported."""
    from bintally.inference.verify import verify_model

    model = _find(name)
    found = verify_model(model)
    whole = "as installed" if model.sha256 else "nothing says what it should be"
    typer.echo(f"{model.path}: sha256 {found.sha256} ({whole})")
    if found.difference is None:
        typer.echo("It opens and answers; it does not say what it answered where it was exported: export it again")
    else:
        typer.echo(f"It answers as where it was exported: {found.difference:.1e} in probability apart at most")


@models.command()
def add(
    file: Annotated[Path, typer.Argument(help="A model file, or a run's folder that holds one.")],
    name: Annotated[str, typer.Option(help="What to call it.", show_default="what it calls itself")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite another of that name.")] = False,
) -> None:
    """Copy a model to your own folder of models, so that it can be called by name from anywhere."""
    from bintally.inference.find import find_model
    from bintally.inference.library import add_model

    added = add_model(find_model(str(file)), name, replace=replace)
    typer.echo(f"{added.name}: {added.path}")
    typer.echo(f"Next: bintally count PHOTO --model {added.name}")


def _find(name: str) -> "KnownModel":
    from bintally.errors import ModelError
    from bintally.inference.find import find_model
    from bintally.inference.library import KnownModel, Origin, added_names, installed_names, known_model

    path = find_model(name or None)
    for each in (*installed_names(), *added_names()):
        with suppress(ModelError):  # another than the one that is meant
            if (model := known_model(each)).path == path:
                return model
    return KnownModel(name="", path=path, origin=Origin.FILE)


def _facts(model: "KnownModel", facts: "ModelFacts") -> "Iterator[tuple[str, str]]":
    origin = facts.provenance
    yield "name", model.name or facts.name
    yield "file", f"{model.path} ({model.path.stat().st_size / 1e6:.1f} MB)"
    if model.package:
        yield "package", model.package
    yield "counts", _counts(facts)
    yield "photos", f"any size; squashed to {facts.side_px} x {facts.side_px}"
    if facts.members or facts.mirror:
        runs = f"the mean of {len(facts.members)} runs" if facts.members else "one run"
        yield "answers", runs + (", over a photo and its mirror image" if facts.mirror else "")
    yield "made", f"{origin.created} by Bintally {origin.bintally_version}"
    yield "from", f"photos {origin.manifest_hash} (split {origin.split_hash}), weights {origin.weights}"
    if origin.teachers:
        yield "taught by", ", ".join(origin.teachers)
    for metric, value in facts.metrics.items():
        yield metric, f"{value:.4f}"
    yield "licence", origin.licence


def _counts(facts: "ModelFacts") -> str:
    high = f"{facts.known_high}" if facts.known_high is not None else f"{facts.last_count} or more"
    return f"{facts.known_low} to {high}"
