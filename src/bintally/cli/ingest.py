"""`bintally ingest`: photos and records from a bucket or folder into a dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bintally.cli.exits import INCOMPLETE
from bintally.cli.extras import extra
from bintally.cli.stores import Anonymous, Concurrency, Endpoint, Rate, Region, transfer_bar

if TYPE_CHECKING:
    from bintally.data.ingest import IngestReport, Selection
    from bintally.data.source import Tally


def ingest(
    source: Annotated[str, typer.Argument(help="s3://bucket/prefix, file:///folder, or a folder's path.")],
    dest: Annotated[Path, typer.Argument(help="The dataset's folder; made if it is not there.", file_okay=False)],
    file_list: Annotated[
        Path | None,
        typer.Option("--list", help="Only the photos on a file_list.json.", exists=True, dir_okay=False),
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="Only this photo, such as 01012 (not 1012); may be repeated.")
    ] = None,
    key_range: Annotated[
        str | None, typer.Option("--range", help="Only these keys, both ends included: 00001-00500.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many photos.")] = None,
    endpoint: Endpoint = None,
    region: Region = None,
    anonymous: Anonymous = None,
    concurrency: Concurrency = 64,
    rate: Rate = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch again what is there already.")] = False,
) -> None:
    """Copy photos and records into a dataset, and write its manifest.

    Whatever ended it, run it again to go on: photos that are there are compared with what is known of them and not
    fetched again. A bad photo or record becomes a flagged row. With more photos the dataset grows, and no photo that
    was placed in a split moves. A bucket that `bintally push` or `prepare` wrote comes with its splits.
    """
    with extra("data", "bintally ingest"):
        from bintally.data import ingest as data
        from bintally.data.store import open_store
    selection = _selection(file_list, key or [], key_range)
    store = open_store(source, endpoint=endpoint, region=region, anonymous=anonymous)
    with transfer_bar("photos") as on_progress:
        report = data.ingest(
            store,
            dest,
            selection,
            limit=limit,
            concurrency=concurrency,
            per_second=rate,
            refresh=refresh,
            on_progress=on_progress,
        )
    _summarise(report)
    if report.refused.count:
        raise typer.Exit(INCOMPLETE)


def _selection(file_list: Path | None, keys: list[str], key_range: str | None) -> "Selection":
    """What the options select together; nothing given selects everything."""
    from bintally.data import abid
    from bintally.data.ingest import AllPhotos, NamedPhotos

    named = [abid.parse_key(key) for key in keys]
    if file_list is not None:
        named += abid.parse_file_list(file_list.read_bytes(), str(file_list))
    if key_range is not None:
        named += abid.parse_range(key_range)
    return NamedPhotos(photo_ids=named) if named else AllPhotos()


def _summarise(report: "IngestReport") -> None:
    console = Console(soft_wrap=True, highlight=False)
    dest = escape(str(report.root))
    kept = f", {report.kept} were there already" if report.kept else ""
    repaired = f" ({report.repaired} of them again: what was there was not as it should be)" if report.repaired else ""
    console.print(
        f"{dest}: {report.fetched} photos fetched{repaired}{kept}, {report.new} of them new; {report.photos} in all, "
        f"{report.labelled} with a count"
    )
    if report.missing.count:
        console.print(f"{report.missing.count} asked for are not in the source: {_first(report.missing)}")
    if report.ignored.count:
        console.print(f"{report.ignored.count} other files ignored: {_first(report.ignored)}")
    for flag, photos in sorted(report.flags.items()):
        console.print(f"{photos} flagged {flag}:")
        for problem in report.examples[flag]:
            console.print(f"  {escape(problem.text)}")
    if report.refused.count:
        console.print(
            f"{report.refused.count} photos or records could not be fetched; run the same command again to try those "
            "alone. The first:"
        )
        for text in report.refused.first:
            console.print(f"  {escape(text)}")
    if report.unplaced:
        console.print(f"Next: bintally split {dest}")


def _first(names: "Tally") -> str:
    return escape(", ".join(names.first) + (", ..." if names.count > len(names.first) else ""))
