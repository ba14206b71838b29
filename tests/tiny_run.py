"""The whole path in miniature: drawn photos of 64 px, a network that sees 32 px, two passes; a second in all."""

import logging
import shutil
from pathlib import Path

from bintally.data.ingest import ingest
from bintally.data.manifest import Manifest, read_manifest, write_manifest
from bintally.data.splits import split
from bintally.data.store import open_store
from bintally.data.synthetic import draw_bucket
from bintally.models.checkpoint import Checkpoint
from bintally.settings import RunSettings, parse_settings
from bintally.training.fit import fit
from bintally.training.recipes import recipe_text

TINY = ("data.side_px=32", "epochs=2", "batch_size=16", "precision='fp32'")


def tiny_settings(*changes: str, recipe: str = "smallcnn") -> RunSettings:
    """A recipe at its smallest, with `changes`."""
    text = recipe_text(recipe)
    enlarged = ["model.enlarged_px=48"] if parse_settings(text, name=recipe).model.enlarged_px else []
    return parse_settings(text, name=recipe, overrides=[*TINY, *enlarged, *changes])


def draw_dataset(folder: Path, photos: int = 120, seed: int = 0) -> Manifest:
    """Drawn bins with up to five items, ingested into `folder/data` and split."""
    draw_bucket(folder / "bucket", photos=photos, seed=seed, max_count=5, width_px=64, height_px=64)
    report = ingest(open_store(str(folder / "bucket")), folder / "data")
    manifest = split(read_manifest(report.root), required_counts=()).manifest
    write_manifest(manifest)
    return manifest


def copy_dataset(manifest: Manifest, destination: Path) -> Manifest:
    """The same dataset elsewhere, to be spoilt."""
    shutil.copytree(manifest.root, destination)
    return read_manifest(destination)


def fit_tiny(manifest: Manifest, run: Path, *changes: str, recipe: str = "smallcnn", **options: object) -> Checkpoint:
    """Train without a progress bar or Lightning's advice."""
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return fit(manifest, tiny_settings(*changes, recipe=recipe), run, progress=False, **options)  # type: ignore[arg-type]
