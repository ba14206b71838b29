"""What a profile found, as JSON and back.

Shares are of the wall time of plain steps and what lies between; traced steps stand apart, for tracing slows them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bintally.data.files import whole_file
from bintally.errors import CheckpointError
from bintally.training.profile.phases import COMPUTING, LOADING, Phase

FILE_NAME = "profile.json"
PAGE_NAME = "profile.html"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sample(_Part):
    """Memory at one moment, in seconds since training began."""

    seconds: float
    rss_mib: float
    gpu_mib: float = 0.0
    gpu_peak_mib: float = 0.0


class Operator(_Part):
    """One operator, for each traced step; times without what it calls.

    Attributes:
        calls: a step.
        memory_mib: that it, and what it calls, allocate in a step.
        shapes: of its inputs, where it costs most.
    """

    name: str
    calls: float
    cpu_ms: float
    gpu_ms: float
    memory_mib: float
    shapes: str


class Step(_Part):
    """One step of the timeline, or the mean of several.

    Attributes:
        number: of the sitting, from 1.
        seconds: by phase.
    """

    number: int
    epoch: int
    traced: bool
    seconds: dict[Phase, float]

    @property
    def total(self) -> float:
        """In all phases but the profiler's own."""
        return sum(seconds for phase, seconds in self.seconds.items() if phase is not Phase.TRACING)


class Machine(_Part):
    """What it ran on, who else did, and how much memory was free at the end."""

    cores: int
    threads: int
    device: str
    torch: str
    cores_used: float
    cores_of_others: float
    free_mib: float


class Work(_Part):
    """What was trained, as far as its speed depends on it."""

    recipe: str
    backbone: str
    photos: int
    side_px: int
    batch_size: int
    workers: int
    precision: Literal["fp32", "bf16"]
    cache_mib: int
    keeps_photos: bool
    prepared: bool
    epochs: int
    steps_per_epoch: int
    processes: int


class Trial(_Part):
    """A measurement beside the run's own way, in turns.

    Attributes:
        what: the setting that was tried.
        own_ms: what the run's own way takes, the median.
        other_ms: what the other way takes for as many photos.
        ratio: the median of the rounds' ratios, other to own.
    """

    what: str
    own_ms: float
    other_ms: float
    ratio: float
    rounds: int


class Advice(_Part):
    """What would make the run faster.

    Attributes:
        kind: what it is about.
        todo: what to do.
        why: the figures it follows from.
        saves_first: seconds that it saves in the first epoch.
        saves_later: seconds that it saves in each later one.
        epoch_seconds: what such a later epoch takes now.
        times: how many times faster the whole training gets.
    """

    kind: Literal["workers", "batch", "precision", "prepared", "cache"]
    todo: str
    why: str
    saves_first: float
    saves_later: float
    epoch_seconds: float
    times: float


class Reckoned(_Part):
    """A whole training, from the measured steps.

    Attributes:
        first: seconds of its first epoch.
        later: of each other one.
        total: of all of them.
        step: seconds of a later epoch's step, by phase.
        once: seconds that a first epoch's step takes besides, to read and decode photos that are then kept.
    """

    first: float
    later: float
    total: float
    step: dict[Phase, float]
    once: float


class Profile(_Part):
    """All of it.

    Attributes:
        complete: the trials were made; without, there is no advice.
        wall_seconds: by a clock of its own, from the beginning of training to its end.
        traced_seconds: of it, in traced steps and in beginning and ending the trace.
        phases: seconds by phase, without the traced ones.
        overhead_share: what the timeline itself costs: changes of phase, times the cost of one.
        step_ms: percentiles of plain steps, by name.
        photos_per_second: over plain steps, with their loading.
    """

    version: Literal[1] = 1
    complete: bool
    run: str
    work: Work
    machine: Machine
    wall_seconds: float
    traced_seconds: float
    phases: dict[Phase, float]
    overhead_share: float
    plain_steps: int
    step_ms: dict[str, float]
    photos_per_second: float
    reckoned: Reckoned | None
    between_epochs: float
    steps_merged: int
    steps: tuple[Step, ...]
    operators: tuple[Operator, ...]
    memory: tuple[Sample, ...]
    trials: tuple[Trial, ...] = ()
    advice: tuple[Advice, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def plain_seconds(self) -> float:
        """Wall time that shares are of, by the clock of its own."""
        return self.wall_seconds - self.traced_seconds

    @property
    def explained(self) -> float:
        """The share of it in named phases."""
        return sum(seconds for phase, seconds in self.phases.items() if phase is not Phase.IDLE) / self.plain_seconds

    @property
    def covered(self) -> float:
        """The share of it in all phases, idle included: 1, if every moment was measured."""
        return sum(self.phases.values()) / self.plain_seconds

    def share(self, *phases: Phase) -> float:
        """Of the wall time."""
        return sum(self.phases.get(phase, 0.0) for phase in phases) / self.plain_seconds

    @property
    def summary(self) -> str:
        """One line for the terminal."""
        shares = {
            "loading": self.share(*LOADING),
            "computing": self.share(*COMPUTING),
            "validation": self.share(Phase.VALIDATION),
            "idle": self.share(Phase.IDLE),
        }
        said = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        return f"{self.plain_seconds:.0f} s: {said}; {self.photos_per_second:.0f} photos/s. {self.advised}"

    @property
    def advised(self) -> str:
        """The best advice, or why there is none."""
        if not self.complete:
            return "No advice: the run was broken off before anything was tried"
        if not self.advice:
            return "Nothing to gain"
        return said(self.advice[0])

    def loading_stages(self) -> Iterator[tuple[Phase, float]]:
        """Stages of loading, the longest first."""
        yield from sorted(((phase, self.phases.get(phase, 0.0)) for phase in LOADING), key=lambda each: -each[1])


def said(advice: Advice) -> str:
    """An advice with its gain."""
    if advice.saves_later > 0:
        gain = f"saves {advice.saves_later:.1f} of {advice.epoch_seconds:.1f} s an epoch"
    else:
        gain = f"saves {advice.saves_first:.1f} s in the first epoch"
    return f"{advice.todo}: {gain}, {advice.times:.2f} times faster"


def write_profile(run: Path, profile: Profile) -> None:
    """Write `profile.json` into the run's folder, whole or not at all."""
    with whole_file(run / FILE_NAME) as part:
        part.write_text(profile.model_dump_json(indent=1), encoding="utf-8")


def read_profile(path: Path) -> Profile:
    """Read one back.

    Raises:
        CheckpointError: if it cannot be read.
    """
    try:
        return Profile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: cannot be read as a profile ({reason}). Profile the run again") from error
