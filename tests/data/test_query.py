"""SQL over a manifest: right answers, plain errors, and nothing that it could change."""

import hashlib
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.small_dataset import make_dataset

from bintally.data import query as module
from bintally.data.manifest import ITEM, SCHEMA, Header, Manifest, write_manifest
from bintally.data.query import EXAMPLES, TABLES, query, query_to_parquet
from bintally.errors import BintallyError, ManifestError, SettingsError

ITEMS = [
    [{"sku": "A", "quantity": 2, "name": "Soap", "weight_lb": 0.5}, {"sku": "B", "quantity": 1, "weight_lb": 3.0}],
    [{"sku": "A", "quantity": 1, "name": "Soap", "weight_lb": 0.5}],
    [],
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three photos with items, one of them flagged."""
    rows = [
        {
            "photo_id": f"0000{number}",
            "photo_key": f"bin-images/0000{number}.jpg",
            "sha256": f"{number:064d}",
            "size_bytes": 100 * number,
            "count": sum(item["quantity"] for item in items),
            "items": items,
            "flags": ["dark"] if number == 2 else [],
            "phash": 2**64 - number,
            "group": f"g{number}",
            "split": "train",
        }
        for number, items in enumerate(ITEMS, 1)
    ]
    root = tmp_path / "data"
    frame = pl.DataFrame(rows, schema=SCHEMA)
    write_manifest(Manifest(frame=frame, root=root, header=Header(source="tests", salt="mine")))
    return root


def answer(root: Path, sql: str) -> list[tuple[object, ...]]:
    with query(root, sql) as found:
        return list(found.rows)


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file with its sha256 and time."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_photos_are_the_manifest(root: Path) -> None:
    with query(root, "SELECT * FROM photos ORDER BY photo_id") as found:
        assert found.columns == tuple(SCHEMA.names()) == tuple(TABLES["photos"])
        rows = list(found.rows)
    assert [row[0] for row in rows] == ["00001", "00002", "00003"]
    assert [row[SCHEMA.names().index("phash")] for row in rows] == [2**64 - 1, 2**64 - 2, 2**64 - 3]
    assert rows[0][SCHEMA.names().index("items")][1]["sku"] == "B"
    assert rows[1][SCHEMA.names().index("flags")] == ["dark"]


def test_items_are_one_row_for_each_product_of_a_photo(root: Path) -> None:
    with query(root, "SELECT * FROM items ORDER BY photo_id, sku") as found:
        assert found.columns == ("photo_id", *(field.name for field in ITEM.fields)) == tuple(TABLES["items"])
        rows = [row[:3] for row in found.rows]
    assert rows == [("00001", "A", 2), ("00001", "B", 1), ("00002", "A", 1)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT sum(quantity) FROM items", [(4,)]),
        ("SELECT \"group\" FROM photos WHERE list_contains(flags, 'dark')", [("g2",)]),
        ("FROM photos SELECT count(*);", [(3,)]),
        ("-- how many?\nSELECT count(*) AS n FROM photos -- so many", [(3,)]),
        ("WITH a AS (SELECT count FROM photos) SELECT max(count) FROM a", [(3,)]),
        ("PIVOT (SELECT split, count FROM photos) ON split USING sum(count)", [(4,)]),
        ("SELECT count(*) FROM photos JOIN items USING (photo_id)", [(3,)]),
        ("SELECT 1 WHERE false", []),
    ],
)
def test_answers_are_right(root: Path, sql: str, expected: list[tuple[object, ...]]) -> None:
    assert answer(root, sql) == expected


@pytest.mark.parametrize("sql", ["EXPLAIN SELECT * FROM photos", "SUMMARIZE photos", "DESCRIBE items", "SHOW TABLES"])
def test_what_describes_the_tables_is_a_query_too(root: Path, sql: str) -> None:
    assert answer(root, sql)


@pytest.mark.parametrize("sql", EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_work(root: Path, sql: str, tmp_path: Path) -> None:
    assert answer(root, sql)
    assert '"' not in sql, "they are shown in double quotes"
    make_dataset(tmp_path / "bare", [1, None, 0])
    answer(tmp_path / "bare", sql)


def test_columns_come_once_each(root: Path) -> None:
    with query(root, "SELECT 1 AS a, 2 AS a, 3 AS a_2, 4 AS a") as found:
        assert found.columns == ("a", "a_2", "a_2_2", "a_3")


# --- nothing changes -------------------------------------------------------------------------------------------------

WRITES = [
    "INSERT INTO photos SELECT * FROM photos",
    "UPDATE photos SET count = 0",
    "DELETE FROM photos",
    "DROP TABLE photos",
    "DROP VIEW items",
    "TRUNCATE photos",
    "ALTER TABLE photos DROP COLUMN count",
    "CREATE TABLE mine AS FROM photos",
    "CREATE OR REPLACE TABLE photos AS SELECT 1",
    "MERGE INTO photos USING photos AS p ON true WHEN MATCHED THEN DELETE",
    "COPY photos TO '{manifest}' (FORMAT parquet)",
    "COPY photos TO '{photo}'",
    "COPY photos FROM '{manifest}'",
    "COPY photos TO '{root}/new.csv'",
    "COPY photos TO '{root}/more' (FORMAT parquet, PARTITION_BY (split))",
    "WITH a AS (COPY photos TO '{manifest}' (FORMAT parquet)) SELECT 1",
    "WITH a AS (INSERT INTO photos SELECT * FROM photos RETURNING 1) FROM a",
    "WITH a AS (DELETE FROM photos RETURNING 1) FROM a",
    "EXPLAIN ANALYZE DELETE FROM photos",
    "EXPLAIN ANALYZE COPY photos TO '{manifest}' (FORMAT parquet)",
    "ATTACH '{root}/new.db'",
    "ATTACH '{manifest}' AS m",
    "DETACH memory",
    "EXPORT DATABASE '{root}/out'",
    "IMPORT DATABASE '{root}'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "RESET enable_external_access",
    "SET allowed_directories = ['{root}']",
    "PRAGMA enable_external_access",
    "CALL pragma_version()",
    "COMMIT",
    "ROLLBACK; COPY photos TO '{manifest}'",
    "SELECT 1; COPY photos TO '{manifest}'",
    "COPY (SELECT 1) TO '{manifest}'; SELECT 1",
    "BEGIN; DELETE FROM photos; COMMIT",
    "PREPARE p AS DELETE FROM photos",
    "EXECUTE p",
    "VACUUM",
    "CHECKPOINT",
    "CREATE SECRET (TYPE s3)",
]
READS = [
    "FROM '{manifest}'",
    "FROM read_parquet('{manifest}')",
    "FROM read_text('{photo}')",
    "FROM read_blob('{photo}')",
    "FROM read_csv('{root}/other.csv')",
    "FROM glob('{root}/*')",
    "FROM parquet_metadata('{manifest}')",
    "FROM sniff_csv('{root}/other.csv')",
    "FROM query('FROM read_text(''{photo}'')')",
    "FROM 'http://127.0.0.1:9/x.parquet'",
]


@pytest.mark.parametrize("sql", WRITES)
def test_a_query_that_would_write_is_refused_and_changes_nothing(root: Path, sql: str, tmp_path: Path) -> None:
    photo = root / "bin-images" / "00001.jpg"
    photo.parent.mkdir()
    photo.write_bytes(b"a photo")
    before = snapshot(tmp_path)
    with pytest.raises(SettingsError):
        answer(root, sql.format(root=root, manifest=root / "manifest.parquet", photo=photo))
    assert snapshot(tmp_path) == before
    assert answer(root, "SELECT count(*), sum(count) FROM photos") == [(3, 4)]


@pytest.mark.parametrize("sql", [*WRITES, *READS])
def test_nor_does_it_where_the_kind_of_statement_is_not_looked_at(
    root: Path, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps the dataset whole is what DuckDB was told, not our reading of the query; nor does it see a file."""
    monkeypatch.setattr(module, "_check", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    photo = root / "photo.txt"
    photo.write_text("a photo")
    (root / "other.csv").write_text("a,b\n1,2\n")
    before = snapshot(tmp_path)
    sql = sql.format(root=root, manifest=root / "manifest.parquet", photo=photo)
    try:
        found = answer(root, sql)
    except BintallyError:
        found = []
    assert snapshot(tmp_path) == before
    assert "a photo" not in str(found)
    if sql in READS:
        assert found == []
    assert answer(root, "SELECT count(*), sum(count) FROM photos") == [(3, 4)]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("enable_external_access", False),
        ("lock_configuration", True),
        ("autoinstall_known_extensions", False),
        ("temp_directory", ""),
        ("memory_limit", "1.8 GiB"),
    ],
)
def test_duckdb_is_told_to_keep_to_itself(root: Path, setting: str, value: object) -> None:
    assert answer(root, f"SELECT current_setting('{setting}')") == [(value,)]


