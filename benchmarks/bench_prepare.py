"""What preparing saves a training pass, and what `prepare` costs beside a bare loop of the same work.

Rows, measured in turns in each round, over the same drawn photos as large as ABID's:

    pass: originals     read, decode and squash every photo as training does, on one core
    pass: JPEG          the same from photos prepared as JPEG
    pass: PNG           the same from photos prepared as PNG
    prepare             into an empty folder: with records, hashes, whole files and a manifest
    bare threads        read, decode, squash, encode and write, in a plain thread pool

    python benchmarks/bench_prepare.py [--photos 300] [--rounds 5]
"""

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import __version__ as pillow_version
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bintally.data.images import PhotoFormat, decode, encode, resize
from bintally.data.ingest import ingest
from bintally.data.manifest import Manifest, read_manifest
from bintally.data.prepare import prepare
from bintally.data.prepare_settings import PrepareSettings
from bintally.data.store import open_store
from bintally.data.synthetic import draw_bucket
from bintally.models.preprocess import served

WIDTH_PX, HEIGHT_PX = 520, 456  # as large as ABID's photos are
THREADS = os.cpu_count() or 1
JPEG, PNG = PrepareSettings(), PrepareSettings(format=PhotoFormat.PNG)


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--photos", type=int, default=300)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        draw_bucket(folder / "bucket", photos=options.photos, width_px=WIDTH_PX, height_px=HEIGHT_PX)
        ingest(open_store(str(folder / "bucket")), folder / "originals")
        manifest = read_manifest(folder / "originals")
        for settings in (JPEG, PNG):
            prepare(manifest, open_store(str(folder / settings.format), create=True), settings)
        show(manifest, folder, measure(manifest, folder, rounds=options.rounds))


def measure(manifest: Manifest, folder: Path, *, rounds: int) -> dict[str, list[float]]:
    """Seconds of each row in each round."""
    rows: dict[str, Callable[[], object]] = {
        "pass: originals": lambda: one_pass(paths_of(manifest)),
        "pass: JPEG": lambda: one_pass(paths_of(read_manifest(folder / JPEG.format))),
        "pass: PNG": lambda: one_pass(paths_of(read_manifest(folder / PNG.format))),
        "prepare": lambda: prepare(manifest, open_store(str(folder / "new"), create=True), JPEG),
        "bare threads": lambda: prepare_bare(paths_of(manifest), folder / "new"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in track(range(rounds), console=Console(stderr=True), transient=True):
        for name, work in rows.items():
            shutil.rmtree(folder / "new", ignore_errors=True)
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def paths_of(manifest: Manifest) -> list[Path]:
    """The photos' files."""
    return [manifest.root / key for key in manifest.frame["photo_key"]]


def one_pass(paths: Sequence[Path]) -> None:
    """What a training pass does before the network sees anything."""
    for path in paths:
        served(path.read_bytes(), JPEG.side_px)


def prepare_bare(paths: Sequence[Path], folder: Path) -> None:
    """The same photos prepared, and nothing else."""
    folder.mkdir()

    def one(path: Path) -> None:
        pixels = resize(decode(path.read_bytes()), JPEG.side_px)
        (folder / path.name).write_bytes(encode(pixels, JPEG.format, quality=JPEG.quality))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, paths))


def show(manifest: Manifest, folder: Path, seconds: dict[str, list[float]]) -> None:
    """Print the table, and how large the files are."""
    console = Console(width=110)
    photos = manifest.frame.height
    console.print(
        f"{photos} photos of {WIDTH_PX} x {HEIGHT_PX}, median of {len(seconds['prepare'])} rounds, {THREADS} threads, "
        f"{platform.machine()}, Pillow {pillow_version}",
        highlight=False,
    )
    table = Table("", "photos per second", "this : its first row")
    for name, each in seconds.items():
        first = seconds["pass: originals" if name.startswith("pass") else "prepare"]
        ratio = statistics.median(other / own for own, other in zip(each, first, strict=True))
        table.add_row(name, f"{photos / statistics.median(each):,.0f}", f"{ratio:.2f}")
    console.print(table)
    for root in (manifest.root, folder / JPEG.format, folder / PNG.format):
        console.print(f"{root.name}: {read_manifest(root).frame['size_bytes'].mean():,.0f} bytes a photo")


if __name__ == "__main__":
    main()
