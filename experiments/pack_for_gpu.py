"""Packs a dataset and weights into a folder of at most 64 MiB, for experiments/on_gpu.py on a machine lent for minutes.

    python experiments/pack_for_gpu.py DATA OUT --weights FILE [FILE ...] [--splits train]

JPEG files are coded anew without loss by `jpegtran -arithmetic` (Debian: libjpeg-turbo-progs): the same pixels in four
fifths of the bytes. Backbones lose their classifier, and large weights go into 16 bits. The test split stays here.
Leaves OUT/photos.bin, OUT/rows.npz (bytes, classes, groups, split, photo_id of each photo; split 0 is train, 1 val, 2
calibration) and OUT/weights/. ABID's small copies take 54.6 MiB, its train split alone 46.3 MiB.
"""

import argparse
import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
from safetensors.torch import load_file, save_file

from bintally.data.manifest import DEFAULT_EXCLUDED, Split, read_manifest

LAST = 20
LARGE = 16_384
SPLITS = (Split.TRAIN, Split.VAL, Split.CALIBRATION)


def main() -> None:
    """Write them."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("data", type=Path)
    made.add_argument("out", type=Path)
    made.add_argument("--weights", type=Path, nargs="*", default=[])
    made.add_argument("--splits", nargs="+", default=[each.value for each in SPLITS])
    options = made.parse_args()
    manifest = read_manifest(options.data)
    chosen = [split for split in SPLITS if split.value in options.splits]
    frame = pl.concat([manifest.usable(split, DEFAULT_EXCLUDED) for split in chosen])

    def packed(key: str) -> bytes:
        command = ["jpegtran", "-arithmetic", "-copy", "none", str(options.data / key)]
        return subprocess.run(command, capture_output=True, check=True).stdout

    with ThreadPoolExecutor(2) as pool:
        photos = list(pool.map(packed, frame["photo_key"]))
    (options.out / "weights").mkdir(parents=True, exist_ok=True)
    (options.out / "photos.bin").write_bytes(b"".join(photos))
    np.savez_compressed(
        options.out / "rows.npz",
        bytes=np.array([len(each) for each in photos]),
        classes=np.minimum(frame["count"].to_numpy(), LAST).astype(np.int64),
        groups=np.array([int(hashlib.sha256(each.encode()).hexdigest()[:8], 16) for each in frame["group"]]),
        split=np.array([[each.value for each in SPLITS].index(each) for each in frame["split"]]),
        photo_id=frame["photo_id"].to_numpy().astype(str),
    )
    for path in options.weights:
        state = {key: value for key, value in load_file(path).items() if not key.startswith("classifier")}
        small = {key: value.half() if value.numel() >= LARGE else value for key, value in state.items()}
        save_file(small, options.out / "weights" / path.name)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{len(photos)} photos, {size / 2**20:.1f} MiB in all")


if __name__ == "__main__":
    main()