@pytest.mark.parametrize("sql", READS)
def test_other_files_are_not_seen(root: Path, sql: str) -> None:
    (root / "photo.txt").write_text("a photo")
    (root / "other.csv").write_text("a,b\n1,2\n")
    sql = sql.format(root=root, manifest=root / "manifest.parquet", photo=root / "photo.txt")
    with pytest.raises(SettingsError, match=r"file system operations are disabled|[Ee]xtension|httpfs"):
        answer(root, sql)


# --- what cannot be answered -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("selec 1", 'Parser Error: syntax error at or near "selec"'),
        ("SELECT", "Parser Error: SELECT clause without selection list"),
        ("SELECT split FORM photos", 'Parser Error: syntax error at or near "photos"'),
        ("SELECT weight FROM items", r'"weight" not found in FROM clause! Candidate bindings: .*"weight_lb"'),
        ("FROM photoz", 'Table with name photoz does not exist! Did you mean "photos"?'),
        ("SELECT cout(*) FROM photos", "Function with name cout does not exist!"),
        ("SELECT split, count(*) FROM photos", "must appear in the GROUP BY clause"),
        ("SELECT CAST(photo_key AS INT) FROM photos", "Could not convert string 'bin-images/00001.jpg'"),
        ("SELECT ?", "parameter"),
    ],
)
def test_a_fault_is_one_sentence_with_duckdbs_advice_and_the_columns(root: Path, sql: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        answer(root, sql)
    text = str(caught.value)
    assert text.startswith("the query cannot be answered: ")
    assert "\n" not in text
    assert "LINE" not in text
    assert all(column in text for columns in TABLES.values() for column in columns)


@pytest.mark.parametrize("sql", ["", "  ", "-- nothing", ";", "SELECT 1; SELECT 2"])
def test_one_query_is_expected(root: Path, sql: str) -> None:
    with pytest.raises(SettingsError, match=r"expected one query, got [02]; such as: SELECT"):
        answer(root, sql)


def test_a_fault_that_shows_while_rows_are_read_is_ours_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH_ROWS", 1)
    sql = "SELECT CASE WHEN i > 300000 THEN error('late') ELSE i END FROM range(400000) t(i)"
    with pytest.raises(SettingsError, match=r"the query cannot be answered: .*late"), query(root, sql) as found:
        list(found.rows)


def test_too_much_for_memory_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMORY_GB", 0.05)
    with pytest.raises(SettingsError, match=r"it needs more than 0.05 GB of memory\. Ask for fewer"):
        answer(root, "SELECT list(i::VARCHAR || 'a long text, repeated') FROM range(3000000) t(i)")


def test_without_a_manifest_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no manifest there\. Make one: bintally ingest"):
        answer(tmp_path, "SELECT 1")


@pytest.mark.parametrize("spoil", [lambda data: data[:-100], lambda data: b"PAR1" + b"\xff" * 900 + data[904:]])
def test_a_damaged_manifest_is_said(root: Path, spoil) -> None:
    path = root / "manifest.parquet"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ManifestError, match=r"manifest\.parquet: "):
        answer(root, "FROM photos")


