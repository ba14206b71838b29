"""Requests per second and latency of `POST /invocations`, beside the engine alone and a route without bounds.

Rows, measured in turns in each round, over the same photos and the same number of threads:

    engine       Engine.count in a plain thread pool: no HTTP at all
    plain route  the least FastAPI can do: the body whole, the engine in its thread pool; no limit, deadline or log
    bintally     `bintally serve`, a process of its own as the plain route is

Clients are threads of this process with one connection each: they take part of the same cores, alike for both servers.
Processor time is that of the row's own process, without the clients': it says what HTTP costs, whatever else runs.

    python benchmarks/bench_serving.py [--model MODEL] [--photos FOLDER] [--requests 400] [--rounds 5] [--clients 4]
"""

import argparse
import http.client
import itertools
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bintally.data.synthetic import draw_bucket
from bintally.inference.engine import Engine

WIDTH_PX, HEIGHT_PX = 520, 456  # as large as ABID's photos are
THREADS = os.cpu_count() or 1
PLAIN_ROUTE = """
import asyncio, sys
from pathlib import Path
import uvicorn
from fastapi import FastAPI, Request
from bintally.inference.engine import Engine

engine, app = Engine(Path(sys.argv[1])), FastAPI()

@app.post("/invocations")
async def invocations(request: Request):
    body = await request.body()
    counted = await asyncio.to_thread(engine.count, body)
    return [counted.probabilities.tolist()]

@app.get("/ping")
async def ping():
    return {}

uvicorn.run(app, port=0, http="h11", access_log=False)
"""


@dataclass(frozen=True, slots=True)
class Round:
    """What one row took in one round: all requests together and each of them, in seconds."""

    seconds: float
    processor_seconds: float
    latencies: tuple[float, ...] = ()


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", type=Path, help="default: mobilenetv2 with random weights")
    arguments.add_argument("--photos", type=Path, help="a folder of .jpg files; default: drawn ones of 520 x 456")
    arguments.add_argument("--requests", type=int, default=400)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--clients", type=int, default=2 * THREADS)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = options.model or untrained(Path(scratch))
        photos = read_photos(options.photos, Path(scratch), options.requests)
        rounds = measure(model, photos, clients=options.clients, rounds=options.rounds, scratch=Path(scratch))
    kind = "drawn photos" if options.photos is None else "photos as given"
    show(
        rounds,
        f"{len(photos)} {kind}, {statistics.mean(map(len, photos)) / 1000:.0f} kB each, {options.clients} clients",
    )


def untrained(scratch: Path) -> Path:
    """As fast as a trained model."""
    from bench_engine import write_untrained

    return write_untrained("mobilenetv2", scratch / "model.onnx")


def read_photos(folder: Path | None, scratch: Path, number: int) -> list[bytes]:
    """As many photos as requests."""
    if folder is None:
        draw_bucket(scratch / "bucket", photos=min(number, 200), width_px=WIDTH_PX, height_px=HEIGHT_PX)
        folder = scratch / "bucket" / "bin-images"
    found = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))[:number]]
    return list(itertools.islice(itertools.cycle(found), number))


def measure(
    model: Path, photos: Sequence[bytes], *, clients: int, rounds: int, scratch: Path
) -> dict[str, list[Round]]:
    """Each row in each round."""
    plain = [sys.executable, "-c", PLAIN_ROUTE, str(model)]
    ours = [str(Path(sys.executable).parent / "bintally"), "serve", "--model", str(model), "--port", "0"]
    with ExitStack() as stack:
        engine = Engine(model)
        pool = stack.enter_context(ThreadPoolExecutor(THREADS))
        servers = {
            name: stack.enter_context(server(command, scratch / f"{name}.log"))
            for name, command in (("plain route", plain), ("bintally", ours))
        }
        rows = {"engine": lambda: count_all(engine, pool, photos)}
        rows |= {name: lambda one=one: ask_all(*one, photos, clients) for name, one in servers.items()}
        found: dict[str, list[Round]] = {name: [] for name in rows}
        for work in rows.values():  # once unmeasured: threads, connections and caches are warm
            work()
        for _ in track(range(rounds), description="serving", console=Console(stderr=True), transient=True):
            for name, work in rows.items():
                found[name].append(work())
    return found


@contextmanager
def server(command: Sequence[str], log: Path) -> Iterator[tuple[int, psutil.Process]]:
    """The port and process of a server that is ready; ended at the end."""
    with log.open("wb") as err, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err) as process:
        try:
            while not (found := re.search(r"127\.0\.0\.1:(\d+)", log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            port = int(found[1])
            while ask(http.client.HTTPConnection("127.0.0.1", port), "GET", "/ping") != http.HTTPStatus.OK:
                time.sleep(0.05)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


def count_all(engine: Engine, pool: ThreadPoolExecutor, photos: Sequence[bytes]) -> Round:
    """All photos by the engine."""
    start, before = time.perf_counter(), time.process_time()
    list(pool.map(engine.count, photos))
    return Round(time.perf_counter() - start, time.process_time() - before)


def processor_seconds(process: psutil.Process) -> float:
    """What a process has used so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def ask_all(port: int, process: psutil.Process, photos: Sequence[bytes], clients: int) -> Round:
    """All photos by a server, each client taking the next."""
    waiting, latencies, lock = iter(photos), list[float](), threading.Lock()

    def client() -> None:
        line = http.client.HTTPConnection("127.0.0.1", port)
        own = []
        while True:
            with lock:
                photo = next(waiting, None)
            if photo is None:
                break
            start = time.perf_counter()
            assert ask(line, "POST", "/invocations", photo) == http.HTTPStatus.OK
            own.append(time.perf_counter() - start)
        line.close()
        with lock:
            latencies.extend(own)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start, before = time.perf_counter(), processor_seconds(process)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    assert len(latencies) == len(photos)
    return Round(seconds, processor_seconds(process) - before, tuple(latencies))


def ask(line: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> int:
    """One request on an open line; its status."""
    line.request(method, path, body, {"Content-Type": "image/jpeg"})
    answer = line.getresponse()
    answer.read()
    return answer.status


def show(rounds: dict[str, list[Round]], what: str) -> None:
    """Print the table."""
    console = Console(width=110)
    console.print(
        f"{what}, median of {len(rounds['engine'])} rounds, {THREADS} threads, {platform.machine()}, "
        f"ONNX Runtime {onnxruntime.__version__}",
        highlight=False,
    )
    photos = len(rounds["bintally"][0].latencies)
    table = Table("", "photos/s", "bintally's speed : this", "processor ms a photo", "p50 ms", "p99 ms")
    for name, each in rounds.items():
        rate = photos / statistics.median(one.seconds for one in each)
        work = statistics.median(one.processor_seconds for one in each) / photos
        ratio = statistics.median(one.seconds / own.seconds for own, one in zip(rounds["bintally"], each, strict=True))
        latencies = [latency for one in each for latency in one.latencies]
        cuts = statistics.quantiles(latencies, n=100) if latencies else []
        spoken = [f"{cuts[49] * 1000:.1f}", f"{cuts[98] * 1000:.1f}"] if cuts else ["", ""]
        table.add_row(name, f"{rate:.1f}", f"{ratio:.2f}", f"{work * 1000:.2f}", *spoken)
    console.print(table)


if __name__ == "__main__":
    main()
