"""`bintally data`: what is in a dataset, at a glance (`show`) or by SQL (`query`)."""

import math
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.console import Console
from rich.markup import escape

from bintally.cli.answer_rows import print_table, printable, write_csv, write_json
from bintally.cli.extras import extra
from bintally.cli.tables import count_table, place_table
from bintally.errors import SettingsError

if TYPE_CHECKING:
    from rich.table import Table

    from bintally.data.query import Answer
    from bintally.data.summary import Spread, Summary

data = typer.Typer(
    name="data",
    help="See what is in a dataset.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
FolderArgument = Annotated[Path, typer.Argument(metavar="DATA", help="The dataset's folder.", file_okay=False)]
_BAR = 40  # characters of the longest bar
_FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet"}


@data.command()
def show(
    folder: FolderArgument,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Show a dataset at a glance: photos, counts, splits, flags, products, sizes, and where it comes from.

    Everything is taken from the manifest; no photo is read.
    """
    with extra("data", "bintally data show"):
        from bintally.data.manifest import read_manifest
        from bintally.data.summary import summarise
    summary = summarise(read_manifest(folder))
    if as_json:
        typer.echo(summary.model_dump_json())
        return
    console = Console(highlight=False)
    for table in _tables(folder, summary):
        console.print(table)


@data.command()
def query(
    folder: FolderArgument,
    sql: Annotated[
        str | None, typer.Argument(metavar="SQL", help="One query; without it, the tables and examples are shown.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Every row as CSV; lists and items as JSON in it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Every row as one line of JSON.")] = False,
    parquet: Annotated[Path | None, typer.Option(metavar="FILE", help="Every row into this Parquet file.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Every row into this file; its ending says how: .csv, .json or .parquet."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows of the table for a person.")] = 40,
) -> None:
    """Ask a dataset's manifest something in SQL (DuckDB's).

    There are two tables: `photos`, one row for each, and `items`, one row for each product in a bin. A query changes
    nothing: it sees a copy of the manifest in memory, and no file besides.
    """
    with extra("data", "bintally data query"):
        from bintally.data.manifest import scan_manifest
        from bintally.data.query import check_outside, query_to_parquet
        from bintally.data.query import query as ask
    form, path = _choose_output(as_csv=as_csv, as_json=as_json, parquet=parquet, out=out)
    if sql is None:
        if form != "table":
            raise SettingsError(f"expected a query to write as {form}; `bintally data query {folder}` shows examples")
        scan_manifest(folder)
        _explain(folder)
        return
    if path is not None:
        check_outside(folder, path)
    if form == "parquet" and path is not None:
        query_to_parquet(folder, sql, path)
    else:
        with ask(folder, sql) as answer:
            _write(answer, form, path, limit)
    if path is not None:
        typer.echo(f"Written: {path}")


# --- show ------------------------------------------------------------------------------------------------------------


def _tables(folder: Path, summary: "Summary") -> "Iterator[Table]":
    from bintally.data.splits import NO_SPLIT, PLACES

    yield _facts(folder, summary)
    places = PLACES if summary.salt else (NO_SPLIT,)
    if summary.salt and not summary.by_split[NO_SPLIT]:
        places = PLACES[:-1]
    yield count_table(summary.by_count, summary.unlabelled, places)
    if summary.flags:
        rows = [(flag, [found[place] for place in places]) for flag, found in summary.flags.items()]
        yield place_table("Photos by flag and split", "flag", places, rows)
    yield _spreads(summary.spreads)
    yield _bars("Products in a bin", "products", summary.products_per_photo)
    if summary.top_products:
        yield _top_products(summary)


def _facts(folder: Path, summary: "Summary") -> "Table":
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, said in _said(folder, summary):
        table.add_row(name, escape(said))
    return table


def _said(folder: Path, summary: "Summary") -> Iterator[tuple[str, str]]:
    unlabelled = summary.photos - summary.labelled
    yield "dataset", str(folder) + ("" if summary.complete else " (not finished: run the verb that wrote it again)")
    yield "from", summary.source + (f", first from {summary.origin}" if summary.origin != summary.source else "")
    yield "photos", f"{summary.photos:,}, {summary.size_bytes / 1e6:,.1f} MB; {unlabelled:,} without a count"
    yield "not usable", f"{summary.unusable:,}, of which {summary.not_fetched:,} could not be fetched"
    yield "prepared", str(summary.prepared) if summary.prepared else "no: the photos are as they came"
    yield "audited", _audited(folder, summary.audit)
    yield "content", summary.content_hash
    if summary.split_hash is None:
        yield "splits", f"none yet: bintally split {folder}"
        return
    yield "splits", f"{summary.split_hash}, salt {summary.salt!r}"
    sizes = ", ".join(f"{groups:,} of {size}" for size, groups in summary.group_sizes.items())
    yield "groups", f"{summary.groups:,} ({sizes}); {summary.photos_with_sibling:,} photos have a sibling"


def _audited(folder: Path, note: Mapping[str, object] | None) -> str:
    if note is None:
        return f"no: bintally audit {folder}"
    said = ", ".join(f"{name} {value}" for name, value in _leaves(note.get("thresholds")))
    return f"{note.get('when', 'yes')}" + (f" ({said})" if said else "")


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Every value of nested objects, with its name.

    >>> list(_leaves({"dark": 60, "near": {"bits": 10}}))
    [('dark', 60), ('bits', 10)]
    """
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, key)
    elif name:
        yield name, value


