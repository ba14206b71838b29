"""`bintally promote`: a model into the registry, and through the gate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.evaluate import load_engine, progress_bars
from bintally.cli.exits import REFUSED
from bintally.cli.extras import extra
from bintally.cli.tracking import Experiment, Tracking, TrackingUri

if TYPE_CHECKING:
    from bintally.tracking.promotion import Promotion

RegistryName = Annotated[str, typer.Option("--name", help="The model's name in the registry.")]


def promote(
    model: Annotated[Path, typer.Argument(help="A run's folder, or a model file.", metavar="RUN|MODEL")],
    data: Annotated[Path, typer.Option("--data", help="The dataset on whose test split models are compared.")],
    name: RegistryName = "bintally",
    tracking_uri: TrackingUri = None,
    experiment: Experiment = "bintally",
    margin: Annotated[
        float, typer.Option(help="So many points of accuracy the model may be worse, at its interval's worse end.")
    ] = 1.0,
    margin_loss: Annotated[float, typer.Option(help="Likewise in cross entropy, in nats.")] = 0.02,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare only: nothing is registered or changed.")] = False,
) -> None:
    """Make a model the champion, if it is not worse than the one there is.

    Registers it as a new version, the candidate, and compares it with the champion on the same test photos. Ends with
    code 13 where the champion stays.
    """
    with extra("track", "bintally promote"):
        from bintally.data.manifest import read_manifest
        from bintally.inference.find import FILE_NAME
        from bintally.tracking.gate import Margins
        from bintally.tracking.promote import Wish
        from bintally.tracking.promote import promote as pass_gate
        from bintally.tracking.registry import check_name
    margins = Margins(accuracy=margin / 100, cross_entropy=margin_loss)
    is_file = model.suffix == ".onnx"
    store = Tracking(uri=tracking_uri, experiment=experiment).store(_runs_of(model), "bintally promote")
    manifest = read_manifest(data)
    load_engine(model)
    wish = Wish(
        model=model if is_file else model / FILE_NAME,
        run=None if is_file else model,
        manifest=manifest,
        name=check_name(name),
        margins=margins,
        dry_run=dry_run,
    )
    with progress_bars() as bar:
        found = pass_gate(store, wish, bar)
    _show(found)
    if found.judgement.outcome.is_refusal:
        raise typer.Exit(REFUSED)


def _runs_of(model: Path) -> Path:
    """The folder of the runs' folders, where a store is by default."""
    place = model.resolve().parent
    return place.parent if model.suffix == ".onnx" else place


def _show(found: "Promotion") -> None:
    from rich.console import Console

    judgement = found.judgement
    if judgement.checks:
        Console(highlight=False).print(_table(found))
    number = f" (version {found.version})" if found.version else ""
    only = "would be " if found.dry_run else ""
    typer.echo(f"{found.candidate}{number}: {only}{judgement.outcome}. {judgement.why[:1].upper()}{judgement.why[1:]}")
    if found.dry_run:
        typer.echo("Nothing was registered or changed, as --dry-run asks.")


def _table(found: "Promotion") -> "object":
    from rich.table import Table

    from bintally.evaluation.columns import METRIC_TITLES, write_interval, write_value

    judgement = found.judgement
    table = Table(title=f"{judgement.photos:,} test photos in {judgement.groups:,} groups, all counts")
    for column in ("", found.candidate, found.compared_with, "difference", "95 % interval", "margin"):
        table.add_column(column, justify="right" if column else "left", overflow="fold")
    for check in judgement.checks:
        table.add_row(
            METRIC_TITLES[check.metric],
            write_value(check.metric, check.candidate.value),
            write_value(check.metric, check.other.value),
            write_value(check.metric, check.difference.value, signed=True),
            write_interval(check.metric, check.difference, signed=True),
            write_value(check.metric, check.margin, signed=True).lstrip("+"),
        )
    return table
