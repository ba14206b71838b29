"""A model's figures by true count and by how a photo looks: for a model card, on the test split.

The dataset is one that `bintally audit` has looked at, which knows blurred photos. Slices by count show where a model
is right, and bias (mean of prediction less truth) which way it errs. Intervals: 95 %, by sibling group.

    python benchmarks/by_slice.py MODEL DATA [--splits val calibration]
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from bintally.data.manifest import Flag, Split, has_any_flag, read_manifest
from bintally.evaluation.bootstrap import Figure, GroupBootstrap, ratio
from bintally.evaluation.metrics import (
    METRIC,
    SCOPE,
    Array,
    Counts,
    MetricName,
    Scope,
    ScopeName,
    measure,
    restrict,
)
from bintally.inference.engine import Engine
from bintally.inference.find import find_model

FIVE = SCOPE[ScopeName.FIVE_RESTRICTED]
EVERY = SCOPE[ScopeName.ALL]
SHOWN = (MetricName.ACCURACY, MetricName.WITHIN_ONE, MetricName.RMSE, MetricName.CROSS_ENTROPY, MetricName.ECE)


def main() -> None:
    """Measure and print Markdown."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", help="a model's name, file or run")
    arguments.add_argument("data", type=Path, help="a dataset, ingested, split and audited")
    arguments.add_argument("--splits", nargs="+", type=Split, default=[Split.TEST], help="other ones, to choose by")
    options = arguments.parse_args()
    engine = Engine(find_model(options.model))
    manifest = read_manifest(options.data)
    rows = pl.concat([manifest.usable(split) for split in options.splits])
    believed = engine.predict([(options.data / key).read_bytes() for key in rows["photo_key"]]).astype(np.float64)
    truths = rows["count"].to_numpy().astype(np.int64)
    blurred = rows.select(seen=has_any_flag([Flag.BLURRED]))["seen"].to_numpy()
    crowded = rows.select(kinds=pl.col("items").list.len())["kinds"].to_numpy()
    inside = FIVE.holds(truths)
    slices = {
        "all with 1-5": inside,
        **{f"count {count}": truths == count for count in range(1, 6)},
        "sharp": inside & ~blurred,
        "blurred": inside & blurred,
        "one product": inside & (crowded == 1),
        "several products": inside & (crowded > 1),
    }
    print("| slice | photos | accuracy | ±1 | RMSE | cross entropy | calibration error | bias |")
    print("|---|---|---|---|---|---|---|---|")
    for name, held in slices.items():
        if held.any():
            show(name, FIVE, believed[held], truths[held], rows.filter(pl.Series(held)))
    show("every count", EVERY, believed, truths, rows)


def show(name: str, scope: Scope, believed: Array, truths: Counts, rows: pl.DataFrame) -> None:
    """Print a slice's row."""
    bootstrap = GroupBootstrap(rows["group"].to_list())
    figures = measure(scope, believed, truths, bootstrap)
    guess = restrict(believed, 1, 5).argmax(axis=1) + 1 if scope is FIVE else believed.argmax(axis=1)
    error = np.stack([guess - truths, np.ones(len(truths))], axis=1).astype(np.float64)
    cells = [cell(figures[metric], *form(metric)) for metric in SHOWN]
    cells.append(cell(bootstrap.figure(error, ratio), 1, 2, ""))
    print(f"| {name} | {len(truths)} | {' | '.join(cells)} |")


def cell(figure: Figure, scale: int, digits: int, unit: str) -> str:
    """A figure with its interval."""
    value, low, high = (f"{each * scale:.{digits}f}" for each in (figure.value, figure.low, figure.high))
    return f"{value}{unit} ({low} to {high})"


def form(metric: MetricName) -> tuple[int, int, str]:
    """Scale, digits and unit that a metric is written with."""
    share = METRIC[metric].higher_is_better or metric is MetricName.ECE
    return (100, 1, " %") if share else (1, 2, "")


if __name__ == "__main__":
    main()
