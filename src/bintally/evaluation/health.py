"""What the rules that watch a run found, as frozen models that become the run's `health.json` and come back equal.

Refuses to judge: the rules stand in `bintally.training.health`, and whoever reads this needs no torch.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bintally.data.files import whole_file
from bintally.errors import CheckpointError, SettingsError

FORMAT_VERSION: Literal[1] = 1
FILE_NAME = "health.json"


class RuleName(StrEnum):
    """Every rule, by what it finds; what explains others stands before them."""

    NAN = "nan"
    SPLITS_DIFFER = "splits-differ"
    CLASS_IMBALANCE = "class-imbalance"
    POOR_INITIALISATION = "poor-initialisation"
    EXPLODING_GRADIENT = "exploding-gradient"
    DEAD_UNITS = "dead-units"
    SATURATED_OUTPUTS = "saturated-outputs"
    VANISHING_GRADIENT = "vanishing-gradient"
    LOSS_NOT_DECREASING = "loss-not-decreasing"
    OVERFIT = "overfit"
    OVERTRAINING = "overtraining"
    STARVED_STEP = "starved-step"


def parse_rules(names: Sequence[str]) -> frozenset[RuleName]:
    """Rules by name; `any` means all.

    Raises:
        SettingsError: if there is no such rule.

    >>> sorted(parse_rules(["nan", "overfit"]))
    [<RuleName.NAN: 'nan'>, <RuleName.OVERFIT: 'overfit'>]
    """
    known = {rule.value: rule for rule in RuleName}
    if unknown := [name for name in names if name not in known and name != "any"]:
        raise SettingsError(f"--stop-on: expected 'any' or one of {', '.join(known)}, got {', '.join(unknown)}")
    return frozenset(RuleName) if "any" in names else frozenset(known[name] for name in names)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Alarm(_Frozen):
    """What one rule raised, once in a run.

    Attributes:
        epoch: from 1; 0: before the first step.
        step: optimiser steps done by then.
        saw: what was seen, with figures.
        todo: what to do: a setting to change, by name.
        photos: keys of the photos concerned, where a rule can tell.
    """

    rule: RuleName
    epoch: int
    step: int
    saw: str
    todo: str
    photos: tuple[str, ...] = ()

    @property
    def when(self) -> str:
        """For a person.

        >>> Alarm(rule=RuleName.OVERFIT, epoch=5, step=1300, saw="", todo="").when
        'epoch 5, step 1,300'
        """
        return f"epoch {self.epoch}, step {self.step:,}" if self.epoch else "before the first step"


class Health(_Frozen):
    """A run's health as far as it was watched.

    Attributes:
        rules: those that watched.
        epochs: begun.
        steps: done.
        alarms: in the order in which they were raised.
        stopped_by: the rule that ended the run; None: it ended by itself, or goes on.
    """

    format_version: Literal[1] = FORMAT_VERSION
    rules: tuple[RuleName, ...]
    epochs: int
    steps: int
    alarms: tuple[Alarm, ...] = ()
    stopped_by: RuleName | None = None

    @property
    def summary(self) -> str:
        """In a sentence.

        >>> Health(rules=tuple(RuleName), epochs=9, steps=2340).summary
        '12 rules watched 9 epochs (2,340 steps) and raised no alarm'
        """
        watched = f"{len(self.rules)} rules watched {self.epochs} epochs ({self.steps:,} steps)"
        if not self.alarms:
            return f"{watched} and raised no alarm"
        raised = ", ".join(f"{alarm.rule} ({alarm.when})" for alarm in self.alarms)
        stopped = f"; stopped by {self.stopped_by}" if self.stopped_by else ""
        return f"{watched} and raised {raised}{stopped}"


def write_health(health: Health, path: Path) -> None:
    """Write it, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(health.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_health(path: Path) -> Health:
    """Read what `write_health` wrote.

    Raises:
        CheckpointError: if it is missing, of another version, or damaged.
    """
    try:
        return Health.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: expected a run's health, cannot read it ({error})") from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise CheckpointError(
            f"{path}: not a run's health of format version {FORMAT_VERSION}: {place}: {fault['msg']}. "
            "Remove the file, or train again"
        ) from error
