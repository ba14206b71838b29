"""A study: what it is a study of, made or joined. Refuses to join one of another recipe, space or dataset."""

from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from pydantic import BaseModel, ConfigDict, ValidationError

from bintally.errors import SettingsError
from bintally.settings import RunSettings
from bintally.tuning.space import flatten
from bintally.tuning.storage import Place, open_storage, translated
from bintally.tuning.trials import try_again

FORMAT_VERSION = 1
_FACTS = "facts"
_FREE = ("description", "workers", "cache_mib")  # as in training.resume: they decide how fast a run is
_IN_JOURNAL = "bintally"  # the study's name where a folder names it


class StudyFacts(BaseModel):
    """What a study is a study of: trials of different ones do not compare."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    recipe: str
    settings: dict[str, Any]
    space: dict[str, dict[str, Any]]
    manifest_hash: str
    split_hash: str
    limit_photos: int | None
    weights: str


def comparable(settings: RunSettings, space: Iterable[str] = ()) -> dict[str, Any]:
    """The settings that decide what a run finds, but for those that are tried, as plain values by dotted key."""
    return {key: value for key, value in flatten(settings).items() if key not in {*_FREE, *space}}


def join_study(
    place: Place,
    facts: StudyFacts,
    *,
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
) -> optuna.Study:
    """The study, made where there is none.

    Raises:
        SettingsError: if it is of another recipe, space or dataset.
        StoreError: if it cannot be opened.
    """
    storage = open_storage(place, on_stale=try_again)
    name = place.name if place.url else _IN_JOURNAL
    with translated(place):
        study = optuna.create_study(
            storage=storage, study_name=name, direction="minimize", load_if_exists=True, sampler=sampler, pruner=pruner
        )
        if _FACTS not in study.user_attrs:
            study.set_user_attr(_FACTS, facts.model_dump(mode="json"))
        held = study.user_attrs[_FACTS]  # another process may just have written its own
    _check_same(held, facts, place)
    return study


def passing_study(pruner: optuna.pruners.BasePruner | None = None) -> optuna.Study:
    """A study that is kept nowhere, to compute with."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(direction="minimize", pruner=pruner)


def _check_same(held: Mapping[str, Any], facts: StudyFacts, place: Place) -> None:
    try:
        there = StudyFacts.model_validate(held)
    except ValidationError as error:
        raise SettingsError(f"{place}: made by another version of Bintally; choose another --study") from error
    if there.format_version != facts.format_version:
        raise SettingsError(
            f"{place}: of version {there.format_version}, but this Bintally has {facts.format_version}; choose another "
            "--study"
        )
    differences = list_differences(there.model_dump(), facts.model_dump(mode="json"))
    if differences:
        raise SettingsError(
            f"{place} is of something else: {'; '.join(differences)}. Trials of the two do not compare: use what it "
            "was begun with, or choose another --study"
        )


def list_differences(there: Mapping[str, Any], here: Mapping[str, Any], above: str = "") -> list[str]:
    """What is not the same, in words, at most five of it.

    >>> list_differences({"recipe": "a", "settings": {"epochs": 1}}, {"recipe": "a", "settings": {"epochs": 2}})
    ['settings.epochs was 1, is 2']
    """
    found: list[str] = []
    for key in {**there, **here}:
        old, new = there.get(key), here.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += list_differences(old, new, f"{above}{key}.")
        elif old != new:
            found.append(f"{above}{key} was {old}, is {new}")
    return found[:5]
