"""Photos per second of `Engine.count_files`, beside the same work without the engine.

Of two untrained networks on drawn photos, or of a model and photos of one's own.

Rows, measured in turns in each round, over the same drawn photos:

    engine          Engine.count_files: read, decode, squash, run one photo at a time, check, in order
    bare threads    the same reading, decoding and runs in a plain thread pool: what the engine adds
    bare processes  the same loop in as many processes: what sharing one interpreter costs
    network alone   runs on photos decoded beforehand, in a thread pool: what decoding costs
    batches of 16   the same ready photos in batches, ONNX Runtime's own threads: what one photo a run costs

    python benchmarks/bench_engine.py [--photos 200] [--rounds 5] [--model NAME|FILE --folder FOLDER]
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bintally import __version__
from bintally.data.images import Photo, decode
from bintally.data.synthetic import draw_bucket
from bintally.domain.classes import CountClasses
from bintally.inference.engine import Engine
from bintally.inference.find import find_model
from bintally.inference.model_file import INPUT_NAME, OUTPUT_NAME
from bintally.models.preprocess import served
from bintally.settings import RunSettings, parse_settings
from bintally.training.recipes import recipe_text

WIDTH_PX, HEIGHT_PX = 520, 456  # as large as ABID's photos are
BATCH = 16
THREADS = os.cpu_count() or 1


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--photos", type=int, default=200)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--model", help="a model's name or file; with --folder")
    arguments.add_argument("--folder", type=Path, help="photos of one's own, each as often as --photos asks for")
    options = arguments.parse_args()
    if options.model and not options.folder:
        arguments.error("--model: say which photos with --folder")
    if options.folder:
        model = find_model(options.model)
        found = sorted(path for path in options.folder.rglob("*") if path.suffix in {".jpg", ".png"})
        if not found:
            arguments.error(f"{options.folder}: expected photos (.jpg or .png) in it, found none")
        paths = [found[index % len(found)] for index in range(options.photos)]
        show(Engine(model).name, model, paths, measure(model, paths, rounds=options.rounds))
        return
    with tempfile.TemporaryDirectory() as scratch:
        bucket = Path(scratch) / "bucket"
        draw_bucket(bucket, photos=options.photos, width_px=WIDTH_PX, height_px=HEIGHT_PX)
        paths = sorted((bucket / "bin-images").iterdir())
        for recipe in ("smallcnn", "mobilenetv2"):
            model = write_untrained(recipe, Path(scratch) / f"{recipe}.onnx")
            show(recipe, model, paths, measure(model, paths, rounds=options.rounds))


def write_untrained(recipe: str, path: Path) -> Path:
    """A recipe's network with random weights as a model file: as fast as a trained one."""
    # Here, so that worker processes do not load torch.
    from bintally.export import export
    from bintally.models.checkpoint import Checkpoint, CheckpointFacts, build_network
    from bintally.models.provenance import Provenance

    settings: RunSettings = parse_settings(recipe_text(recipe), name=recipe, overrides=["model.pretrained=false"])
    classes = CountClasses(low=0, high=20, open_ended=True)
    provenance = Provenance(
        bintally_version=__version__,
        created="1970-01-01T00:00:00+00:00",
        source="none",
        manifest_hash="none",
        split_hash="none",
        settings_hash=settings.content_hash,
        weights="random",
        licence="Apache-2.0",
    )
    facts = CheckpointFacts(
        name=recipe,
        settings=settings,
        low=classes.low,
        high=classes.high,
        open_ended=classes.open_ended,
        temperature=1.0,
        provenance=provenance,
        epochs_run=0,
        best_epoch=0,
        seconds=0.0,
        metrics={},
    )
    export(Checkpoint(network=build_network(settings, classes).eval(), facts=facts), path)
    return path


def measure(model: Path, paths: Sequence[Path], *, rounds: int) -> dict[str, list[float]]:
    """Seconds of each row in each round."""
    with ExitStack() as stack:
        engine = Engine(model)
        side_px = engine.facts.side_px
        lone, wide = open_session(model, threads=1), open_session(model, threads=THREADS)
        threads = stack.enter_context(ThreadPoolExecutor(THREADS))
        spawn = multiprocessing.get_context("spawn")
        processes = stack.enter_context(ProcessPoolExecutor(THREADS, spawn, start_worker, (model, side_px)))
        ready = [served(path.read_bytes(), side_px) for path in paths]
        rows: dict[str, Callable[[], object]] = {
            "engine": lambda: list(engine.count_files(paths)),
            "bare threads": lambda: spread(threads, lambda path: count_bare(lone, path, side_px), paths),
            "bare processes": lambda: spread(processes, count_in_worker, paths),
            "network alone": lambda: spread(threads, lambda photo: run(lone, photo[None]), ready),
            f"batches of {BATCH}": lambda: [
                run(wide, np.stack(ready[at : at + BATCH])) for at in range(0, len(ready), BATCH)
            ],
        }
        seconds: dict[str, list[float]] = {name: [] for name in rows}
        for work in rows.values():  # once unmeasured: threads, processes and caches are warm
            work()
        for _ in track(range(rounds), description=model.stem, console=Console(stderr=True), transient=True):
            for name, work in rows.items():
                start = time.perf_counter()
                work()
                seconds[name].append(time.perf_counter() - start)
    return seconds


def open_session(model: Path, *, threads: int) -> onnxruntime.InferenceSession:
    """ONNX Runtime as the engine opens it, but for the number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, photos: Photo) -> np.ndarray:
    """Probabilities float32[N,K+1] of photos uint8[N,S,S,3]."""
    (probabilities,) = session.run([OUTPUT_NAME], {INPUT_NAME: photos})
    return probabilities


def count_bare(session: onnxruntime.InferenceSession, path: Path, side_px: int) -> int:
    """The most probable count of one photo's file, and nothing else."""
    return int(run(session, served(path.read_bytes(), side_px)[None]).argmax())


def spread(pool: Executor, work: Callable[[Any], object], items: Sequence[object]) -> list[object]:
    """`work` on each item, in order."""
    return list(pool.map(work, items, chunksize=8))


class Worker:
    """What each process keeps."""

    session: onnxruntime.InferenceSession
    side_px: int


def start_worker(model: Path, side_px: int) -> None:
    """Open the model once in each process."""
    Worker.session, Worker.side_px = open_session(model, threads=1), side_px


def count_in_worker(path: Path) -> int:
    """`count_bare` in a process."""
    return count_bare(Worker.session, path, Worker.side_px)


def size_of(path: Path) -> str:
    """Width and height of a photo."""
    height, width, _ = decode(path.read_bytes(), name=str(path)).shape
    return f"{width} x {height}"


def show(recipe: str, model: Path, paths: Sequence[Path], seconds: dict[str, list[float]]) -> None:
    """Print one network's table."""
    console = Console(width=110)
    console.print(
        f"{recipe}, {model.stat().st_size / 1e6:.1f} MB: {len(paths)} photos of {size_of(paths[0])}, "
        f"median of {len(seconds['engine'])} rounds, {THREADS} threads, {platform.machine()}, "
        f"ONNX Runtime {onnxruntime.__version__}",
        highlight=False,
    )
    table = Table("", "photos per second", "engine's speed : this")
    for name, each in seconds.items():
        ratio = statistics.median(other / own for own, other in zip(seconds["engine"], each, strict=True))
        table.add_row(name, f"{len(paths) / statistics.median(each):.1f}", f"{ratio:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
