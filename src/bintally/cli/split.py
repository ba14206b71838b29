"""`bintally split`: which photos are learned from, and which are kept to measure."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bintally.cli.extras import extra
from bintally.cli.tables import count_table
from bintally.errors import SettingsError

if TYPE_CHECKING:
    from bintally.data.splits import SplitReport


def split(
    data: Annotated[Path, typer.Argument(help="The dataset's folder.", file_okay=False)],
    salt: Annotated[
        str | None,
        typer.Option(
            help="Draw the splits from this text. Another than before places every photo anew: figures measured on the "
            "old splits no longer compare.",
            show_default="the dataset's own, or bintally-1",
        ),
    ] = None,
    require_counts: Annotated[
        str | None,
        typer.Option(
            help="Counts of which every split must hold a photo: 1-5, or 0,1,2, or none.",
            show_default="those of 1-5 that occur",
        ),
    ] = None,
) -> None:
    """Place photos in train, val, calibration and test; siblings together, and none that was placed moves."""
    required = None if require_counts is None else parse_required_counts(require_counts)
    with extra("data", "bintally split"):
        from bintally.data import splits
        from bintally.data.audit import NOTE, outdated
        from bintally.data.manifest import Split, read_manifest, write_manifest
    report = splits.split(read_manifest(data), salt, required_counts=required)
    write_manifest(report.manifest)
    console = Console(soft_wrap=True, highlight=False)
    console.print(count_table(report.table, report.unlabelled, [split.value for split in Split]))
    for sentence in _sentences(report):
        console.print(escape(sentence))
    if NOTE in report.manifest.header.extra and (why := outdated(report.manifest)):
        console.print(escape(f"{why[0].upper()}{why[1:]}. Again: bintally audit {data}"))


def parse_required_counts(text: str) -> tuple[int, ...]:
    """Counts as a person gives them.

    Raises:
        SettingsError: if they cannot be meant.

    >>> parse_required_counts("1-3"), parse_required_counts("0,2,4-5"), parse_required_counts("none")
    ((1, 2, 3), (0, 2, 4, 5), ())
    """
    if text.strip() == "none":
        return ()
    counts: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError as error:
            raise SettingsError(f"--require-counts {text!r}: expected counts such as 1-5, 0,1,2 or none") from error
        if not low <= high < 1000:  # noqa: PLR2004 - no bin holds as many
            raise SettingsError(f"--require-counts {text!r}: expected the lower count first, and counts below 1000")
        counts.update(range(low, high + 1))
    return tuple(sorted(counts))


def _sentences(report: "SplitReport") -> list[str]:
    placed = report.manifest.frame.height - report.not_fetched
    said = [
        f"{report.photos_with_sibling} of {placed} photos have a sibling; {report.groups} groups, each whole in one "
        f"split. Split by photo instead, {report.random_test_beside_train} of {report.random_test} test photos "
        f"({report.random_leak:.0%}) would have had a sibling in train.",
    ]
    if report.not_fetched:
        said.append(
            f"{report.not_fetched} photos could not be fetched and are in no split. Ingest again, then split again: no "
            "photo that is placed will move."
        )
    if report.torn_chains:
        said.append(
            f"{report.torn_chains} sibling chains lie in two splits: a photo that came later joined groups that were "
            "placed already, and none was moved. A new --salt would place them together, and all others anew."
        )
    if report.salt_before:
        said.append(f"The salt was {report.salt_before!r}: every photo was placed anew; old figures do not compare.")
    return [*said, f"Split {report.manifest.split_hash}, salt {report.manifest.salt!r}."]
