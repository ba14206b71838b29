"""From what a user wants to what workers are told: everything that can be found out before the first trial is."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from bintally.data.manifest import Manifest, read_manifest
from bintally.errors import WeightsError
from bintally.settings import RunSettings
from bintally.tuning.checks import check_photos, check_space
from bintally.tuning.space import Space
from bintally.tuning.storage import find_place
from bintally.tuning.study import StudyFacts, comparable
from bintally.tuning.subset import limit_photos
from bintally.tuning.worker import OnPhotos, Orders


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a user wants.

    Attributes:
        data: the dataset's folder.
        space: what to try.
        base: the recipe, with what the command changes in it.
        fixed: the settings that the command changes.
        weights: the backbone's, in a file.
        study: where, as the command has it; None: a folder named after recipe and space.
        limit_photos: learn from about so many; None: from all.
        budget: trials in the whole study.
        until: when no trial is begun any more, as `time.time()` has it.
        prune: end poor trials early.
        workers: on this machine.
    """

    data: Path
    space: Space
    base: RunSettings
    fixed: tuple[str, ...] = ()
    weights: Path | None = None
    study: str | None = None
    limit_photos: int | None = None
    budget: int | None = None
    until: float | None = None
    prune: bool = True
    workers: int = 1


def begin(wish: Wish) -> Orders:
    """Check it all, and say what workers are to do. Nothing is written.

    Raises:
        BintallyError: what cannot be meant, or is not there.
    """
    place = find_place(wish.study, name=f"{wish.base.recipe}-{wish.space.name}")
    check_space(wish.space, wish.base, given=wish.fixed, weights=wish.weights)
    manifest = limit_photos(read_manifest(wish.data), wish.base, wish.limit_photos)
    check_photos(wish.space, wish.base, manifest)
    return Orders(
        place=place,
        facts=_facts(wish, manifest),
        space=wish.space,
        base=wish.base,
        make_train=OnPhotos(data=wish.data, weights=wish.weights, limit_photos=wish.limit_photos, base=wish.base),
        budget=wish.budget,
        until=wish.until,
        prune=wish.prune,
        workers=wish.workers,
    )


def _facts(wish: Wish, manifest: Manifest) -> StudyFacts:
    return StudyFacts(
        recipe=wish.base.recipe,
        settings=comparable(wish.base, wish.space.parameters),
        space=wish.space.to_plain(),
        manifest_hash=manifest.content_hash,
        split_hash=manifest.split_hash,
        limit_photos=wish.limit_photos,
        weights="" if wish.weights is None else f"{wish.weights.name} {_digest(wish.weights)}",
    )


def _digest(weights: Path) -> str:
    try:
        with weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError as error:
        raise WeightsError(f"{weights}: no such weights file ({error.strerror or error})") from error
