"""SQL over a manifest, by DuckDB: the tables `photos` (the manifest) and `items` (one row for each product in a bin).

A query cannot change the dataset, by construction. The manifest is read into memory first; then DuckDB is forbidden,
for good, to touch any file, network or extension, and the query runs in a transaction that only reads. Half a million
photos take about 0.4 GB so. The one file that is ever written is the Parquet file that was asked for, by name, outside
the dataset. Refuses everything but one query: what would only change the copy in memory is said, not ignored.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
from duckdb import StatementType

from bintally.data.files import whole_file
from bintally.data.manifest import FILE_NAME, scan_manifest
from bintally.data.rows import ITEM_MEANINGS, MEANINGS
from bintally.errors import ManifestError, SettingsError

TABLES: Mapping[str, Mapping[str, str]] = {
    "photos": MEANINGS,
    "items": {"photo_id": "the photo whose record lists it", **ITEM_MEANINGS},
}
"""Table -> column -> what it holds."""
EXAMPLES: Mapping[str, str] = {
    "Photos and their mean count, by split": (
        "SELECT split, count(*) AS photos, round(avg(count), 2) AS mean_count FROM photos GROUP BY split ORDER BY split"
    ),
    "How many photos have each flag": (
        "SELECT flag, count(*) AS photos FROM (SELECT unnest(flags) AS flag FROM photos) GROUP BY flag ORDER BY flag"
    ),
    "The heaviest bins": (
        "SELECT photo_id, round(sum(quantity * weight_lb), 1) AS pounds, string_agg(name, '; ') AS products "
        "FROM items GROUP BY photo_id ORDER BY pounds DESC NULLS LAST LIMIT 10"
    ),
}
"""Queries that work on every manifest, with what they show."""
_MEMORY_GB = 2
_BATCH_ROWS = 2_000
_QUERIES = (StatementType.SELECT, StatementType.EXPLAIN, StatementType.MULTI)  # MULTI: a PIVOT
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a query gave.

    Attributes:
        columns: their names, each once.
        rows: in order, read as they are asked for; they end with the `with` that gave the answer.
    """

    columns: tuple[str, ...]
    rows: Iterator[tuple[object, ...]]


@contextmanager
def query(root: Path, sql: str) -> Iterator[Answer]:
    """Ask something of the manifest in the folder `root`.

    Args:
        root: the dataset's folder.
        sql: one query, in DuckDB's SQL; `group` is a keyword and needs double quotes.

    Raises:
        ManifestError: if there is no manifest, or it cannot be read.
        SettingsError: if the query cannot be answered; also while rows are read.
    """
    with _tables(root) as database, _translated():
        _check(database, sql)
        database.execute(sql)
        names = [str(column[0]) for column in database.description or ()]
        yield Answer(columns=_each_once(names), rows=_rows(database))


def query_to_parquet(root: Path, sql: str, path: Path) -> None:
    """Ask something of the manifest in the folder `root`, and write the answer as a Parquet file.

    The whole answer is held in memory before it is written.

    Raises:
        ManifestError: if there is no manifest, or it cannot be read.
        SettingsError: if the query cannot be answered, or `path` cannot be written or lies in the dataset.
    """
    check_outside(root, path)
    try:
        with whole_file(path) as part, _tables(root, writable=part) as database, _translated():
            # A query that fails while DuckDB 2.0 writes Parquet may wait for itself for ever: all rows come before.
            if _check(database, sql) == StatementType.SELECT:
                database.execute("CREATE TEMP TABLE answer AS FROM query(?)", [sql])
                answer = database.table("answer")
            else:  # holds its rows already
                answer = database.sql(sql)
            answer.write_parquet(str(part))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written ({error.strerror or error}); choose another file") from error


def check_outside(root: Path, path: Path) -> None:
    """Refuse to write an answer into the dataset that was asked.

    Raises:
        SettingsError: saying so.
    """
    if path.resolve().is_relative_to(root.resolve()):
        raise SettingsError(f"{path}: lies in the dataset, and a query changes nothing there; choose a file elsewhere")


def columns_said() -> str:
    """Both tables with their columns, for a message."""
    return "; ".join(f"{table} has {', '.join(columns)}" for table, columns in TABLES.items())


@contextmanager
def _tables(root: Path, writable: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that holds the two tables, reads nothing else and writes nothing but `writable`."""
    scan_manifest(root)
    with duckdb.connect(":memory:", config={"autoinstall_known_extensions": False}) as database:
        try:
            file = database.read_parquet(_literally(root / FILE_NAME), hive_partitioning=False)
            file.project(", ".join(f'"{column}"' for column in MEANINGS)).create("photos")
        except duckdb.Error as error:
            raise ManifestError(f"{root / FILE_NAME}: cannot be read ({_in_words(error)})") from error
        database.execute(
            "CREATE VIEW items AS SELECT photo_id, item.* FROM (SELECT photo_id, unnest(items) AS item FROM photos)"
        )
        database.execute(f"SET memory_limit = '{_MEMORY_GB}GB'")
        database.execute("SET temp_directory = ''")
        if writable is not None:
            database.execute("SET allowed_paths = [?]", [str(writable)])
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
        database.execute("BEGIN TRANSACTION READ ONLY")
        yield database


def _literally(path: Path) -> str:
    """A path in which no character stands for others.

    >>> _literally(Path("bins[1]/what?.parquet"))
    'bins[[]1]/what[?].parquet'
    """
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def _check(database: duckdb.DuckDBPyConnection, sql: str) -> StatementType:
    """The type of the one query that reads; anything else is refused."""
    statements = database.extract_statements(sql)
    if len(statements) != 1:
        raise SettingsError(f"expected one query, got {len(statements)}; such as: {next(iter(EXAMPLES.values()))}")
    if statements[0].type not in _QUERIES:
        raise SettingsError(
            f"expected a query that reads, such as SELECT, got {statements[0].type.name}: a dataset is not changed by "
            "SQL. Write an answer to a file with --csv, --json or --parquet"
        )
    return statements[0].type


def _rows(database: duckdb.DuckDBPyConnection) -> Iterator[tuple[object, ...]]:
    while batch := database.fetchmany(_BATCH_ROWS):
        yield from batch


def _each_once(names: list[str]) -> tuple[str, ...]:
    """Names of which none comes twice.

    >>> _each_once(["a", "b", "a"])
    ('a', 'b', 'a_2')
    """
    given: list[str] = []
    for name in names:
        number, new = 1, name
        while new in given:
            number += 1
            new = f"{name}_{number}"
        given.append(new)
    return tuple(given)


@contextmanager
def _translated() -> Iterator[None]:
    """DuckDB's errors as one sentence: what it says and advises, without the picture of the line, and the columns."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise SettingsError(
            f"the query cannot be answered: it needs more than {_MEMORY_GB} GB of memory. Ask for fewer rows or columns"
        ) from error
    except duckdb.Error as error:
        _log.info("%s", error)
        raise SettingsError(f"the query cannot be answered: {_in_words(error)} ({columns_said()})") from error


def _in_words(error: duckdb.Error) -> str:
    said = str(error).partition("\n\nLINE ")[0].partition("\nTraceback ")[0]
    return " ".join(said.split()).rstrip(".:")
