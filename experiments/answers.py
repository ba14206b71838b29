"""What finished runs say of val and calibration, photo and mirror image, as files that `compare.py` reads.

    python experiments/answers.py DATA OUT RUN...
    python experiments/compare.py OUT a b a+b --folds 5

Each run's own calibration is applied, as in the mean of several runs that `bintally export` writes. Networks compute in
bf16 where the machine has it: quicker, and not what an exported model computes to the last digit.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl
import torch
from rich.progress import track

from bintally.data.manifest import Split, read_manifest
from bintally.models.checkpoint import load_checkpoint
from bintally.models.dataset import PhotoDataset, loader


def main() -> None:
    """Ask each run."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("runs", type=Path, nargs="+")
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(options.data)
    low = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    for run in options.runs:
        checkpoint = load_checkpoint(run)
        facts = checkpoint.facts
        if facts.low or not facts.open_ended:
            arguments.error(f"{run}: compare.py needs classes from 0 to K or more, got {facts.low} to {facts.high}")
        flags = facts.settings.data.excluded_flags
        rows = pl.concat([manifest.usable(split, flags) for split in (Split.VAL, Split.CALIBRATION)])
        rows = rows.filter(pl.Series(facts.classes.encode(rows["count"].to_numpy()) >= 0))
        photos = PhotoDataset(rows, manifest.root, classes=facts.classes, settings=facts.settings, augment=None)
        found: dict[str, list[torch.Tensor]] = {"plain": [], "mirrored": []}
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            for batch, *_ in track(loader(photos, facts.settings, shuffle=False), run.name):
                for name, view in (("plain", batch), ("mirrored", batch.flip(2))):
                    found[name].append(facts.calibration(checkpoint.network(view).float()).log_softmax(1))
        answers = {name: torch.cat(each).numpy() for name, each in found.items()}
        np.savez(
            options.out / f"{run.name}.npz",
            classes=photos.labels.numpy(),
            groups=np.array(rows["group"].to_list()),
            **answers,
        )


if __name__ == "__main__":
    main()
