"""`bintally train --watch` and `--stop-on`: what is said, when, and what the report makes of it."""

from pathlib import Path

import polars as pl
import pytest
from tests.cli.runner import Bintally
from tests.cli.test_train import SMALL
from tests.tiny_run import copy_dataset

from bintally.data.manifest import Manifest, write_manifest
from bintally.evaluation.health import read_health

FAST = ["--recipe", "smallcnn", *SMALL, "--epochs", "1", "--no-progress"]


@pytest.fixture
def one_sided(drawn: Manifest, tmp_path: Path) -> Manifest:
    """All but a few photos have two items."""
    manifest = copy_dataset(drawn, tmp_path / "data")
    few = pl.int_range(pl.len()).over("split") < 2
    count = pl.when(few).then(pl.col("count")).otherwise(2).cast(pl.Int32).alias("count")
    spoilt = type(manifest)(frame=manifest.frame.with_columns(count), root=manifest.root, header=manifest.header)
    write_manifest(spoilt)
    return spoilt


def test_a_healthy_run_says_so_at_the_end_and_in_the_report(
    bintally: Bintally, drawn: Manifest, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run = bintally("train", drawn.root, *FAST, "--out", out)
    assert run.code == 0, run.err
    assert "Health: 12 rules watched 1 epochs (5 steps) and raised no alarm" in run.out
    assert read_health(out / "health.json").alarms == ()
    assert bintally("evaluate", out, "--data", drawn.root, "--no-baselines").code == 0
    assert "Health of training" in (out / "evaluation" / "report.html").read_text(encoding="utf-8")


def test_an_alarm_is_said_at_once_and_again_at_the_end(bintally: Bintally, one_sided: Manifest, tmp_path: Path) -> None:
    run = bintally("train", one_sided.root, *FAST, "--out", tmp_path / "run")
    assert run.code == 0, run.err
    (line,) = [line for line in run.err.splitlines() if line.startswith("class-imbalance")]
    assert "(before the first step)" in line
    assert "To do: ingest photos with other counts" in line
    assert "raised class-imbalance (before the first step)" in run.out
    alarm = read_health(tmp_path / "run" / "health.json").alarms[0]
    assert alarm.saw in line


def test_a_run_may_go_unwatched(bintally: Bintally, one_sided: Manifest, tmp_path: Path) -> None:
    run = bintally("train", one_sided.root, *FAST, "--no-watch", "--out", tmp_path / "run")
    assert run.code == 0, run.err
    assert "class-imbalance" not in run.err
    assert "Health" not in run.out
    assert not (tmp_path / "run" / "health.json").exists()


@pytest.mark.parametrize("asked", [["any"], ["nan", "class-imbalance"]], ids=" ".join)
def test_it_stops_if_asked(asked: list[str], bintally: Bintally, one_sided: Manifest, tmp_path: Path) -> None:
    options = [word for rule in asked for word in ("--stop-on", rule)]
    run = bintally("train", one_sided.root, *FAST, *options, "--out", tmp_path / "run")
    assert run.code == 5
    assert "stopped before the first step by --stop-on class-imbalance" in run.err
    assert not (tmp_path / "run" / "checkpoint.json").exists()


def test_other_rules_do_not_stop_it(bintally: Bintally, one_sided: Manifest, tmp_path: Path) -> None:
    run = bintally("train", one_sided.root, *FAST, "--stop-on", "overfit", "--out", tmp_path / "run")
    assert run.code == 0, run.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--stop-on", "boredom"], "--stop-on: expected 'any' or one of nan, "),
        (["--no-watch", "--stop-on", "nan"], "leave out --no-watch"),
    ],
    ids=["unknown rule", "unwatched"],
)
def test_what_cannot_be_meant_is_a_sentence(
    options: list[str], said: str, bintally: Bintally, drawn: Manifest, tmp_path: Path
) -> None:
    run = bintally("train", drawn.root, *FAST, *options, "--out", tmp_path / "run")
    assert run.code == 2
    assert said in run.err
    assert not (tmp_path / "run").exists()
