"""`bintally push`: a dataset into a bucket or folder that others read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bintally.cli.extras import extra
from bintally.cli.stores import Anonymous, Endpoint, Region, transfer_bar

if TYPE_CHECKING:
    from bintally.data.push import PushReport


def push(
    data: Annotated[Path, typer.Argument(help="The dataset.", exists=True, file_okay=False)],
    dest: Annotated[str, typer.Argument(help="s3://bucket/prefix, or a folder; a prefix or folder of its own.")],
    read_back: Annotated[
        bool, typer.Option("--read-back", help="In the end read everything from DEST and compare its sha256.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Overwrite what DEST holds with other bytes, and the manifest of another dataset."
        ),
    ] = False,
    endpoint: Endpoint = None,
    region: Region = None,
    anonymous: Anonymous = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Files under way at once.")] = 64,
    rate: Annotated[float | None, typer.Option(help="At most so many files a second.", show_default=False)] = None,
) -> None:
    """Copy a dataset to a bucket or folder: records and photos, then the manifest with its splits.

    Whatever ended it, run it again to go on: what is there is not sent again. Every file is compared with the manifest
    before it is sent and by DEST when it arrives. Nothing in DEST is removed, and nothing overwritten without
    `--replace`. The manifest comes last: where it is, everything is. `bintally ingest DEST` reads it.
    """
    with extra("data", "bintally push"):
        from bintally.data import push as pushing
        from bintally.data.manifest import read_manifest
        from bintally.data.store import open_store
    manifest = read_manifest(data)
    store = open_store(dest, endpoint=endpoint, region=region, anonymous=anonymous, create=True)
    with transfer_bar("files") as on_progress:
        report = pushing.push(
            manifest,
            store,
            concurrency=concurrency,
            per_second=rate,
            read_back=read_back,
            replace=replace,
            on_progress=on_progress,
        )
    _summarise(report, dest)


def _summarise(report: "PushReport", dest: str) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"{escape(report.url)}: {report.files:,} files are there: {report.sent:,} sent "
        f"({report.sent_bytes / 1e6:,.1f} MB), {report.kept:,} were there already"
    )
    if report.replaced:
        console.print(f"{report.replaced:,} of those sent took the place of other bytes")
    if report.read_back:
        console.print(f"{report.read_back:,} were read back and compared")
    if report.left_alone:
        console.print(f"{report.left_alone:,} other photos are there, which this manifest does not name: left alone")
    console.print("The manifest was written last" if report.manifest_sent else "The manifest is as it was")
    console.print(f"Next: bintally ingest {escape(dest)} FOLDER")
