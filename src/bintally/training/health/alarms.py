"""The alarms of one run: said at once, written at once, and taken note of where they are to end it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from bintally.errors import ManifestError, WeightsError
from bintally.evaluation.health import FILE_NAME, Alarm, Health, RuleName, write_health
from bintally.training.health.rule import Saw


class Alarms:
    """What was raised so far.

    Attributes:
        epoch: where the run is, from 1; 0: not begun.
        step: optimiser steps done.
        speaks: whether this process says and writes what it finds.
        stopped_by: the rule that ends the run.
    """

    def __init__(self, run: Path, *, say: Callable[[str], None], stop_on: frozenset[RuleName]) -> None:
        self._run, self._say, self._stop_on = run, say, stop_on
        self._raised: list[Alarm] = []
        self.epoch, self.step, self.speaks = 0, 0, True
        self.stopped_by: RuleName | None = None

    @property
    def can_stop(self) -> bool:
        """Whether any alarm ends the run."""
        return bool(self._stop_on)

    @property
    def rules(self) -> list[RuleName]:
        """Those that have raised theirs."""
        return [alarm.rule for alarm in self._raised]

    @property
    def health(self) -> Health:
        """As far as the run was watched."""
        return Health(
            rules=tuple(RuleName),
            epochs=self.epoch,
            steps=self.step,
            alarms=tuple(self._raised),
            stopped_by=self.stopped_by,
        )

    def ring(self, rule: RuleName, saw: Saw) -> None:
        """Say it, and have it written."""
        alarm = Alarm(rule=rule, epoch=self.epoch, step=self.step, saw=saw.text, todo=saw.todo, photos=saw.photos)
        self._raised.append(alarm)
        stops = rule in self._stop_on and self.stopped_by is None
        if stops:
            self.stopped_by = rule
        if self.speaks:
            end = f" Stopping, as --stop-on asks for {rule}." if stops else ""
            self._say(f"{rule} ({alarm.when}): {alarm.saw}. To do: {alarm.todo}.{end}")
        self.write()

    def refuse(self) -> NoReturn:
        """End a run that has not begun: there is nothing of it to keep.

        Raises:
            WeightsError: where its weights are at fault.
            ManifestError: where its labels are.
        """
        alarm = self._raised[-1]
        error = WeightsError if alarm.rule is RuleName.POOR_INITIALISATION else ManifestError
        raise error(f"{self._run}: stopped before the first step by --stop-on {alarm.rule}")

    def write(self) -> None:
        """Write `health.json` anew."""
        if self.speaks:
            write_health(self.health, self._run / FILE_NAME)

    def state(self) -> dict[str, Any]:
        """Plain values."""
        raised = [alarm.model_dump(mode="json") for alarm in self._raised]
        stopped_by = None if self.stopped_by is None else self.stopped_by.value
        return {"epoch": self.epoch, "step": self.step, "raised": raised, "stopped_by": stopped_by}

    def restore(self, state: dict[str, Any]) -> None:
        """From what `state` gave."""
        self.epoch, self.step = state["epoch"], state["step"]
        self._raised = [Alarm.model_validate(alarm) for alarm in state["raised"]]
        self.stopped_by = None if state["stopped_by"] is None else RuleName(state["stopped_by"])
