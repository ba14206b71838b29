"""A loader that lets the network wait."""

import os
from dataclasses import dataclass
from typing import ClassVar

from bintally.evaluation.health import RuleName
from bintally.settings import RunSettings
from bintally.training.health.rule import Saw
from bintally.training.health.seen import Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class StarvedStep:
    """Too much of a step is waiting for its photos.

    Above 20 % of the time, which TensorFlow's profiler calls highly input-bound
    (op_stats_to_input_pipeline_analysis.cc), over at least 20 steps that waited for a second in all. An epoch in which
    photos are decoded once and for all is not judged, nor the first batch of any.
    """

    name: ClassVar[RuleName] = RuleName.STARVED_STEP
    explains: ClassVar[frozenset[RuleName]] = frozenset()
    share: float = 0.2
    least_steps: int = 20
    least_seconds: float = 1.0

    def judge(self, seen: Seen, settings: RunSettings) -> Saw | None:
        """Once enough steps were timed."""
        steps, waited = len(seen.times.waited), sum(seen.times.waited)
        share = waited / max(waited + sum(seen.times.worked), 1e-9)
        if steps < self.least_steps or waited < self.least_seconds or share <= self.share:
            return None
        text = f"{share:.0%} of the last {steps} steps was waiting for photos, {1000 * waited / steps:.0f} ms each"
        return Saw(text=text, todo=_to_wait_less(seen, settings))


def _to_wait_less(seen: Seen, settings: RunSettings) -> str:
    spare = max(1, (os.cpu_count() or 1) - 1)
    more = settings.workers * 2 or min(4, spare)
    workers = f"--set workers={more}"
    if seen.start is None or seen.start.photos_fit:
        return workers
    photos = max(labels.total for labels in seen.start.labels.values())
    room = photos * settings.data.side_px**2 * 3 / 2**20
    return f"{workers}, or keep decoded photos in memory: --set cache_mib={room:.0f} (prepared photos decode faster)"
