"""How long a person waits: `bintally --help`, and one photo counted, each in a process of its own.

python benchmarks/bench_startup.py [--rounds 10]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_engine import write_untrained
from rich.console import Console
from rich.table import Table

from bintally.data.synthetic import draw_bucket

BINTALLY = Path(sys.executable).parent / "bintally"


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=10)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bucket = Path(scratch) / "bucket"
        draw_bucket(bucket, photos=1)
        photo = next((bucket / "bin-images").iterdir())
        model = write_untrained("mobilenetv2", Path(scratch) / "model.onnx")
        calls = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "bintally --help": [BINTALLY, "--help"],
            "bintally count PHOTO": [BINTALLY, "count", photo, "--model", model],
            "bintally verify PHOTO --expect 1": [BINTALLY, "verify", photo, "--expect", "1", "--model", model],
        }
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(options.rounds + 1):  # the first round fills the disk's cache and is left out
            for name, call in calls.items():
                start = time.perf_counter()
                subprocess.run(call, stdout=subprocess.DEVNULL, check=False)
                seconds[name].append(time.perf_counter() - start)
    table = Table("", "median", "slowest", title=f"Seconds from start to end, {options.rounds} rounds, mobilenetv2")
    for name, each in seconds.items():
        table.add_row(name, f"{statistics.median(each[1:]):.2f}", f"{max(each[1:]):.2f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
