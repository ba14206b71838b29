"""What a run's folder says of it, as a store takes it: everything that is recorded of a run can be recorded from here.

Refuses a folder that holds no run.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from bintally.errors import BintallyError, CheckpointError
from bintally.evaluation.health import FILE_NAME as HEALTH_NAME
from bintally.evaluation.health import read_health
from bintally.evaluation.results import Evaluation, read_evaluation
from bintally.inference.find import FILE_NAME as MODEL_NAME
from bintally.models.checkpoint import FACTS_NAME, CheckpointFacts, read_facts
from bintally.settings import read_settings
from bintally.tracking.journal import FILE_NAME as JOURNAL_NAME
from bintally.tracking.journal import Point, parse_points
from bintally.tracking.record import Origin, Record
from bintally.training.curves import CURVES_COLUMNS, CURVES_NAME
from bintally.training.fit import SETTINGS_NAME
from bintally.training.resume import flat

EVALUATION_NAME = "evaluation"
CURVES, FINAL = "curves/", "final/"  # MLflow's page shows what is called alike together, in this order
_FILES = (SETTINGS_NAME, CURVES_NAME, FACTS_NAME, HEALTH_NAME, MODEL_NAME, "profile.html", "profile.json")
_EVALUATION_FILES = ("report.html", "figures.csv")
_LONGEST = 500  # of a value, in the least of what stores take


class Status(StrEnum):
    """How a run is, in MLflow's words."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything that is recorded of one run.

    Attributes:
        name: the folder's.
        origin: what it is made from.
        params: settings by dotted key.
        tags: what else is said of it.
        points: figures over steps.
        figures: those that a run has one of.
        files: with the folder that each goes into.
        is_finished: it has a checkpoint.
    """

    name: str
    origin: Origin
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Point]
    figures: dict[str, float]
    files: list[tuple[Path, str]]
    is_finished: bool


def read_contents(run: Path, record: Record | None = None, evaluation: Path | None = None) -> Contents:
    """Read a run's folder, finished or not.

    Args:
        run: the folder.
        record: what is known of it besides.
        evaluation: where it was evaluated; None: in `evaluation` below it, if anywhere.

    Raises:
        CheckpointError: if there is no run.
        SettingsError: if its settings cannot be read.
    """
    if not (run / SETTINGS_NAME).is_file():
        raise CheckpointError(f"{run}: no run there; train one: bintally train DATA --recipe NAME --out {run}")
    facts = read_facts(run) if (run / FACTS_NAME).is_file() else None
    origin = Origin.of_model(facts.provenance) if facts else record.origin if record else Origin()
    settings = read_settings(run / SETTINGS_NAME)
    begun_ms = record.begun_ms if record else None
    folder = evaluation or run / EVALUATION_NAME
    evaluated = _evaluation(folder, facts.name) if facts else None
    if evaluation is not None and evaluated is None:
        raise CheckpointError(f"{evaluation}: holds no evaluation of {facts.name if facts else run}")
    return Contents(
        name=run.name,
        origin=origin,
        params={key: _text(value) for key, value in flat(settings.model_dump(mode="json")).items()},
        tags={**_tags(origin), **_health(run)},
        points=list(_points(run, begun_ms)),
        figures={**(_final(facts) if facts else {}), **(evaluation_figures(evaluated) if evaluated else {})},
        files=list(_files(run, folder if evaluated else None)),
        is_finished=facts is not None,
    )


def evaluation_figures(evaluation: Evaluation) -> dict[str, float]:
    """Every figure by split, scope and metric."""
    return {
        f"{split.split}/{scope.scope.value.replace(' ', '-')}/{metric}": figure.value
        for split in evaluation.splits
        for scope in split.scopes
        for metric, figure in scope.metrics.items()
    }


def _text(value: Any) -> str:
    return str(value)[:_LONGEST]


def _tags(origin: Origin) -> dict[str, str]:
    return {f"bintally.{key}": _text(value) for key, value in origin.model_dump().items() if value}


def _health(run: Path) -> dict[str, str]:
    try:
        return {"bintally.health": read_health(run / HEALTH_NAME).summary}
    except BintallyError:
        return {}  # not watched; the file, if any, is sent as it is


def _points(run: Path, begun_ms: int | None) -> Iterator[Point]:
    """The journal's, and of each epoch that is not in it what the curves hold."""
    journal = run / JOURNAL_NAME
    noted = parse_points(journal.read_text(encoding="utf-8")) if journal.is_file() else []
    seen = set()
    for point in noted:
        if (point.key, point.step) not in seen:
            seen.add((point.key, point.step))
            yield point
    for point in curve_points(run, begun_ms):
        if (point.key, point.step) not in seen:
            yield point


def curve_points(run: Path, begun_ms: int | None = None) -> list[Point]:
    """A run's curves; an epoch's time is taken from how long the run had taken by then.

    Args:
        run: the folder.
        begun_ms: when it began; None: as if it had ended when the file was last written.
    """
    path = run / CURVES_NAME
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return []
    start = begun_ms
    if start is None:
        start = int(path.stat().st_mtime * 1000) - int(float(rows[-1]["seconds"]) * 1000)
    return [
        Point(start + int(float(row["seconds"]) * 1000), int(row["epoch"]), CURVES + key, float(row[key]))
        for row in rows
        for key in CURVES_COLUMNS[1:]
    ]


def _final(facts: CheckpointFacts) -> dict[str, float]:
    counted = {"best_epoch": facts.best_epoch, "temperature": facts.temperature, "seconds": facts.seconds}
    return {FINAL + key: value for key, value in {**facts.metrics, **counted}.items()}


def _evaluation(folder: Path, name: str) -> Evaluation | None:
    path = folder / f"{name}.json"
    return read_evaluation(path) if path.is_file() else None


def _files(run: Path, evaluation: Path | None) -> Iterator[tuple[Path, str]]:
    for name in _FILES:
        if (run / name).is_file():
            yield run / name, ""
    if evaluation is not None:
        for name in _EVALUATION_FILES:
            if (evaluation / name).is_file():
                yield evaluation / name, EVALUATION_NAME
