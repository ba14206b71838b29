"""The options of every verb that talks to a bucket, and the bar that it shows while photos move."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from bintally.data.transfer import OnProgress, Progress

Endpoint = Annotated[str | None, typer.Option(help="Another server that speaks S3, such as http://127.0.0.1:9000.")]
Region = Annotated[str | None, typer.Option(help="The bucket's region.")]
Anonymous = Annotated[
    bool | None,
    typer.Option(
        "--anonymous/--signed",
        help="Without credentials, or with the environment's. By default only the public ABID bucket is read without.",
        show_default=False,
    ),
]
Concurrency = Annotated[int, typer.Option(min=1, help="Photos under way at once.")]
Rate = Annotated[float | None, typer.Option(help="At most so many photos a second.", show_default=False)]


@contextmanager
def transfer_bar(doing: str) -> "Iterator[OnProgress]":
    """A bar on standard error: photos, photos and MB a second, time left.

    Args:
        doing: what it says, such as `fetching`.
    """
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("{task.completed:,.0f} of {task.fields[found]}"),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(doing, total=None, found="...", rate="")

        def on_progress(now: "Progress") -> None:
            shown = bar.tasks[0]
            seconds = shown.elapsed or 0.0
            rate = f"{now.done / seconds:,.0f}/s, {now.done_bytes / seconds / 1e6:,.1f} MB/s" if seconds else ""
            found = f"{now.total:,}" if now.counted else f"{now.total:,} found so far"
            bar.update(task, completed=now.done, total=now.total if now.counted else None, found=found, rate=rate)

        yield on_progress
