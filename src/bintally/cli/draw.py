"""`bintally draw`: a bucket of drawn bins with known contents, for trying everything out offline."""

from pathlib import Path
from typing import Annotated

import typer


def draw(
    destination: Annotated[Path, typer.Argument(help="A new or empty folder; drawn again if drawn alike before.")],
    photos: Annotated[int, typer.Option(help="How many photos.")] = 1000,
    seed: Annotated[int, typer.Option(help="Another seed, other bins; the same seed, the same bytes.")] = 0,
    max_count: Annotated[int, typer.Option(help="The most items in one bin (1 to 12).")] = 10,
    oddities: Annotated[
        bool, typer.Option(help="Also draw what is wrong in real buckets: totals, missing records, look-alike keys.")
    ] = False,
) -> None:
    """Draw photos of bins, with their records, laid out as ABID's bucket is.

    Nothing is downloaded: `bintally ingest DESTINATION ...` treats the result like any other bucket.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from bintally.data.synthetic import draw_bucket

    console = Console(stderr=True)
    columns = (TextColumn("drawing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("drawing", total=photos)
        counts = draw_bucket(
            destination,
            photos=photos,
            seed=seed,
            max_count=max_count,
            oddities=oddities,
            on_photo=lambda: progress.advance(task),
        )
    console.print(
        f"Drew {len(counts):,} photos with {sum(counts.values()):,} items into {destination}. "
        f"Next: bintally ingest {destination} DEST",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