def test_a_manifest_with_columns_missing_is_said(root: Path) -> None:
    path = root / "manifest.parquet"
    header = Header(source="tests").to_json()
    pl.read_parquet(path).drop("items").write_parquet(path, metadata={"bintally": header})
    with pytest.raises(ManifestError, match=r"manifest\.parquet: cannot be read .*items"):
        answer(root, "SELECT 1")


@pytest.mark.parametrize("name", ["bins[1]", "what?", "a*b", "split=test", "it's", "a b", "ü", "x.parquet"])
def test_folders_may_be_called_anything(root: Path, name: str) -> None:
    folder = root.rename(root.with_name(name))
    assert answer(folder, "SELECT DISTINCT split FROM photos") == [("train",)]
    query_to_parquet(folder, "FROM photos", folder.with_name(f"{name}-out") / "o.parquet")
    assert pl.read_parquet(folder.with_name(f"{name}-out") / "o.parquet", glob=False).height == 3


def test_a_folder_whose_name_is_a_pattern_is_not_taken_for_another(root: Path) -> None:
    make_dataset(root.with_name("bins1"), [1])
    folder = root.rename(root.with_name("bins[1]"))
    assert answer(folder, "SELECT count(*) FROM photos") == [(3,)]


@given(st.text(max_size=30))
def test_whatever_is_asked_is_answered_or_refused(tmp_path_factory: pytest.TempPathFactory, sql: str) -> None:
    root = tmp_path_factory.getbasetemp() / "asked"
    if not root.exists():
        make_dataset(root, [1, 2])
    before = snapshot(root)
    with suppress(SettingsError):
        answer(root, sql)
    assert snapshot(root) == before


