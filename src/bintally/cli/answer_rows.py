"""The rows that a query gave: as a table for a person, as CSV, or as one line of JSON each."""

import csv
import json
import math
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from bintally.data.query import Answer


def write_csv(answer: "Answer", file: TextIO) -> None:
    """Every row; lists and items as JSON, null as nothing."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows([_cell(value) for value in row] for row in answer.rows)


def write_json(answer: "Answer", file: TextIO) -> None:
    """Every row as one line."""
    for row in answer.rows:
        file.write(json.dumps(dict(zip(answer.columns, map(_plain, row), strict=True)), ensure_ascii=False) + "\n")


def print_table(answer: "Answer", limit: int) -> None:
    """At most `limit` rows, and that there are more."""
    from rich.table import Table

    table = Table(*map(escape, answer.columns))
    for row in islice(answer.rows, limit):
        table.add_row(*("null" if value is None else escape(printable(_cell(value))) for value in row))
    console = Console(highlight=False)
    console.print(table)
    if next(answer.rows, None) is not None:
        console.print(f"The first {limit} rows. --limit shows more of them, --csv and --json all.")


def _plain(value: object) -> object:
    """A value as JSON can hold it: no number that is none, and what JSON does not know as text.

    >>> _plain([1, Decimal("1.5"), float("nan"), b"ab"])
    [1, 1.5, None, '6162']
    """
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _cell(value: object) -> str:
    """A value as text: lists and items as JSON, nothing for null."""
    plain = _plain(value)
    if plain is None:
        return ""
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, dict | list | bool) else str(plain)


def printable(text: str) -> str:
    r"""Text from outside, without characters that would steer a terminal.

    >>> printable("a\x1b[31mb")
    'a?[31mb'
    """
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)
