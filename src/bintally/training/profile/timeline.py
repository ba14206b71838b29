"""A run's time, divided: at each moment one phase, one record for each step and each stretch between epochs.

Refuses to know torch or Lightning: it is told when phases begin and end.
"""

import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from bintally.training.profile.phases import Phase

_PHASES = tuple(Phase)
_PLACES = {phase: place for place, phase in enumerate(_PHASES)}
_PROBES = 2000  # transitions whose cost is measured


class Kind(StrEnum):
    """What a record is of."""

    START = "start"
    STEP = "step"
    BETWEEN_EPOCHS = "between epochs"


@dataclass(slots=True, kw_only=True)
class Record:
    """One step, or what lies between.

    Attributes:
        epoch: from 1.
        traced: torch.profiler ran, so its times are not those of a plain step.
        seconds: by phase, in the order of `Phase`.
    """

    kind: Kind
    epoch: int
    traced: bool = False
    seconds: "array[float]" = field(default_factory=lambda: array("d", bytes(8 * len(_PHASES))))

    def of(self, *phases: Phase) -> float:
        """Seconds in these phases together."""
        return sum(self.seconds[_PLACES[phase]] for phase in phases)

    @property
    def total(self) -> float:
        """Seconds in all phases but the profiler's own."""
        return sum(self.seconds) - self.of(Phase.TRACING)


class Timeline:
    """A clock that is always in one phase.

    Attributes:
        records: in order; the last one is under way.
        transitions: how often the phase changed, which is what the timeline costs.
        traced: whether records that are opened now are traced ones.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.records = [Record(kind=Kind.START, epoch=0)]
        self.transitions = 0
        self.traced = False
        self._base = Phase.START  # when no action runs
        self._stack: list[Phase] = []
        self._now = Phase.START
        self._since = clock()
        self._ended = False

    @property
    def has_steps(self) -> bool:
        """Whether a step was begun."""
        return any(record.kind is Kind.STEP for record in self.records)

    def enter(self, phase: Phase | None) -> None:
        """A phase begins within the one under way; None: that one goes on under another name."""
        if phase is None or (self._base is Phase.VALIDATION and phase not in (Phase.CHECKPOINT, Phase.WATCHING)):
            phase = self._now  # all that validation does is validation
        self._stack.append(self._now)
        self._turn_to(phase)

    def leave(self) -> None:
        """The phase that began last ends; one that began before this clock did is none of its business."""
        if self._stack:
            self._turn_to(self._stack.pop())

    @contextmanager
    def within(self, phase: Phase) -> Iterator[None]:
        """Enter and leave."""
        self.enter(phase)
        try:
            yield
        finally:
            self.leave()

    def rest(self, base: Phase) -> None:
        """From here on a run in which no action runs is in this phase."""
        before, self._base = self._base, base
        self._stack = [base if phase is before else phase for phase in self._stack]
        if self._now is before:
            self._turn_to(base)

    def open(self, kind: Kind, *, epoch: int) -> None:
        """What follows belongs to another record."""
        self._book()
        self.records.append(Record(kind=kind, epoch=epoch, traced=self.traced and kind is Kind.STEP))

    def end(self) -> None:
        """Stop the clock; only once."""
        if not self._ended:
            self._book()
        self._ended = True

    def _turn_to(self, phase: Phase) -> None:
        if phase is not self._now:
            self._book()
            self._now = phase
            self.transitions += 1

    def _book(self) -> None:
        now = self._clock()
        if not self._ended:
            self.records[-1].seconds[_PLACES[self._now]] += now - self._since
        self._since = now


def seconds_by_phase(records: Sequence[Record]) -> dict[Phase, float]:
    """Summed over records."""
    return {phase: sum(record.seconds[place] for record in records) for phase, place in _PLACES.items()}


def cost_of_transition() -> float:
    """Seconds that one change of phase costs on this machine, measured."""
    timeline = Timeline()
    begun = time.perf_counter()
    for _ in range(_PROBES // 2):
        timeline.enter(Phase.FORWARD)
        timeline.leave()
    return (time.perf_counter() - begun) / _PROBES
