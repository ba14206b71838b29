"""What an audit costs: photos measured a second, photos only checked a second, and the search among many hashes.

Rows:

    measure     every photo decoded: brightness, sharpness, hash; then near duplicates compared
    again       the same dataset with its figures: every file read and its sha256 compared
    search      every pair within 10 bits among as many random hashes as ABID has photos, 1,000 of them planted

    python benchmarks/bench_audit.py [--photos 300] [--hashes 536434] [--source FOLDER]
"""

import argparse
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bintally.data.audit import audit
from bintally.data.duplicates import pairs_within
from bintally.data.ingest import ingest
from bintally.data.manifest import read_manifest
from bintally.data.store import open_store
from bintally.data.synthetic import draw_bucket

WIDTH_PX, HEIGHT_PX = 520, 456  # as large as ABID's photos are
RADIUS, PLANTED = 10, 1000


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--photos", type=int, default=300)
    arguments.add_argument("--hashes", type=int, default=536_434)
    arguments.add_argument("--source", help="audit the photos of this bucket instead of drawn ones")
    options = arguments.parse_args()
    table = Table("what", "photos", "seconds", "photos/s", title=f"{os.cpu_count()} cores, {platform.machine()}")
    with tempfile.TemporaryDirectory() as scratch:
        for what, photos, seconds in time_audit(Path(scratch), options.source, options.photos):
            table.add_row(what, f"{photos:,}", f"{seconds:.1f}", f"{photos / seconds:,.0f}")
    seconds, found = time_search(options.hashes)
    table.add_row("search", f"{options.hashes:,}", f"{seconds:.1f}", "")
    console = Console()
    console.print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    console.print(f"{found} of {PLANTED} planted pairs found; {peak:,.0f} MB at most")


def time_audit(folder: Path, source: str | None, photos: int) -> list[tuple[str, int, float]]:
    """Rows of the table."""
    if source is None:
        draw_bucket(folder / "bucket", photos=photos, width_px=WIDTH_PX, height_px=HEIGHT_PX)
    ingest(open_store(source or str(folder / "bucket")), folder / "data")
    manifest, rows = read_manifest(folder / "data"), []
    for what in ("measure", "again"):
        began = time.perf_counter()
        manifest = audit(manifest).manifest
        rows.append((what, manifest.frame.height, time.perf_counter() - began))
    return rows


def time_search(photos: int) -> tuple[float, int]:
    """(seconds, how many of the planted pairs were found)."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, photos, dtype=np.uint64)
    planted = []
    for place in range(PLANTED):
        bits = rng.choice(64, int(rng.integers(0, RADIUS + 1)), replace=False).tolist()
        hashes[photos - 1 - place] = hashes[place] ^ np.uint64(sum(1 << bit for bit in bits))
        planted.append((place, photos - 1 - place))
    began = time.perf_counter()
    pairs = pairs_within(hashes, RADIUS)
    seconds = time.perf_counter() - began
    return seconds, len(set(planted) & set(map(tuple, pairs[:, :2].tolist())))


if __name__ == "__main__":
    main()
