"""Tells the timeline what Lightning does: as its profiler, and as the clock of the training dataset.

Hands everything on to the profiler that was there, as `health.probes.FetchClock` does, so that both can be at work.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from lightning.pytorch.profilers import Profiler

from bintally.models.dataset import Stage
from bintally.training.profile.phases import FETCH, ON_DEVICE, Phase, phase_of
from bintally.training.profile.timeline import Kind, Timeline

LABEL = "bintally: "
"""How the phases' names begin in a trace."""
_STAGES = {
    Stage.READ: Phase.READ,
    Stage.DECODE: Phase.DECODE,
    Stage.AUGMENT: Phase.AUGMENT,
    Stage.COLLATE: Phase.COLLATE,
}


class PhaseClock(Profiler):
    """Turns actions into phases.

    Args:
        inner: the profiler that was there.
        timeline: what is told.
        device: where the network is; a GPU is waited for where phases end.
        epoch: says which epoch it is, from 1.
    """

    def __init__(self, inner: Profiler, timeline: Timeline, device: torch.device, epoch: Callable[[], int]) -> None:
        super().__init__()
        self.inner, self._timeline, self._epoch = inner, timeline, epoch
        self._is_gpu = device.type == "cuda"
        self._phases: dict[str, Phase | None] = {}
        self._labels: list[AbstractContextManager[None] | None] = []

    def start(self, action_name: str) -> None:
        """An action begins."""
        phase = self._phase(action_name)
        if self._is_gpu and phase in ON_DEVICE:
            torch.cuda.synchronize()
        if action_name.endswith(FETCH):
            self._timeline.rest(Phase.IDLE)
            self._timeline.open(Kind.STEP, epoch=self._epoch())
        self._timeline.enter(phase)
        self._mark(phase)
        self.inner.start(action_name)

    def stop(self, action_name: str) -> None:
        """It ends."""
        self.inner.stop(action_name)
        if self._is_gpu and self._phase(action_name) in ON_DEVICE:
            torch.cuda.synchronize()
        if self._labels and (label := self._labels.pop()) is not None:
            label.__exit__(None, None, None)
        self._timeline.leave()

    def stage(self, stage: Stage) -> AbstractContextManager[None]:
        """The clock of a dataset in this process."""
        return self._timeline.within(_STAGES[stage])

    def summary(self) -> str:
        """The other profiler's."""
        return self.inner.summary()

    def _phase(self, action: str) -> Phase | None:
        if action not in self._phases:
            self._phases[action] = phase_of(action)
        return self._phases[action]

    def _mark(self, phase: Phase | None) -> None:
        """A trace shows phases too."""
        label = None
        if self._timeline.traced and phase not in (None, Phase.TRACING):
            label = torch.profiler.record_function(f"{LABEL}{phase}")
            label.__enter__()  # type: ignore[no-untyped-call]
        self._labels.append(label)
