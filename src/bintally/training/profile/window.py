"""torch.profiler over a few steps: the operators that cost most, and a trace that Perfetto opens.

Refuses to run for long: what it keeps in memory grows with every operator, so its window is bounded.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch.profiler import ProfilerActivity, profile

from bintally.data.files import whole_file
from bintally.training.profile.clock import LABEL
from bintally.training.profile.result import Operator

TRACE_NAME = "trace.json.gz"
_WARM_UP, _ACTIVE = 2, 8  # steps, at most
_TOP = 20
_NOT_OPERATORS = (LABEL, "ProfilerStep", "Optimizer.", "enumerate(", "[memory]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which steps are traced: after so many, some to warm up with, then those that count."""

    after: int
    warm_up: int
    active: int

    @property
    def steps(self) -> int:
        """Both kinds."""
        return self.warm_up + self.active

    @classmethod
    def within(cls, steps: int) -> Self | None:
        """In an epoch of so many steps at most a quarter of them; None: there are too few.

        >>> Window.within(12)
        Window(after=4, warm_up=1, active=3)
        """
        active = min(_ACTIVE, steps // 4)
        if not active:
            return None
        return cls(after=max(1, steps // 3), warm_up=min(_WARM_UP, max(1, active // 2)), active=active)


class TraceWindow:
    """Begins, counts steps, ends; once.

    Attributes:
        operators: the costliest first; empty until it ended.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_gpu = device.type == "cuda"
        self._profile: profile | None = None
        self._window = Window(after=0, warm_up=0, active=0)
        self._steps = 0
        self.operators: tuple[Operator, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether steps are being traced."""
        return self._profile is not None

    def begin(self, window: Window) -> None:
        """The next step is the first of the window."""
        self._window = window
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._is_gpu else [])]
        schedule = torch.profiler.schedule(wait=0, warmup=window.warm_up, active=window.active, repeat=1)
        self._profile = profile(activities=activities, schedule=schedule, record_shapes=True, profile_memory=True)
        with _quiet():
            self._profile.start()

    def step(self) -> bool:
        """A step is over; whether it was the last one."""
        if self._profile is None:
            return False
        self._steps += 1
        if self._steps >= self._window.steps:
            return True
        with _quiet():
            old = torch.empty(1)
            self._profile.step()
            del old  # from before the trace: that it is freed now is warned of, once
        return False

    def end(self, trace: Path | None) -> None:
        """Stop, and keep what was seen.

        Args:
            trace: where the trace is written to; None: nowhere.
        """
        if self._profile is None:
            return
        found, self._profile = self._profile, None
        with _quiet():
            found.stop()
        steps = self._steps - self._window.warm_up
        if steps < 1:
            return
        self.operators = _operators(found, steps, is_gpu=self._is_gpu)
        if trace is not None:
            with whole_file(trace) as part:
                plain = part.with_name(f"{part.name}.json.gz")  # torch goes by the end of the name
                try:
                    found.export_chrome_trace(str(plain))
                    plain.replace(part)
                finally:
                    plain.unlink(missing_ok=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """The tracer's libraries write notes of their own to the standard error, which no setting turns off."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _operators(found: profile, steps: int, *, is_gpu: bool) -> tuple[Operator, ...]:
    """Summed over shapes; of these the costliest is named."""
    by_shape = [each for each in found.key_averages(group_by_input_shape=True) if _is_operator(each.key)]

    def cost(event: object) -> float:
        return float(getattr(event, "self_device_time_total" if is_gpu else "self_cpu_time_total"))

    names = {each.key for each in by_shape}
    rows = []
    for name in names:
        mine = sorted((each for each in by_shape if each.key == name), key=cost, reverse=True)
        rows.append(
            Operator(
                name=name,
                calls=sum(each.count for each in mine) / steps,
                cpu_ms=sum(each.self_cpu_time_total for each in mine) / steps / 1e3,
                gpu_ms=sum(each.self_device_time_total for each in mine) / steps / 1e3 if is_gpu else 0.0,
                memory_mib=sum(max(0, each.device_memory_usage if is_gpu else each.cpu_memory_usage) for each in mine)
                / steps
                / 2**20,
                shapes=_shown(mine[0].input_shapes),
            )
        )
    rows.sort(key=lambda row: row.gpu_ms if is_gpu else row.cpu_ms, reverse=True)
    return tuple(rows[:_TOP])


def _is_operator(name: str) -> bool:
    return not name.startswith(_NOT_OPERATORS)


def _shown(shapes: object) -> str:
    """Input shapes, without those of what is no tensor.

    >>> _shown([[2, 3], [], [4]])
    '2x3, 4'
    """
    kept = [shape for shape in shapes if shape] if isinstance(shapes, list) else []
    return ", ".join("x".join(str(side) for side in shape) for shape in kept if isinstance(shape, list))
