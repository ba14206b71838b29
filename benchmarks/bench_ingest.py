"""Photos per second of `ingest` from a bucket 20 ms away, beside four ways to fetch the same photos.

Rows, measured in turns in each round, over the same drawn photos on an S3 server of this machine's, behind a proxy of
the benchmark's own that holds every request back:

    ingest            bintally.data.ingest: photos and records, hashed, described, manifest written
    library alone     the same library (obstore), as many at once: photos and records into files, nothing else
    raw HTTP          plain sockets, as many at once: photos and records read and thrown away
    boto3 loop        one `download_file` after the other, photos alone: what course projects do
    boto3 loop, both  the same for photos and records

    python benchmarks/bench_ingest.py [--photos 1500] [--rounds 3] [--latency-ms 20]
"""

import argparse
import asyncio
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from rich.console import Console
from rich.table import Table

from bintally import __version__
from bintally.data.ingest import ingest
from bintally.data.store import open_store
from bintally.data.synthetic import draw_bucket

HERE = Path(__file__).parent
WIDTH_PX, HEIGHT_PX = 520, 456  # as large as ABID's photos are
CONCURRENCY = 64
ONE_BY_ONE = 60  # photos of the two slow rows
DRAWN = 300  # different photos; more keys are copies


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--photos", type=int, default=1500)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--latency-ms", type=float, default=20.0)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bucket = Path(scratch) / "bucket"
        make_bucket(bucket, options.photos)
        ids = sorted(path.stem for path in (bucket / "bin-images").iterdir())
        with serving(bucket, options.latency_ms / 1000) as endpoint:
            speeds = measure(endpoint, ids, Path(scratch) / "out", options.rounds)
    show(speeds, options)


def make_bucket(folder: Path, photos: int) -> None:
    """Drawn photos and records, copied under further keys where there are not enough."""
    draw_bucket(folder, photos=min(DRAWN, photos), width_px=WIDTH_PX, height_px=HEIGHT_PX)
    for number in range(DRAWN, photos):
        for kind, end in (("bin-images", "jpg"), ("metadata", "json")):
            drawn = sorted((folder / kind).iterdir())[number % DRAWN]
            shutil.copyfile(drawn, folder / kind / f"9{number:05d}.{end}")


@contextmanager
def serving(folder: Path, latency_seconds: float) -> Iterator[str]:
    """The S3 server of the tests and the proxy, each a process of its own."""
    server = ["python", str(HERE.parent / "tests" / "s3_server.py"), "--folder", str(folder)]
    with (
        process(server) as port,
        process(["python", str(HERE / "delaying_proxy.py"), "--to", port, "--seconds", str(latency_seconds)]) as proxy,
    ):
        yield f"http://127.0.0.1:{proxy}"


@contextmanager
def process(command: list[str]) -> Iterator[str]:
    """Run it; gives the port that it prints."""
    with subprocess.Popen([sys.executable, *command[1:]], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield running.stdout.readline().strip().rpartition(":")[2]
        finally:
            running.terminate()


def measure(endpoint: str, ids: list[str], out: Path, rounds: int) -> dict[str, list[float]]:
    """Photos per second of each way, by round."""
    few = ids[:ONE_BY_ONE]
    ways: list[tuple[str, list[str], Callable[[list[str], Path], None]]] = [
        ("ingest", ids, lambda _, folder: run_ingest(endpoint, folder)),
        ("library alone", ids, lambda some, folder: asyncio.run(library_alone(endpoint, some, folder))),
        ("raw HTTP", ids, lambda some, _: asyncio.run(raw_http(endpoint, some))),
        ("boto3 loop", few, lambda some, folder: boto3_loop(endpoint, some, folder, records=False)),
        ("boto3 loop, both", few, lambda some, folder: boto3_loop(endpoint, some, folder, records=True)),
    ]
    speeds: dict[str, list[float]] = {name: [] for name, _, _ in ways}
    for _ in range(rounds):
        for name, some, way in ways:
            for kind in ("bin-images", "metadata"):
                (out / kind).mkdir(parents=True)
            started = time.perf_counter()
            way(some, out)
            speeds[name].append(len(some) / (time.perf_counter() - started))
            shutil.rmtree(out)
    return speeds


def run_ingest(endpoint: str, folder: Path) -> None:
    """What the verb does."""
    ingest(open_store("s3://bucket", endpoint=endpoint, anonymous=True), folder, concurrency=CONCURRENCY)


async def library_alone(endpoint: str, ids: list[str], folder: Path) -> None:
    """The listing is read too, as `ingest` reads it."""
    store = open_store("s3://bucket", endpoint=endpoint, anonymous=True).backend
    async for _ in store.list("bin-images/", chunk_size=1000):
        pass
    queue = iter(ids)

    async def work() -> None:
        for photo_id in queue:
            for key in (f"bin-images/{photo_id}.jpg", f"metadata/{photo_id}.json"):
                answer = await store.get_async(key)
                (folder / key).write_bytes(bytes(await answer.bytes_async()))

    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))


async def raw_http(endpoint: str, ids: list[str]) -> None:
    """One connection for each worker, kept open."""
    host, _, port = endpoint.removeprefix("http://").partition(":")
    queue = iter(ids)

    async def work() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for photo_id in queue:
            for key in (f"bin-images/{photo_id}.jpg", f"metadata/{photo_id}.json"):
                writer.write(f"GET /bucket/{key} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
        writer.close()

    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))


def boto3_loop(endpoint: str, ids: list[str], folder: Path, *, records: bool) -> None:
    """Sequential, as the notebooks have it."""
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", config=Config(signature_version=UNSIGNED)
    )
    for photo_id in ids:
        client.download_file("bucket", f"bin-images/{photo_id}.jpg", str(folder / f"bin-images/{photo_id}.jpg"))
        if records:
            client.download_file("bucket", f"metadata/{photo_id}.json", str(folder / f"metadata/{photo_id}.json"))


def show(speeds: dict[str, list[float]], options: argparse.Namespace) -> None:
    """One line for each way, and how many times as fast `ingest` is."""
    table = Table(
        "way",
        "photos/s",
        "ingest, times as fast (median of rounds)",
        title=f"Bintally {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores; {options.photos} "
        f"photos, {options.latency_ms:g} ms, {CONCURRENCY} at once, {options.rounds} rounds",
    )
    for name, each in speeds.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(speeds["ingest"], each, strict=True))
        table.add_row(name, f"{statistics.median(each):,.0f}", f"{ratio:.2f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
