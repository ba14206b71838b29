"""A job's settings as SageMaker carries them, names to strings, and back: shared by what asks and what runs.

A setting keeps its dotted key, as `bintally train --set` takes it; what is no setting begins with `run.`. A recipe is
named, and only what differs from it is said, so that a tuning job may add keys of its own. Refuses what SageMaker would
not carry, keys it does not know, and settings that another version of Bintally would read otherwise.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bintally.errors import SettingsError
from bintally.evaluation.health import RuleName, parse_rules
from bintally.settings import RunSettings, parse_settings
from bintally.training.recipes import recipe_names, recipe_text

RECIPE = "recipe"
STOP_ON = "run.stop_on"
LICENCE = "run.licence"
MAX_STEPS = "run.max_steps"
CHECKPOINT_EVERY = "run.checkpoint_every"
PROFILE = "run.profile"
SETTINGS_HASH = "run.settings_hash"
MOST = 100  # of CreateTrainingJob; as are the two below
LONGEST_NAME = 256
LONGEST_VALUE = 2500
_OURS = "run."
_SAGEMAKERS = ("_", "sagemaker_")  # keys that SageMaker, its tuner above all, adds by itself
_KNOWN = (STOP_ON, LICENCE, MAX_STEPS, CHECKPOINT_EVERY, PROFILE, SETTINGS_HASH)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """Everything that decides what a training job does with its photos.

    Attributes:
        stop_on: health rules whose alarm ends the run.
        licence: what the model file says of its use; None: what ABID's photos demand.
        max_steps: optimiser steps at most; -1: no such limit.
        checkpoint_every: optimiser steps; None: as often as takes 1 % of the time.
        profile: whether the run's time is taken apart.
        tuned: whether SageMaker's tuner chose some of the settings; then other jobs may share the checkpoints' place.
    """

    settings: RunSettings
    stop_on: frozenset[RuleName] = frozenset()
    licence: str | None = None
    max_steps: int = -1
    checkpoint_every: int | None = None
    profile: bool = False
    tuned: bool = False


def format_hyperparameters(job: JobSettings) -> dict[str, str]:
    """What a request says under HyperParameters.

    Raises:
        SettingsError: if SageMaker would not carry it.

    >>> from bintally.settings import parse_settings
    >>> job = JobSettings(settings=parse_settings(recipe_text("smallcnn"), name="x", overrides=["epochs=3"]))
    >>> {name: value for name, value in format_hyperparameters(job).items() if name != SETTINGS_HASH}
    {'recipe': 'smallcnn', 'epochs': '3'}
    """
    name = job.settings.recipe
    base = dict(_leaves(_base(name).model_dump(mode="json")))
    said = {RECIPE: format_value(name)}
    for key, value in _leaves(job.settings.model_dump(mode="json")):
        if value != base[key]:
            said[key] = format_value(value, key)
    said[SETTINGS_HASH] = job.settings.content_hash
    if job.stop_on:
        said[STOP_ON] = ",".join(sorted(job.stop_on))
    if job.licence is not None:
        said[LICENCE] = job.licence
    if job.max_steps != -1:
        said[MAX_STEPS] = str(job.max_steps)
    if job.checkpoint_every is not None:
        said[CHECKPOINT_EVERY] = str(job.checkpoint_every)
    if job.profile:
        said[PROFILE] = "true"
    check_carried(said)
    return said


def parse_hyperparameters(said: Mapping[str, str]) -> JobSettings:
    """Read them back.

    Raises:
        SettingsError: naming the key that is unknown or holds what it cannot.

    >>> parse_hyperparameters({"recipe": "smallcnn", "optimiser.lr": "0.01"}).settings.optimiser.lr
    0.01
    """
    ours = {name: value for name, value in said.items() if not name.startswith(_SAGEMAKERS)}
    if unknown := [name for name in ours if name.startswith(_OURS) and name not in _KNOWN]:
        raise SettingsError(
            f"hyperparameters: expected of those that begin with run. {', '.join(_KNOWN)}, got {unknown}"
        )
    recipe = _word(ours.get(RECIPE, "custom"))
    changes = [f"{key}={value}" for key, value in ours.items() if not key.startswith(_OURS) and key != RECIPE]
    changes.append(f"{RECIPE}={format_value(recipe)}")
    settings = parse_settings(_base_text(recipe), name="hyperparameters", overrides=changes)
    wanted = ours.get(SETTINGS_HASH, settings.content_hash)
    if wanted != settings.content_hash and not _tuned(said):
        raise SettingsError(
            f"hyperparameters: the settings read here have the hash {settings.content_hash}, those that were asked for "
            f"{wanted}: the image holds another version of Bintally. Build it anew, from the version that asks"
        )
    return JobSettings(
        settings=settings,
        stop_on=parse_rules([name for name in ours.get(STOP_ON, "").split(",") if name]),
        licence=ours.get(LICENCE),
        max_steps=_whole(ours, MAX_STEPS, -1),
        checkpoint_every=_whole(ours, CHECKPOINT_EVERY, 0) or None,
        profile=_yes(ours, PROFILE),
        tuned=_tuned(said),
    )


def check_carried(said: Mapping[str, str]) -> None:
    """Refuse what CreateTrainingJob does not take.

    Raises:
        SettingsError: naming the hyperparameter and the limit.
    """
    if len(said) > MOST:
        raise SettingsError(f"hyperparameters: SageMaker carries {MOST}, got {len(said)}; put settings into a recipe")
    for name, value in said.items():
        if len(name) > LONGEST_NAME or len(value) > LONGEST_VALUE:
            raise SettingsError(
                f"hyperparameter {name[:LONGEST_NAME]}: SageMaker carries names of {LONGEST_NAME} characters and "
                f"values of {LONGEST_VALUE}, got {len(name)} and {len(value)}"
            )
        if len((name + value).splitlines()) > 1:
            raise SettingsError(f"hyperparameter {name!r}: SageMaker carries no line breaks, got {value!r}")


def _base_text(recipe: str) -> str:
    return recipe_text(recipe) if recipe in recipe_names() else ""


def _base(recipe: str) -> RunSettings:
    return parse_settings(_base_text(recipe), name=f"recipe {recipe}")


def _leaves(values: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def format_value(value: object, key: str = RECIPE) -> str:
    """A value as `--set` takes it: TOML, or a bare word.

    >>> format_value(0.01), format_value("adamw"), format_value("two words"), format_value([1, 5]), format_value(True)
    ('0.01', 'adamw', '"two words"', '[1, 5]', 'true')
    """
    if value is None:
        raise SettingsError(f"{key}: a job cannot be asked to leave out what its recipe sets; choose a value")
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w-]*", value, re.ASCII) and value not in _TOML_WORDS:
        return value
    return json.dumps(value, ensure_ascii=False).translate(_NOT_IN_TOML)


_TOML_WORDS = ("true", "false", "inf", "nan")
# JSON's strings are TOML's but for these; the last three are what Python takes for ends of lines.
_NOT_IN_TOML = {code: f"\\u{code:04x}" for code in (0x7F, 0x85, 0x2028, 0x2029)}


def _word(text: str) -> str:
    """A recipe's name, quoted or not."""
    return str(json.loads(text)) if text.startswith('"') else text


def _tuned(said: Mapping[str, str]) -> bool:
    """Whether SageMaker's tuner chose some of them."""
    return any(name.startswith(_SAGEMAKERS[0]) for name in said)


def _whole(said: Mapping[str, str], name: str, default: int) -> int:
    text = said.get(name, str(default))
    if not re.fullmatch(r"-?\d+", text, re.ASCII):
        raise SettingsError(f"hyperparameter {name}: expected a whole number, got {text!r}")
    return int(text)


def _yes(said: Mapping[str, str], name: str) -> bool:
    text = said.get(name, "false")
    if text not in ("true", "false"):
        raise SettingsError(f"hyperparameter {name}: expected true or false, got {text!r}")
    return text == "true"
