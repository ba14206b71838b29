"""`bintally data`: what `show` and `query` print, and with which exit code."""

import csv
import io
import json
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import typer
from tests.cli.runner import Bintally
from tests.small_dataset import make_dataset

from bintally.cli.app import app
from bintally.data.manifest import Manifest, write_manifest
from bintally.data.query import EXAMPLES, TABLES

ROOT = Path(__file__).parents[2]
PREPARED = {"side_px": 64, "format": "png", "quality": None, "resize": "squash-bicubic", "hash": "0123456789ab"}
AUDIT = {"version": 1, "when": "2025-01-01", "thresholds": {"dark_below": 60, "likeness": {"bits": 10}}}


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no cell is broken."""
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def dataset(tmp_path: Path) -> Manifest:
    """48 photos of 0 to 11 items, one of them dark, one unlabelled, one with products."""
    made = make_dataset(tmp_path / "bins", [None, *(count % 12 for count in range(1, 48))])
    rows = made.frame.to_dicts()
    rows[1]["flags"] = ["dark"]
    rows[2]["items"] = [{"sku": "A", "quantity": 2, "name": "Soap [bold]\x1b[31m"}, {"sku": "B", "quantity": 1}]
    changed = replace(made, frame=pl.DataFrame(rows, schema=made.frame.schema))
    write_manifest(changed)
    return changed


def cells(out: str, first: str) -> list[str]:
    """The cells of the table row that begins with `first`."""
    line = next(line for line in out.splitlines() if re.match(rf"│ +{re.escape(first)} +│", line))
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def facts(out: str) -> dict[str, str]:
    rows = [re.match(r"(\w+(?: usable)?) {2,}(.*?) *$", line) for line in out.splitlines()]
    return {row[1]: row[2] for row in rows if row}


class TestShow:
    def test_a_person_sees_everything_at_a_glance(self, bintally: Bintally, dataset: Manifest) -> None:
        run = bintally("data", "show", dataset.root)
        assert run.code == 0, run.err
        found = facts(run.out)
        assert found["dataset"] == str(dataset.root)
        assert found["from"] == "tests"
        assert found["photos"].startswith("48, 0.")
        assert found["photos"].endswith("MB; 1 without a count")
        assert found["not usable"] == "0, of which 0 could not be fetched"
        assert found["prepared"] == "no: the photos are as they came"
        assert found["audited"] == f"no: bintally audit {dataset.root}"
        assert found["content"] == dataset.content_hash
        assert found["splits"] == f"{dataset.split_hash}, salt 'bintally-1'"
        assert found["groups"] == "24 (24 of 2); 48 photos have a sibling"
        assert cells(run.out, "unlabelled") == ["1", "0", "0", "0", "1"]
        assert cells(run.out, "10+")[-1] == "8"
        assert cells(run.out, "all") == ["18", "6", "6", "18", "48"]
        assert cells(run.out, "dark") == ["1", "0", "0", "0", "1"]
        assert cells(run.out, "no-record")[-1] == "1"
        assert cells(run.out, "count")[:5] == ["0", "0", "6", "11", "11"]
        assert cells(run.out, "A") == ["Soap [bold]?[31m", "1", "2"]
        assert "Most frequent of 2 products" in run.out

    def test_a_histograms_bars_are_in_proportion(self, bintally: Bintally, dataset: Manifest) -> None:
        out = bintally("data", "show", dataset.root).out
        bars = out[out.index("Products in a bin") :]
        assert cells(bars, "0") == ["46", "█" * 40]
        assert cells(bars, "2") == ["1", "█"]

    def test_many_products_share_the_last_bar(self, bintally: Bintally, dataset: Manifest) -> None:
        many = [{"sku": str(number), "quantity": 1} for number in range(12)]
        rows = dataset.frame.to_dicts()
        for row in rows[4:7]:
            row["items"] = many[: 9 + int(row["photo_id"]) - 4]
        write_manifest(replace(dataset, frame=pl.DataFrame(rows, schema=dataset.frame.schema)))
        out = bintally("data", "show", dataset.root).out
        bars = out[out.index("Products in a bin") :]
        assert (cells(bars, "9")[0], cells(bars, "10+")[0]) == ("1", "2")

    def test_what_the_verbs_did_is_said(self, bintally: Bintally, dataset: Manifest) -> None:
        extra = {"origin": "s3://first", "prepared": json.dumps(PREPARED), "audit": json.dumps(AUDIT), "complete": "no"}
        write_manifest(replace(dataset, header=replace(dataset.header, extra=extra)))
        found = facts(bintally("data", "show", dataset.root).out)
        assert found["dataset"] == f"{dataset.root} (not finished: run the verb that wrote it again)"
        assert found["from"] == "tests, first from s3://first"
        assert found["prepared"] == "64 px, png, squash-bicubic, hash 0123456789ab"
        assert found["audited"] == "2025-01-01 (dark_below 60, bits 10)"

    def test_photos_in_no_split_have_a_column(self, bintally: Bintally, dataset: Manifest) -> None:
        rows = dataset.frame.to_dicts()
        rows[5] |= {"group": None, "split": None}
        write_manifest(replace(dataset, frame=pl.DataFrame(rows, schema=dataset.frame.schema)))
        out = bintally("data", "show", dataset.root).out
        assert re.search(r"train .* val .* calibration .* test .* none .* all", out)
        assert cells(out, "all") == ["17", "6", "6", "18", "1", "48"]

    def test_without_splits_there_is_one_column(self, bintally: Bintally, dataset: Manifest) -> None:
        nothing = pl.lit(None, pl.String)
        bare = dataset.frame.with_columns(nothing.alias("group"), nothing.alias("split"))
        write_manifest(replace(dataset, frame=bare, header=replace(dataset.header, salt="")))
        out = bintally("data", "show", dataset.root).out
        assert facts(out)["splits"] == f"none yet: bintally split {dataset.root}"
        assert "groups" not in facts(out)
        assert cells(out, "all") == ["48"]
        assert cells(out, "dark") == ["1"]

    def test_no_photos_are_shown_too(self, bintally: Bintally, dataset: Manifest) -> None:
        write_manifest(replace(dataset, frame=dataset.frame.clear()))
        run = bintally("data", "show", dataset.root)
        assert run.code == 0, run.err
        assert facts(run.out)["photos"] == "0, 0.0 MB; 0 without a count"

    def test_a_machine_gets_one_object(self, bintally: Bintally, dataset: Manifest) -> None:
        run = bintally("data", "show", dataset.root, "--json")
        (found,) = run.lines
        assert found["photos"] == 48
        assert found["split_hash"] == dataset.split_hash
        assert found["flags"]["dark"] == {"train": 1, "val": 0, "calibration": 0, "test": 0, "none": 0}  # type: ignore[index]

    def test_no_manifest_is_5(self, bintally: Bintally, tmp_path: Path) -> None:
        run = bintally("data", "show", tmp_path)
        assert (run.code, run.out) == (5, "")
        assert "Make one: bintally ingest" in run.err


class TestQuery:
    def test_a_person_gets_a_table(self, bintally: Bintally, dataset: Manifest) -> None:
        sql = 'SELECT photo_id AS a, count AS "[b]", flags FROM photos ORDER BY photo_id LIMIT 2'
        run = bintally("data", "query", dataset.root, sql)
        assert run.code == 0, run.err
        assert re.search(r"a +┃ \[b\] +┃ flags", run.out)
        assert cells(run.out, "00000") == ["null", '["no-record"]']
        assert cells(run.out, "00001") == ["1", '["dark"]']
        assert "The first" not in run.out

    @pytest.mark.parametrize(
        ("limit", "rows", "more"), [([], 40, True), (["--limit", "3"], 3, True), (["--limit", "48"], 48, False)]
    )
    def test_a_long_table_is_cut_and_says_so(
        self, limit: list[str], rows: int, more: bool, bintally: Bintally, dataset: Manifest
    ) -> None:
        out = bintally("data", "query", dataset.root, "SELECT photo_id FROM photos", *limit).out
        assert len(re.findall(r"^│ 000", out, re.MULTILINE)) == rows
        assert (f"The first {rows} rows. --limit shows more of them, --csv and --json all." in out) == more

    def test_names_from_outside_cannot_steer_the_terminal(self, bintally: Bintally, dataset: Manifest) -> None:
        out = bintally("data", "query", dataset.root, "SELECT name FROM items WHERE sku = 'A'").out
        assert "Soap [bold]?[31m" in out
        assert "\x1b" not in out

    def test_csv(self, bintally: Bintally, dataset: Manifest) -> None:
        sql = "SELECT photo_id, count, flags, 1.5 AS x, NULL AS n, 'a,\"b' AS t FROM photos ORDER BY photo_id"
        out = bintally("data", "query", dataset.root, sql, "--csv").out
        rows = list(csv.reader(io.StringIO(out)))
        assert rows[0] == ["photo_id", "count", "flags", "x", "n", "t"]
        assert rows[1] == ["00000", "", '["no-record"]', "1.5", "", 'a,"b']
        assert rows[2] == ["00001", "1", '["dark"]', "1.5", "", 'a,"b']
        assert len(rows) == 49

    def test_json(self, bintally: Bintally, dataset: Manifest) -> None:
        sql = (
            "SELECT photo_id, count, items, 'nan'::DOUBLE AS n, 1.5::DECIMAL(4, 2) AS d, DATE '2025-01-02' AS day, "
            "MAP {'a': 1} AS m, true AS t, 'é' AS e, sum(size_bytes) OVER () AS s, '\\xAB'::BLOB AS b "
            "FROM photos ORDER BY photo_id"
        )
        run = bintally("data", "query", dataset.root, sql, "--json")
        assert len(run.lines) == 48
        total = int(dataset.frame["size_bytes"].sum())
        assert run.lines[0] == {
            "photo_id": "00000",
            "count": None,
            "items": [],
            "n": None,
            "d": 1.5,
            "day": "2025-01-02",
            "m": {"a": 1},
            "t": True,
            "e": "é",
            "s": total,
            "b": "ab",
        }
        assert run.lines[2]["items"][0]["quantity"] == 2  # type: ignore[index]
        assert "é" in run.out

    @pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "ndjson", "parquet"])
    @pytest.mark.parametrize("option", ["--out", "by name"])
    def test_into_a_file(self, ending: str, option: str, bintally: Bintally, dataset: Manifest, tmp_path: Path) -> None:
        path = tmp_path / "made" / f"answer.{ending}"
        form = "json" if ending in ("jsonl", "ndjson") else ending
        options = ["--out", path] if option == "--out" else ["--parquet", path]
        if option == "by name" and form != "parquet":
            path = tmp_path / "made" / "answer.txt"
            options = [f"--{form}", "--out", path]
        run = bintally("data", "query", dataset.root, "SELECT photo_id, count FROM photos ORDER BY photo_id", *options)
        assert (run.code, run.out) == (0, f"Written: {path}\n"), run.err
        read = {"csv": pl.read_csv, "json": pl.read_ndjson, "parquet": pl.read_parquet}[form]
        found = read(path)
        assert found.columns == ["photo_id", "count"]
        assert found["count"].to_list() == dataset.frame["count"].to_list()
        assert [each.name for each in path.parent.iterdir()] == [path.name]

    def test_a_fault_in_the_middle_leaves_no_file(self, bintally: Bintally, dataset: Manifest, tmp_path: Path) -> None:
        sql = "SELECT CASE WHEN i > 300000 THEN error('late') ELSE i END FROM range(400000) t(i)"
        for name in ("a.csv", "a.json", *["a.parquet"] * 20):  # it waited for ever once in some dozens of times
            run = bintally("data", "query", dataset.root, sql, "--out", tmp_path / name)
            assert run.code == 2
            assert "late" in run.err
        assert [path.name for path in tmp_path.iterdir()] == ["bins"]

    def test_a_machine_sees_a_table_too_where_it_asks_for_none(self, dataset: Manifest) -> None:
        """The installed command, its output piped; nothing else is printed, at its end neither."""
        calls = {"SELECT count(*) AS n FROM photos": (0, 0), "SELEC": (2, 1), "FROM photoz": (2, 1)}
        for sql, (code, lines) in calls.items():
            program = "from bintally.cli.app import main; main()"
            call = [sys.executable, "-c", program, "data", "query", str(dataset.root), sql]
            done = subprocess.run(call, capture_output=True, text=True, check=False)
            assert (done.returncode, len(done.stderr.splitlines())) == (code, lines), done.stderr
            assert ("48" in done.stdout) == (code == 0)

    def test_without_a_query_it_shows_what_can_be_asked(self, bintally: Bintally, dataset: Manifest) -> None:
        run = bintally("data", "query", dataset.root)
        assert run.code == 0, run.err
        for table, columns in TABLES.items():
            assert f"Table {table}" in run.out
            assert all(meaning in run.out for meaning in columns.values())
        shown = re.findall(r'^  bintally data query (\S+) "(.*)"$', run.out, re.MULTILINE)
        assert shown == [(str(dataset.root), sql) for sql in EXAMPLES.values()]
        assert len(shown) == 3
        for _, sql in shown:
            assert bintally("data", "query", dataset.root, sql).code == 0

    def test_a_folder_with_a_space_is_quoted_in_the_examples(self, bintally: Bintally, tmp_path: Path) -> None:
        make_dataset(tmp_path / "my bins", [1])
        assert f"data query '{tmp_path}/my bins' \"SELECT" in bintally("data", "query", tmp_path / "my bins").out

    @pytest.mark.parametrize(
        ("options", "code", "said"),
        [
            (["selec"], 2, 'syntax error at or near "selec" (photos has photo_id, '),
            (["SELECT nme FROM photos"], 2, 'Referenced column "nme" not found'),
            (["DROP TABLE photos"], 2, "expected a query that reads, such as SELECT, got DROP"),
            (["COPY photos TO 'x.csv'"], 2, "--csv, --json or --parquet"),
            (["SELECT 1; SELECT 2"], 2, "expected one query, got 2"),
            ([""], 2, "expected one query, got 0"),
            (["SELECT 1", "--csv", "--json"], 2, "at most one of --csv, --json and --parquet"),
            (["SELECT 1", "--csv", "--parquet", "x.parquet"], 2, "at most one of --csv, --json and --parquet"),
            (["SELECT 1", "--parquet", "x.parquet", "--out", "y.csv"], 2, "at most one of"),
            (["SELECT 1", "--out", "x.txt"], 2, "--out x.txt: expected a name that ends in .csv, .json, "),
            (["--csv"], 2, "expected a query to write as csv"),
            (["--out", "x.json"], 2, "expected a query to write as json"),
            (["SELECT 1", "--limit", "0"], 2, "--limit"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_what_cannot_be_meant_is_a_sentence(
        self,
        options: list[str],
        code: int,
        said: str,
        bintally: Bintally,
        dataset: Manifest,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        run = bintally("data", "query", dataset.root, *options)
        assert run.code == code
        assert said in run.err
        assert run.out == ""
        assert [path.name for path in tmp_path.iterdir()] == ["bins"]

    @pytest.mark.parametrize(
        "options",
        [["--out", "manifest.csv"], ["--csv", "--out", "manifest.parquet"], ["--parquet", "a.parquet"]],
        ids=" ".join,
    )
    def test_nothing_is_written_into_the_dataset(
        self, options: list[str], bintally: Bintally, dataset: Manifest
    ) -> None:
        before = {path: path.read_bytes() for path in dataset.root.rglob("*") if path.is_file()}
        run = bintally("data", "query", dataset.root, "SELECT 1", *options[:-1], dataset.root / options[-1])
        assert run.code == 2
        assert "lies in the dataset, and a query changes nothing there" in run.err
        assert {path: path.read_bytes() for path in dataset.root.rglob("*") if path.is_file()} == before

    @pytest.mark.parametrize("ending", ["csv", "parquet"])
    def test_a_place_that_cannot_be_written_is_2(
        self, ending: str, bintally: Bintally, dataset: Manifest, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("no folder")
        run = bintally("data", "query", dataset.root, "SELECT 1", "--out", tmp_path / "file" / f"a.{ending}")
        assert run.code == 2
        assert f"a.{ending}: cannot be written" in run.err

    @pytest.mark.parametrize("sql", [[], ["SELECT 1"], ["selec"]])
    def test_no_manifest_is_5(self, sql: list[str], bintally: Bintally, tmp_path: Path) -> None:
        run = bintally("data", "query", tmp_path, *sql)
        assert (run.code, run.out) == (5, "")
        assert "Make one: bintally ingest" in run.err


def test_every_verb_of_the_group_and_every_option_has_help(bintally: Bintally) -> None:
    group = typer.main.get_command(app).commands["data"]  # type: ignore[attr-defined]
    assert list(group.commands) == ["show", "query"]
    for name, command in group.commands.items():
        assert command.help
        assert all(getattr(parameter, "help", None) for parameter in command.params), name
        assert bintally("data", name, "--help").code == 0
    assert "data" in bintally("--help").out
    assert bintally("data", "nonsense").code == 2


def test_the_page_of_commands_has_a_section_for_each_verb_of_a_group() -> None:
    calls = runpy.run_path(str(ROOT / "docs" / "make_cli.py"))["_calls"](typer.main.get_command(app))
    named = [" ".join(words) for words in calls]
    assert named[:2] == ["", "demo"]
    assert named[named.index("data") :][:3] == ["data", "data show", "data query"]
