"""A copy of a dataset that is split by photo, as published work does it: siblings on both sides of the line.

For one purpose: to show what such a split adds to a figure. Photos are linked, not copied; intervals measured on the
copy are by photo and too narrow.

    python benchmarks/split_by_photo.py DATA OUT
"""

import argparse
import os
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl

from bintally.data.manifest import read_manifest, write_manifest
from bintally.data.splits import DEFAULT_SALT, split


def main() -> None:
    """Write it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path, help="a dataset, ingested")
    arguments.add_argument("out", type=Path, help="a new folder")
    options = arguments.parse_args()
    shutil.copytree(options.data, options.out, copy_function=os.link)
    (options.out / "manifest.parquet").unlink()  # the link: the dataset's own stays as it is
    there = read_manifest(options.data)
    salt = there.salt or DEFAULT_SALT
    alone = there.frame.with_columns(group=pl.col("photo_id"), split=pl.lit("train"))  # each photo placed by itself
    report = split(replace(there, root=options.out, frame=alone, header=replace(there.header, salt=salt)))
    write_manifest(report.manifest)
    print(f"{options.out}: split {report.manifest.split_hash} by photo, {report.torn_chains} chains in several splits")


if __name__ == "__main__":
    main()
