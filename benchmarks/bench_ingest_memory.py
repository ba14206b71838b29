"""Peak memory of `ingest` over 10,000 and 100,000 small photos: it should not grow with the bucket.

Each size is ingested by a process of its own, from an S3 server of this machine's that lists and serves the photos.

    python benchmarks/bench_ingest_memory.py [--photos 10000 100000]
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

from bintally import __version__

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.s3_server import S3Server

INGEST = r"""
import re, sys
from pathlib import Path
from bintally.data.ingest import ingest
from bintally.data.store import open_store
report = ingest(open_store("s3://bucket", endpoint=sys.argv[1], anonymous=True), Path(sys.argv[2]))
assert report.fetched == report.labelled == int(sys.argv[3]), report
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--photos", type=int, nargs="+", default=[10_000, 100_000])
    options = arguments.parse_args()
    table = Table(
        "photos",
        "peak memory, MiB",
        "beside the first",
        "seconds",
        title=f"Bintally {__version__}, Python {platform.python_version()}",
    )
    first = 0.0
    for photos in options.photos:
        with tempfile.TemporaryDirectory() as scratch, S3Server(bucket_of(photos)) as server:
            started = time.perf_counter()
            command = [sys.executable, "-c", INGEST, server.endpoint, scratch, str(photos)]
            peak = int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout) / 1024
            seconds = time.perf_counter() - started
        first = first or peak
        table.add_row(f"{photos:,}", f"{peak:.0f}", f"{peak / first:.3f}", f"{seconds:.0f}")
    Console(width=100).print(table)


def bucket_of(photos: int) -> dict[str, bytes]:
    """Photos of 16 x 16 pixels and records of three products."""
    buffer = BytesIO()
    Image.new("RGB", (16, 16), "grey").save(buffer, "JPEG")
    unit = {"unit": "IN", "value": 3.5}
    objects = {}
    for number in range(photos):
        items = {
            f"B{number:08d}{nth}": {
                "asin": f"B{number:08d}{nth}",
                "name": "A product of some name " * 3,
                "quantity": nth + 1,
                "height": unit,
                "length": unit,
                "width": unit,
                "weight": {"unit": "pounds", "value": 1.25},
            }
            for nth in range(3)
        }
        record = {"BIN_FCSKU_DATA": items, "EXPECTED_QUANTITY": 6}
        objects[f"bin-images/{number:06d}.jpg"] = buffer.getvalue()
        objects[f"metadata/{number:06d}.json"] = json.dumps(record).encode()
    return objects


if __name__ == "__main__":
    main()
