"""Whether a space suits a recipe and a dataset, found out before the first trial.

Refuses values that settings cannot hold, settings that would make trials incomparable, and what contradicts the recipe,
the command or the photos.
"""

from collections.abc import Collection
from pathlib import Path

from bintally.data.manifest import Manifest, Split
from bintally.data.prepared import check_side
from bintally.errors import SettingsError
from bintally.settings import RunSettings
from bintally.tuning.space import Choices, Space, flatten, with_values

_SMALL_CNN = "smallcnn"  # as in models.network, which would import torch
_SAME_PHOTOS = "it decides which photos are measured, so that losses would not compare"
_NOT_TUNABLE = {
    "recipe": "it is a name",
    "description": "it is a text",
    "seed": "the luckiest seed is no better on other photos",
    "workers": "it changes how fast a run is, not what it finds",
    "cache_mib": "it changes how fast a run is, not what it finds",
    "data.counts": _SAME_PHOTOS,
    "data.last_count": _SAME_PHOTOS,
    "data.excluded_flags": _SAME_PHOTOS,
}


def check_space(space: Space, base: RunSettings, *, given: Collection[str] = (), weights: Path | None = None) -> None:
    """Refuse a space that `base` contradicts.

    Args:
        space: what to try.
        base: the recipe, with what the command changed in it.
        given: settings that the command fixes.
        weights: the backbone's weights, if a file is given.

    Raises:
        SettingsError: saying what contradicts what, and what to do.
    """
    name = f"space {space.name}"
    if space.recipe is not None and space.recipe != base.recipe:
        raise SettingsError(f"{name} is for recipe {space.recipe!r}, not {base.recipe!r}; leave --recipe away")
    for key, parameter in space.parameters.items():
        if key in _NOT_TUNABLE:
            raise SettingsError(f"{name}: {key} cannot be tuned: {_NOT_TUNABLE[key]}")
        if key in given:
            raise SettingsError(f"{name} tries {parameter} for {key}, which the command fixes; leave one of them away")
        for value in parameter.ends:
            with_values(base, {key: value}, name=f"{name}, {key} = {value!r}")
    _check_network(space, base, given, weights)


def check_photos(space: Space, base: RunSettings, manifest: Manifest) -> None:
    """Refuse a space that the photos contradict.

    Raises:
        ManifestError: if a split is missing, or the photos were prepared at another side than one that is tried.
        SettingsError: if a batch would be larger than the train split.
    """
    photos = manifest.usable(Split.TRAIN, base.data.excluded_flags).height
    manifest.usable(Split.VAL, base.data.excluded_flags)
    largest = max(int(str(batch)) for batch in _tried(space, base, "batch_size"))
    if largest > photos:
        raise SettingsError(
            f"space {space.name}: a batch of {largest} is larger than the train split, {photos} photos; "
            "take smaller batches, or more photos"
        )
    for side in _tried(space, base, "data.side_px"):
        check_side(manifest, int(str(side)), wanted_by=f"space {space.name} with recipe {base.recipe!r}")


def _tried(space: Space, base: RunSettings, key: str) -> tuple[object, ...]:
    """The values at the ends of what is tried; the recipe's own where the space leaves the setting alone."""
    return space.parameters[key].ends if key in space.parameters else (flatten(base)[key],)


def _check_network(space: Space, base: RunSettings, given: Collection[str], weights: Path | None) -> None:
    name = f"space {space.name}"
    pretrained = _tried(space, base, "model.pretrained")
    if "model.backbone" in space.parameters:
        if weights is not None:
            raise SettingsError(f"{name} tries several backbones, but --weights {weights} fits one; leave it away")
        if pretrained == (False,) and "model.pretrained" not in given:
            raise SettingsError(
                f"{name} tries backbones, but recipe {base.recipe!r} trains from nothing (model.pretrained = false). "
                "Take another recipe, or say that it is meant: --set model.pretrained=false"
            )
    bare = False in pretrained or _SMALL_CNN in _tried(space, base, "model.backbone")
    if bare and True in _tried(space, base, "model.frozen"):
        raise SettingsError(f"{name}: with recipe {base.recipe!r} a backbone without weights would be frozen")
    if any(key.startswith("model.") for key in space.parameters):
        _check_buildable(space, base)


def _check_buildable(space: Space, base: RunSettings) -> None:
    """Build every backbone once, without memory for its weights."""
    import torch  # noqa: PLC0415 - takes seconds, and most spaces leave the network alone

    from bintally.models.network import CountNetwork  # noqa: PLC0415

    parameter = space.parameters.get("model.backbone")
    backbones = parameter.choices if isinstance(parameter, Choices) else (base.model.backbone,)
    for backbone in backbones:
        name = f"space {space.name}, model.backbone = {backbone!r}"
        model = with_values(base, {"model.backbone": backbone}, name=name).model
        try:
            with torch.device("meta"):
                CountNetwork(model, classes=2, mean=base.data.mean, std=base.data.std)
        except SettingsError as error:
            raise SettingsError(
                f"{name}, with recipe {base.recipe!r}: {error}. Take another recipe, or other backbones"
            ) from error
