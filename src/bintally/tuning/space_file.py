"""A space's file: TOML, in which a setting is called as in a recipe.

    description = "..."
    recipe = "resnet101"                                         # only where it is for one recipe alone

    [space]
    optimiser.lr = { low = 0.001, high = 0.1, log = true }
    batch_size = { choices = [8, 16, 32, 64] }

Refuses what says nothing to search. Whether it suits a recipe and a dataset, `bintally.tuning.checks` says.
"""

import math
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from bintally.errors import SettingsError
from bintally.settings import RunSettings
from bintally.tuning.space import Choices, Range, Space, setting_type
from bintally.tuning.spaces import space_names, space_text

_RANGE_WORDS, _CHOICES_WORDS = {"low", "high", "log"}, {"choices"}
_FORM = "expected { low = 1, high = 9 }, with log = true for a logarithmic scale, or { choices = [1, 2] }"


def find_space(which: str) -> Space:
    """A space that ships, by name, or one of the user's own, by its file: anything that ends in `.toml`.

    Raises:
        SettingsError: if there is none, or it cannot be meant.
    """
    if not which.endswith(".toml"):
        return parse_space(space_text(which), name=which)
    try:
        text = Path(which).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{which}: cannot be read as a space; {', '.join(space_names())} ship ({error})") from error
    return parse_space(text, name=Path(which).stem)


def parse_space(text: str, *, name: str) -> Space:
    r"""Read a space from TOML.

    Raises:
        SettingsError: naming the space, the setting and what was expected.

    >>> str(parse_space("[space]\nepochs = { low = 2, high = 9 }", name="x").parameters["epochs"])
    '2 to 9'
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"space {name}: not TOML: {error}") from error
    _check_words(values, {"description", "recipe", "space"}, f"space {name}")
    texts = {key: values.get(key, "") for key in ("description", "recipe")}
    if not (isinstance(values.get("space"), dict) and all(isinstance(each, str) for each in texts.values())):
        raise SettingsError(f"space {name}: expected a table [space] of settings, and texts beside it")
    parameters = {key: _parse_parameter(key, each, name) for key, each in _parameters(values["space"], name)}
    if not parameters:
        raise SettingsError(f"space {name}: empty: nothing to try. Add a setting below [space]: {_FORM}")
    return Space(name=name, description=texts["description"], recipe=texts["recipe"] or None, parameters=parameters)


def _parameters(table: Mapping[str, object], name: str, above: str = "") -> Iterator[tuple[str, Mapping[str, object]]]:
    """Dotted keys with what is said of them; a table without a parameter's words is a section."""
    known = [key for key, _, _ in RunSettings.list_keys()]
    sections = {key.partition(".")[0] for key in known if "." in key}
    for key, value in table.items():
        dotted = f"{above}{key}"
        if isinstance(value, dict) and not above and key in sections:
            yield from _parameters(value, name, f"{key}.")
        elif dotted not in known:
            near = [each for each in known if each.rpartition(".")[2] == key] + get_close_matches(dotted, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else "."
            raise SettingsError(f"space {name}: no setting is called {dotted!r}{meant} `bintally recipes` lists them")
        elif isinstance(value, dict):
            yield dotted, value
        else:
            raise SettingsError(f"space {name}: {dotted}: got {value!r}; {_FORM}")


def _parse_parameter(key: str, values: Mapping[str, object], name: str) -> Range | Choices:
    what = f"space {name}: {key}"
    _check_words(values, _RANGE_WORDS | _CHOICES_WORDS, what)
    if set(values) == _CHOICES_WORDS:
        return _parse_choices(key, values["choices"], what)
    if not {"low", "high"} <= set(values) <= _RANGE_WORDS:
        raise SettingsError(f"{what}: got {', '.join(values) or 'nothing'}; {_FORM}")
    return _parse_range(key, values, what)


def _parse_choices(key: str, choices: object, what: str) -> Choices:
    if not isinstance(choices, list) or not all(isinstance(each, bool | int | float | str) for each in choices):
        raise SettingsError(f"{what}: expected a list of numbers, texts or true and false, got {choices!r}")
    wanted = setting_type(key)
    kinds: tuple[object, ...] = (int, float) if wanted is float else (wanted,)
    for each in choices:
        if wanted in (int, float, bool, str) and type(each) not in kinds:
            raise SettingsError(f"{what}: expected choices of type {_type_name(wanted)}, got {each!r}")
    if len(set(choices)) < max(2, len(choices)):
        raise SettingsError(f"{what}: expected two or more choices, all different, got {choices!r}; one is no choice")
    return Choices(choices=tuple(float(each) if wanted is float else each for each in choices))


def _type_name(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _parse_range(key: str, values: Mapping[str, object], what: str) -> Range:
    low, high, log = values["low"], values["high"], values.get("log", False)
    wanted = setting_type(key)
    if wanted not in (int, float):
        raise SettingsError(f"{what}: only numbers have a range; {_FORM}")
    kinds = (int,) if wanted is int else (int, float)
    if type(low) not in kinds or type(high) not in kinds or not isinstance(log, bool):
        number = "whole numbers" if wanted is int else "numbers"
        raise SettingsError(f"{what}: expected {number} as ends and log = true or false, got {dict(values)}")
    assert isinstance(low, int | float)  # noqa: S101 - known by now
    assert isinstance(high, int | float)  # noqa: S101
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SettingsError(f"{what}: expected low below high, got {low} and {high}")
    if log and low <= 0:
        raise SettingsError(f"{what}: a logarithmic scale begins above 0, got low = {low}")
    return Range(low=low, high=high, log=log)


def _check_words(values: Mapping[str, object], known: set[str], what: str) -> None:
    unknown = sorted(set(values) - known)
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        meant = f"; did you mean {near[0]}?" if near else "."
        raise SettingsError(f"{what}: {unknown[0]!r} means nothing here{meant} Known: {', '.join(sorted(known))}")
