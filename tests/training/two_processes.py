"""What `test_resume` starts twice at once, as torchrun does: DATA and a folder for the runs are its arguments.

The same run three times: whole; stopped by a signal that the second process alone gets; and going on from there.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from lightning.pytorch.callbacks import LambdaCallback
from tests.tiny_run import fit_tiny

from bintally.data.manifest import read_manifest
from bintally.errors import StoppedError

CHANGES = ("seed=4", "epochs=3", "batch_size=8", "model.dropout=0.5", "optimiser.ema_decay=0.7")


def main(data: Path, runs: Path) -> None:
    manifest, rank = read_manifest(data), int(os.environ["RANK"])
    fit_tiny(manifest, runs / "whole", *CHANGES, resume=False, checkpoint_every=10**6)
    steps: list[int] = []

    def stop_the_second(*_: object) -> None:
        steps.append(1)
        if rank == 1 and len(steps) == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        fit_tiny(manifest, runs / "broken", *CHANGES, callbacks=(LambdaCallback(on_train_batch_start=stop_the_second),))
    except StoppedError as stop:
        (runs / f"stopped-{rank}").write_text(f"{stop.signum} {len(steps)}")
    torch.distributed.barrier()
    fit_tiny(manifest, runs / "broken", *CHANGES)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
