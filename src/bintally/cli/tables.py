"""Tables that more than one verb prints."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_LAST_ROW = 10  # counts from here on share one row


def count_table(
    counts: Mapping[int, Mapping[str, int]], unlabelled: Mapping[str, int], places: Sequence[str]
) -> "Table":
    """Photos by count and place.

    Args:
        counts: count -> place -> photos.
        unlabelled: place -> photos without a count.
        places: the columns: splits, and perhaps none.
    """

    def row(name: str, parts: Iterable[Mapping[str, int]]) -> list[tuple[str, list[int]]]:
        found = list(parts)
        return [(name, [sum(part[place] for part in found) for place in places])] if found else []

    rows = [each for count in range(_LAST_ROW) for each in row(str(count), [counts[count]] if count in counts else [])]
    rows += row(f"{_LAST_ROW}+", [found for count, found in counts.items() if count >= _LAST_ROW])
    rows += row("unlabelled", [unlabelled] if any(unlabelled.values()) else [])
    everywhere = row("all", [*counts.values(), unlabelled])
    table = place_table("Photos by count and split", "count", places, rows, everywhere)
    table.columns[0].justify = "right"
    return table


def place_table(
    title: str,
    first: str,
    places: Sequence[str],
    rows: Iterable[tuple[str, Sequence[int]]],
    last: Iterable[tuple[str, Sequence[int]]] = (),
) -> "Table":
    """How many photos of what lie where, each row with its sum if there is more than one place; `last` stands apart."""
    from rich.table import Table

    table = Table(first, *((*places, "all") if len(places) > 1 else ("photos",)), title=title, title_justify="left")
    table.min_width = len(title)
    for column in table.columns[1:]:
        column.justify = "right"
    for part in (rows, last):
        for name, photos in part:
            shown = (*photos, sum(photos)) if len(places) > 1 else photos
            table.add_row(name, *(f"{each:,}" for each in shown))
        table.add_section()
    return table
