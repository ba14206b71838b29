"""`bintally ingest`: photos and records from a bucket or folder into a dataset."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bintally.cli.extras import extra

if TYPE_CHECKING:
    from bintally.data.ingest import IngestReport, Progress, Selection

_SHOWN = 5  # names and problems spelled out; the manifest holds them all


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
    endpoint: Annotated[str | None, typer.Option(help="Another server that speaks S3.")] = None,
    region: Annotated[str | None, typer.Option(help="The bucket's region.")] = None,
    anonymous: Annotated[
        bool | None,
        typer.Option(
            "--anonymous/--signed",
            help="Without credentials, or with the environment's. By default only the public ABID bucket is read "
            "without.",
            show_default=False,
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Photos fetched at once.")] = 64,
) -> None:
    """Copy photos and records into a dataset, and write its manifest.

    A bad photo or record becomes a flagged row and is listed at the end. Run it again with more photos, and the
    dataset grows; no photo that was placed in a split moves.
    """
    with extra("data", "bintally ingest"):
        from bintally.data import ingest as data
        from bintally.data.store import open_store
    selection = _selection(file_list, key or [], key_range)
    store = open_store(source, endpoint=endpoint, region=region, anonymous=anonymous)
    with _progress_bar() as on_progress:
        report = data.ingest(store, dest, selection, limit=limit, concurrency=concurrency, on_progress=on_progress)
    _summarise(report, dest)


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


@contextmanager
def _progress_bar() -> "Iterator[Progress]":
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("finding photos", total=None, rate="")

        def on_progress(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:.0f}/s" if speed else ""
            bar.update(task, description="photos", completed=done, total=total, rate=rate)

        yield on_progress


def _summarise(report: "IngestReport", dest: Path) -> None:
    console = Console(soft_wrap=True, highlight=False)
    frame = report.manifest.frame
    console.print(
        f"{escape(str(dest))}: {report.ingested} photos ingested, {report.new} of them new; {frame.height} in all, "
        f"{frame['count'].count()} with a count"
    )
    if report.missing:
        console.print(f"{len(report.missing)} of {report.selected} not in the source: {_first(report.missing)}")
    if report.ignored:
        console.print(f"{len(report.ignored)} other files ignored: {_first(report.ignored)}")
    for flag, photos in sorted(report.flags.items()):
        console.print(f"{photos} flagged {flag}:")
        for problem in [problem for problem in report.problems if flag in problem.flags][:_SHOWN]:
            console.print(f"  {escape(problem.text)}")
    if frame["split"].null_count():
        console.print(f"Next: bintally split {escape(str(dest))}")


def _first(names: tuple[str, ...]) -> str:
    return escape(", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else ""))
