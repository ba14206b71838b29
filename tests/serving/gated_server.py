"""`serve` with a gate in front of the engine: while the file named by GATE is there, no photo is counted.

A photo that waits there makes a file beside it, GATE.waiting; each that is counted adds a byte to GATE.counted.

python gated_server.py MODEL     with settings in BINTALLY_SERVE_...
"""

import os
import sys
import time
from pathlib import Path

from bintally.domain.counts import CountDistribution
from bintally.inference.engine import Engine
from bintally.serving.server import serve
from bintally.serving.settings import ServeSettings

count = Engine.count


def count_behind_gate(self: Engine, photo: bytes, *, name: str = "photo") -> CountDistribution:
    gate = Path(os.environ["GATE"])
    while gate.exists():
        gate.with_suffix(".waiting").touch()
        time.sleep(0.005)
    with gate.with_suffix(".counted").open("ab") as counted:
        counted.write(b".")
    return count(self, photo, name=name)


def main() -> None:
    Engine.count = count_behind_gate  # type: ignore[method-assign]
    settings = ServeSettings.from_environment(os.environ, model=Path(sys.argv[1]))
    serve(settings, host="127.0.0.1", port=0, said=lambda said: print(said, file=sys.stderr, flush=True))  # noqa: T201


if __name__ == "__main__":
    main()
