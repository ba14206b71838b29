"""All figures of some evaluations as one flat CSV table: for spreadsheets, and to be kept under version control."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from bintally.data.files import whole_file
from bintally.evaluation.results import Evaluation

FILE_NAME = "figures.csv"
COLUMNS = (
    "estimator",
    "last_count",
    "split_hash",
    "split",
    "scope",
    "photos",
    "groups",
    "metric",
    "value",
    "low",
    "high",
)


def write_figures(evaluations: Sequence[Evaluation], path: Path) -> Path:
    """Write a row for each figure, with its 95 % interval."""
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for evaluation in evaluations:
            writer.writerows(_rows(evaluation))
    return path


def _rows(evaluation: Evaluation) -> Iterator[tuple[str | int, ...]]:
    of_all = (evaluation.estimator, evaluation.last_count, evaluation.provenance.split_hash)
    for split in evaluation.splits:
        for scope in split.scopes:
            for metric, figure in scope.metrics.items():
                numbers = (f"{number:.5f}" for number in (figure.value, figure.low, figure.high))
                yield *of_all, split.split.value, scope.scope.value, scope.photos, scope.groups, metric.value, *numbers
