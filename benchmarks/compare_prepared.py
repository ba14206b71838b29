"""What preparing changes for a model: the same photos in several datasets, through the engine, compared one by one.

    python benchmarks/compare_prepared.py MODEL DATA OTHER [OTHER ...] [--splits WHOLE]

DATA is what the others are compared with, photo by photo; only photos that all of them hold count. WHOLE is the dataset
that the model was trained on: it says which photos were outside train, and who is whose sibling. Intervals: 95 %,
paired, by sibling group.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from rich.console import Console
from rich.table import Table

from bintally.data.manifest import Manifest, Split, read_manifest
from bintally.evaluation.bootstrap import Array, GroupBootstrap, interval
from bintally.evaluation.metrics import METRIC, SCOPE, MetricName, ScopeName, statistics_over
from bintally.inference.engine import Engine

SCOPES = (ScopeName.FIVE_RESTRICTED, ScopeName.ALL)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("datasets", type=Path, nargs="+", metavar="DATA")
    parser.add_argument("--splits", type=Path, help="the dataset with all photos; by default the first")
    options = parser.parse_args()
    engine = Engine(options.model)
    manifests = [read_manifest(root) for root in options.datasets]
    rows = shared_rows(read_manifest(options.splits or options.datasets[0]), manifests)
    beliefs = [believe(engine, manifest, rows["photo_id"].to_list()) for manifest in manifests]
    everywhere = np.ones(rows.height, dtype=np.bool_)
    for name, chosen in (("all photos", everywhere), ("outside train", (rows["split"] != Split.TRAIN).to_numpy())):
        show(name, rows.filter(pl.Series(chosen)), manifests, [each[chosen] for each in beliefs])


def shared_rows(whole: Manifest, manifests: Sequence[Manifest]) -> pl.DataFrame:
    """Rows of `whole` for the labelled photos that every dataset holds."""
    rows = whole.frame.filter(pl.col("count").is_not_null()).sort("photo_id")
    for manifest in manifests:
        rows = rows.join(manifest.frame.filter(pl.col("sha256").is_not_null()), on="photo_id", how="semi")
    return rows.sort("photo_id")


def believe(engine: Engine, manifest: Manifest, photo_ids: Sequence[str]) -> Array:
    """Probabilities float64[N,K+1] of the photos as this dataset holds them."""
    keys = dict(manifest.frame.select("photo_id", "photo_key").rows())
    return engine.predict([manifest.read_photo(keys[photo_id]) for photo_id in photo_ids]).astype(np.float64)


def show(name: str, rows: pl.DataFrame, manifests: Sequence[Manifest], beliefs: Sequence[Array]) -> None:
    """Print one table: a line for each dataset."""
    counts = rows["count"].to_numpy().astype(np.int64)
    bootstrap = GroupBootstrap(rows["group"].to_list())
    five = int(SCOPE[ScopeName.FIVE_RESTRICTED].holds(counts).sum())
    table = Table(
        "",
        "bytes a photo",
        "mean |p - p'|",
        "total variation",
        "most probable changed",
        title=(f"{name}: {len(counts)} photos in {bootstrap.group_count} groups, {five} of them with 1-5 items"),
    )
    for scope in SCOPES:
        table.add_column(f"accuracy, {scope}")
        table.add_column("difference")
    for manifest, belief in zip(manifests, beliefs, strict=True):
        sizes = manifest.frame.join(rows, on="photo_id", how="semi")["size_bytes"]
        change = np.abs(belief - beliefs[0])
        moved = int((belief.argmax(axis=1) != beliefs[0].argmax(axis=1)).sum())
        cells = [f"{sizes.mean():,.0f}", f"{change.mean():.5f}", f"{change.sum(axis=1).mean() / 2:.4f}", str(moved)]
        for scope in SCOPES:
            cells += accuracies(scope, counts, belief, beliefs[0], bootstrap)
        table.add_row(manifest.root.name, *cells)
    Console(width=170).print(table)


def accuracies(
    scope: ScopeName, counts: npt.NDArray[np.int64], belief: Array, base: Array, bootstrap: GroupBootstrap
) -> list[str]:
    """Accuracy over a scope, and its difference from the base's with the paired interval, in points."""
    metric = METRIC[MetricName.ACCURACY]
    statistics = [statistics_over(metric, SCOPE[scope], each, counts) for each in (belief, base)]
    here, there = (float(metric.finalise(each.sum(axis=0))) for each in statistics)
    samples = [metric.finalise(bootstrap.sums(each)) for each in statistics]
    change = interval(here - there, samples[0] - samples[1])
    return [f"{here:.1%}", f"{change.value * 100:+.1f} ({change.low * 100:+.1f} to {change.high * 100:+.1f})"]


if __name__ == "__main__":
    main()