# --- Parquet ---------------------------------------------------------------------------------------------------------


def test_an_answer_becomes_a_parquet_file(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "answer.parquet"
    for sql in ("SELECT photo_id, count, items FROM photos ORDER BY photo_id", "FROM items ORDER BY photo_id, sku;"):
        query_to_parquet(root, sql, out)  # the second takes the first one's place
    assert pl.read_parquet(out)["sku"].to_list() == ["A", "B", "A"]
    assert [path.name for path in out.parent.iterdir()] == ["answer.parquet"]


@pytest.mark.parametrize("sql", ["EXPLAIN FROM photos", "PIVOT photos ON split USING count(*);", "FROM photos;-- all"])
def test_every_kind_of_query_becomes_one(root: Path, tmp_path: Path, sql: str) -> None:
    query_to_parquet(root, sql, tmp_path / "answer.parquet")
    with query(root, sql) as asked:
        assert pl.read_parquet(tmp_path / "answer.parquet").columns == list(asked.columns)


@pytest.mark.parametrize("sql", ["selec", "SELECT error('no')", "DROP TABLE photos", "SELECT nope FROM photos"])
def test_a_fault_leaves_no_file_and_the_one_before(root: Path, tmp_path: Path, sql: str) -> None:
    out = tmp_path / "answer.parquet"
    out.write_bytes(b"before")
    with pytest.raises(SettingsError):
        query_to_parquet(root, sql, out)
    assert out.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answer.parquet", "data"]


@pytest.mark.parametrize("sql", ["DROP TABLE photos", "SELECT 1; SELECT 2", "COPY photos TO 'x.csv'"])
def test_one_query_that_reads_is_expected_here_too(root: Path, tmp_path: Path, sql: str) -> None:
    with pytest.raises(SettingsError, match=r"expected (one|a) query"):
        query_to_parquet(root, sql, tmp_path / "answer.parquet")


@pytest.mark.parametrize("name", ["manifest.parquet", "new.parquet", "bin-images/new.parquet", "x/../y.parquet"])
def test_nothing_is_written_into_the_dataset(root: Path, name: str) -> None:
    before = snapshot(root)
    with pytest.raises(SettingsError, match="lies in the dataset, and a query changes nothing there"):
        query_to_parquet(root, "FROM photos", root / name)
    assert snapshot(root) == before


def test_nor_by_another_name_of_it(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    with pytest.raises(SettingsError, match="lies in the dataset"):
        query_to_parquet(root, "FROM photos", tmp_path / "link" / "manifest.parquet")
    with pytest.raises(SettingsError, match="lies in the dataset"):
        query_to_parquet(tmp_path / "link", "FROM photos", root / "manifest.parquet")


def test_a_place_that_cannot_be_written_is_said(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SettingsError, match=r"o\.parquet: cannot be written"):
        query_to_parquet(root, "FROM photos", tmp_path / "file" / "o.parquet")


def test_nothing_is_left_behind_in_the_folder_that_one_is_in(root: Path, tmp_path: Path) -> None:
    """DuckDB would spill to a folder beside, and look for settings at home."""
    here = tmp_path / "here"
    here.mkdir()
    program = (
        "from pathlib import Path; from bintally.data.query import query\n"
        f"with query(Path({str(root)!r}), 'FROM photos ORDER BY sha256') as found: print(len(list(found.rows)))"
    )
    environment = {"HOME": str(here), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=here, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("3\n", "")
    assert list(here.iterdir()) == []
