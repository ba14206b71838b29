"""`bintally registry`: the models that were registered (`list`), and their files (`fetch`)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.extras import extra
from bintally.cli.promote import RegistryName
from bintally.cli.tracking import Tracking, TrackingUri

if TYPE_CHECKING:
    from rich.table import Table

    from bintally.tracking.registry import Version
    from bintally.tracking.store import Store

registry = typer.Typer(
    name="registry",
    help="See which models are registered, and get their files.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@registry.command("list")
def list_models(name: RegistryName = "bintally", tracking_uri: TrackingUri = None) -> None:
    """Show every version with its aliases and figures, and why it is the champion or not."""
    store = _store(tracking_uri, "bintally registry list")
    from rich.console import Console

    from bintally.tracking.registry import list_versions

    versions = list_versions(store, name)
    if not versions:
        typer.echo(f"{store.uri}: no model {name!r} is registered. Register one: bintally promote RUN --data DATA")
        return
    console = Console(highlight=False)
    console.print(_table(name, versions))
    for version in versions:
        said = version.tags.get("bintally.why") or "no gate was passed"
        typer.echo(f"version {version.number}: {said}")


@registry.command()
def fetch(
    wanted: Annotated[str, typer.Argument(help="An alias or a version's number.", metavar="ALIAS|VERSION")],
    out: Annotated[Path, typer.Option(help="Where to write the model file.")],
    name: RegistryName = "bintally",
    tracking_uri: TrackingUri = None,
) -> None:
    """Get a registered model's file, such as the champion's, for `bintally count --model`."""
    store = _store(tracking_uri, "bintally registry fetch")
    from bintally.tracking.registry import fetch as fetch_file
    from bintally.tracking.registry import find_version

    version = find_version(store, name, wanted)
    path = fetch_file(store, version, out)
    typer.echo(f"{path}: {version.name}, {path.stat().st_size / 1e6:.1f} MB")
    typer.echo(f"Next: bintally count PHOTO --model {path}")


def _store(uri: str | None, needed_for: str) -> "Store":
    with extra("track", needed_for):
        import filelock  # noqa: F401 - the registry's own
    return Tracking(uri=uri, experiment="bintally").store(Path("runs"), needed_for)


def _table(name: str, versions: "list[Version]") -> "Table":
    from rich.table import Table

    from bintally.evaluation.columns import METRIC_TITLES, write_value
    from bintally.evaluation.metrics import MetricName
    from bintally.tracking.registry import Tag

    table = Table(title=f"Model {name}", title_justify="left")
    columns = ("version", "alias", "model", "gate", "when")
    for column in columns:
        table.add_column(column, overflow="fold")
    figures = ((MetricName.ACCURACY, Tag.ACCURACY), (MetricName.CROSS_ENTROPY, Tag.CROSS_ENTROPY))
    for metric, _ in figures:
        table.add_column(METRIC_TITLES[metric].lower(), justify="right")
    for version in versions:
        held = version.tags
        when = held.get(Tag.WHEN, version.created.isoformat())[:16].replace("T", " ")
        texts = (", ".join(version.aliases), held.get(Tag.NAME, "–"), held.get(Tag.GATE, "–"), when)
        values = [write_value(metric, float(held[tag])) if tag in held else "–" for metric, tag in figures]
        table.add_row(str(version.number), *texts, *values)
    return table
