"""A part of a dataset, so that many short trials are affordable. Refuses to tear siblings apart."""

from dataclasses import replace

import polars as pl

from bintally.data.manifest import Manifest, Split
from bintally.data.splits import fraction
from bintally.settings import RunSettings

_SALT = "tuning"


def limit_photos(manifest: Manifest, settings: RunSettings, photos: int | None) -> Manifest:
    """The dataset with about so many training photos, and all of val and calibration; test is left out.

    Which photos is a function of their groups' names alone: a smaller part lies within a larger one.

    Args:
        manifest: with splits.
        settings: say which photos can be learned from.
        photos: so many, and as many more as complete the last group; None: the whole dataset as it is.

    Raises:
        ManifestError: if there is no train split.
    """
    if photos is None:
        return manifest
    usable = manifest.usable(Split.TRAIN, settings.data.excluded_flags)
    sizes = usable.group_by("group").len()
    drawn = sizes.with_columns(place=pl.col("group").map_elements(lambda name: fraction(name, _SALT), pl.Float64))
    drawn = drawn.sort("place", "group").with_columns(before=pl.col("len").cum_sum() - pl.col("len"))
    groups = drawn.filter(pl.col("before") < photos)["group"]
    kept = pl.col("split").is_in([Split.VAL.value, Split.CALIBRATION.value]) | pl.col("group").is_in(groups.implode())
    return replace(manifest, frame=manifest.frame.filter(kept))