def _spreads(spreads: "Mapping[str, Spread]") -> "Table":
    from rich.table import Table

    table = Table("figure", "least", "5 %", "median", "95 %", "most", "photos")
    table.title, table.title_justify = "How photos differ", "left"
    for column in table.columns[1:]:
        column.justify = "right"
    for name, spread in spreads.items():
        figures = (spread.least, spread.low, spread.median, spread.high, spread.most, spread.photos)
        table.add_row(name, *map(_figure, figures))
    return table


def _figure(value: float) -> str:
    """Three digits, or all of a large number's.

    >>> _figure(0.0312), _figure(61.25), _figure(10918.0)
    ('0.0312', '61.2', '10,918')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def _bars(title: str, what: str, tally: Mapping[int, int]) -> "Table":
    """A histogram: the last bar is for all that come after."""
    from rich.table import Table

    table = Table(what, "photos", "", title=title, title_justify="left")
    table.columns[0].justify = table.columns[1].justify = "right"
    shown = {str(value): photos for value, photos in tally.items() if value < 10}  # noqa: PLR2004 - one digit
    if rest := sum(photos for value, photos in tally.items() if str(value) not in shown):
        shown["10+"] = rest
    for value, photos in shown.items():
        table.add_row(value, f"{photos:,}", "█" * math.ceil(_BAR * photos / max(shown.values())))
    return table


def _top_products(summary: "Summary") -> "Table":
    from rich.table import Table

    table = Table("product", "name", "photos", "items", title_justify="left")
    table.title = f"Most frequent of {summary.products:,} products"
    for product in summary.top_products:
        table.add_row(product.sku, escape(printable(product.name or "")), f"{product.photos:,}", f"{product.items:,}")
    return table


# --- query -----------------------------------------------------------------------------------------------------------


def _choose_output(*, as_csv: bool, as_json: bool, parquet: Path | None, out: Path | None) -> tuple[str, Path | None]:
    """How the answer is written (table, csv, json or parquet), and the file; None: to standard output.

    Raises:
        SettingsError: if the options contradict each other.
    """
    given = [form for form, on in (("csv", as_csv), ("json", as_json), ("parquet", parquet is not None)) if on]
    if len(given) > 1 or (parquet is not None and out is not None):
        raise SettingsError(
            "expected at most one of --csv, --json and --parquet; --out goes with the first two, or alone"
        )
    if out is None or given:
        return (given[0] if given else "table"), parquet or out
    if out.suffix not in _FORMATS:
        raise SettingsError(f"--out {out}: expected a name that ends in {', '.join(_FORMATS)}, or --csv or --json")
    return _FORMATS[out.suffix], out


def _explain(folder: Path) -> None:
    """The tables, their columns and what can be asked."""
    from rich.table import Table

    from bintally.data.query import EXAMPLES, TABLES

    console = Console(highlight=False, soft_wrap=True)
    for name, columns in TABLES.items():
        table = Table("column", "what it holds", title=f"Table {name}", title_justify="left")
        for column, meaning in columns.items():
            table.add_row(column, escape(meaning))
        console.print(table)
    console.print("`group` is a word of SQL: put it in double quotes, and the query then in single ones.\n")
    for title, sql in EXAMPLES.items():
        console.print(f'{title}:\n  bintally data query {escape(shlex.quote(str(folder)))} "{escape(sql)}"')


def _write(answer: "Answer", form: str, path: Path | None, limit: int) -> None:
    from bintally.data.files import whole_file

    if form == "table":
        print_table(answer, limit)
        return
    write: Callable[[Answer, TextIO], None] = write_csv if form == "csv" else write_json
    if path is None:
        write(answer, sys.stdout)
        return
    try:
        with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            write(answer, file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written ({error.strerror or error}); choose another file") from error
