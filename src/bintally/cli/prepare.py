"""`bintally prepare`: a dataset's photos decoded and reduced once, into a folder or bucket."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from bintally.cli.exits import INCOMPLETE
from bintally.cli.extras import extra
from bintally.cli.stores import Anonymous, Concurrency, Endpoint, Rate, Region, transfer_bar
from bintally.errors import SettingsError
from bintally.settings import parse_settings, read_settings

if TYPE_CHECKING:
    from bintally.data.prepare import PrepareReport
    from bintally.data.prepare_settings import PrepareSettings
    from bintally.data.source import Tally


def prepare(
    data: Annotated[Path, typer.Argument(help="A dataset's folder, as ingested; split or not.", file_okay=False)],
    dest: Annotated[str, typer.Argument(help="A folder, or s3://bucket/prefix; a place of its own.")],
    recipe: Annotated[str | None, typer.Option(help="Take the side that this recipe sees.")] = None,
    config: Annotated[Path | None, typer.Option(help="Take the side that this settings file has.")] = None,
    side: Annotated[int | None, typer.Option(help="The square's side in pixels; 224 by default.")] = None,
    form: Annotated[
        Literal["jpeg", "png"], typer.Option("--format", help="JPEG: small. PNG: the very pixels, 3 times as large.")
    ] = "jpeg",
    quality: Annotated[int | None, typer.Option(help="Of JPEG, 1 to 100; 95 by default.", show_default=False)] = None,
    endpoint: Endpoint = None,
    region: Region = None,
    anonymous: Anonymous = None,
    concurrency: Concurrency = 64,
    rate: Rate = None,
) -> None:
    """Decode and reduce every photo once, so that training reads small files.

    A prepared photo is the whole frame squashed to the square that the network sees, just as counting does it. DEST
    becomes a dataset: photos, records, and a manifest with the same splits. Whatever ended it, run it again to go on.
    If DATA has grown, only the new photos are prepared; if it was split or audited since, the rows follow.
    """
    with extra("data", "bintally prepare"):
        from bintally.data import prepare as preparing
        from bintally.data.manifest import read_manifest
        from bintally.data.store import open_store
    settings = choose_settings(recipe, config, side, form=form, quality=quality)
    manifest = read_manifest(data)
    store = open_store(dest, endpoint=endpoint, region=region, anonymous=anonymous, create=True)
    with transfer_bar("photos") as on_progress:
        report = preparing.prepare(
            manifest, store, settings, concurrency=concurrency, per_second=rate, on_progress=on_progress
        )
    _summarise(report, store.url, settings)
    if report.refused.count:
        raise typer.Exit(INCOMPLETE)
    trained = f"bintally train {dest} --recipe {recipe or 'NAME'}"
    typer.echo(f"Next: {trained if store.folder is not None else f'bintally ingest {dest} FOLDER'}")


def choose_settings(
    recipe: str | None, config: Path | None, side_px: int | None, *, form: str = "jpeg", quality: int | None = None
) -> "PrepareSettings":
    """What the options mean together.

    Raises:
        SettingsError: if more than one says the side, or a PNG shall have a quality.
    """
    from bintally.data.images import PhotoFormat
    from bintally.data.prepare_settings import PrepareSettings

    if sum(given is not None for given in (recipe, config, side_px)) > 1:
        raise SettingsError("expected one of --recipe, --config and --side, or none: each says the square's side")
    if form == "png" and quality is not None:
        raise SettingsError("--quality is JPEG's; a PNG keeps the very pixels")
    if recipe is not None:
        from bintally.training.recipes import recipe_text

        side_px = parse_settings(recipe_text(recipe), name=recipe).data.side_px
    elif config is not None:
        side_px = read_settings(config).data.side_px
    chosen = {"side_px": side_px, "quality": quality}
    return PrepareSettings(format=PhotoFormat(form), **{k: v for k, v in chosen.items() if v is not None})


def _summarise(report: "PrepareReport", url: str, settings: "PrepareSettings") -> None:
    console = Console(soft_wrap=True, highlight=False)
    shrunk = f" ({report.read_bytes / 1e6:,.1f} MB became {report.written_bytes / 1e6:,.1f})" if report.prepared else ""
    console.print(
        f"{escape(url)}: {report.prepared:,} photos prepared{shrunk}, {report.kept:,} were there already; "
        f"{report.photos:,} in all. Settings {settings.content_hash}: {settings}"
    )
    if report.unusable:
        console.print(f"{report.unusable:,} flagged as unusable: there was nothing to prepare")
    _list(console, report.undecodable, "could not be decoded, and are flagged so now:")
    _list(console, report.refused, "could not be prepared; run the same command again to try those alone:")


def _list(console: Console, tally: "Tally", what: str) -> None:
    if tally.count:
        console.print(f"{tally.count:,} {what}")
    for text in tally.first:
        console.print(f"  {escape(text)}")
    if tally.count > len(tally.first):
        console.print("  ...")
