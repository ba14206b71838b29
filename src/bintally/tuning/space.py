"""A space: which settings to try, and between which ends.

Refuses nothing itself: `bintally.tuning.space_file` and `bintally.tuning.checks` do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bintally.settings import RunSettings, check_settings

if TYPE_CHECKING:  # a space may be read where nothing is trained
    import optuna

Value = bool | int | float | str
Values = Mapping[str, Value]
"""Settings by their dotted keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Every number between two ends, both included."""

    low: int | float
    high: int | float
    log: bool = False

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values that must all be allowed for the range to be."""
        return self.low, self.high

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + (", logarithmic" if self.log else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Some values, none nearer to another than to a third."""

    choices: tuple[Value, ...]

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values that must all be allowed."""
        return self.choices

    def __contains__(self, value: object) -> bool:
        return value in self.choices

    def __str__(self) -> str:
        return ", ".join(str(choice) for choice in self.choices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What to try.

    Attributes:
        name: what the space is called: a name that ships, or a file's without `.toml`.
        description: one sentence.
        recipe: the only recipe that it is for; None: any.
        parameters: dotted key of a setting -> its values.
    """

    name: str
    description: str
    recipe: str | None
    parameters: Mapping[str, Range | Choices]

    def suggest(self, trial: "optuna.Trial") -> dict[str, Value]:
        """Values for one trial."""
        return {key: _suggest(trial, key, values) for key, values in self.parameters.items()}

    def holds(self, values: Values) -> bool:
        """Whether the sampler could suggest these."""
        return all(values.get(key) in parameter for key, parameter in self.parameters.items())

    def to_plain(self) -> dict[str, dict[str, object]]:
        """As plain values, to be stored and compared."""
        return {
            key: {"choices": list(values.choices)}
            if isinstance(values, Choices)
            else {"low": values.low, "high": values.high, "log": values.log}
            for key, values in self.parameters.items()
        }


def _suggest(trial: "optuna.Trial", key: str, values: Range | Choices) -> Value:
    if isinstance(values, Choices):
        chosen: Value = trial.suggest_categorical(key, values.choices)  # type: ignore[assignment]  # none is None
        return chosen
    if setting_type(key) is int:
        return trial.suggest_int(key, int(values.low), int(values.high), log=values.log)
    return trial.suggest_float(key, values.low, values.high, log=values.log)


def setting_type(key: str) -> object:
    """The type of a setting, without its limits.

    >>> setting_type("batch_size"), setting_type("optimiser.lr")
    (<class 'int'>, <class 'float'>)
    """
    fields = RunSettings.model_fields
    section, _, name = key.rpartition(".")
    if section:
        fields = type(fields[section].default).model_fields
    return fields[name].annotation


def flatten(settings: RunSettings) -> dict[str, object]:
    """Every setting by its dotted key.

    >>> flatten(RunSettings())["optimiser.lr"]
    0.001
    """
    flat: dict[str, object] = {}
    for key, value in settings.model_dump(mode="json").items():
        inside = value if isinstance(value, dict) else None
        flat |= {key: value} if inside is None else {f"{key}.{name}": each for name, each in inside.items()}
    return flat


def with_values(settings: RunSettings, values: Values, *, name: str) -> RunSettings:
    """`settings` with some of them changed.

    Raises:
        SettingsError: naming `name`, if they cannot be.

    >>> with_values(RunSettings(), {"optimiser.lr": 0.5}, name="x").optimiser.lr
    0.5
    """
    changed = settings.model_dump()
    for key, value in values.items():
        section, _, last = key.rpartition(".")
        (changed[section] if section else changed)[last] = value
    return check_settings(changed, name=name)


def shown(value: object) -> str:
    """A value for a person.

    >>> shown(0.00123456), shown(32), shown("resnet50")
    ('0.00123', '32', 'resnet50')
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)
