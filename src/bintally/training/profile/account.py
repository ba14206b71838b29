"""From what was measured to a profile: sums, shares, percentiles, and a whole training reckoned from its steps.

Refuses to let traced steps into any figure but their own.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from bintally.training.profile.memory import Sampler
from bintally.training.profile.phases import Phase
from bintally.training.profile.result import Machine, Operator, Profile, Reckoned, Step, Work
from bintally.training.profile.timeline import Kind, Record, Timeline, cost_of_transition, seconds_by_phase

_PERCENTILES = {"p10": 10, "p50": 50, "p90": 90, "p99": 99, "max": 100}
_MOST_STEPS = 1500  # of the timeline that are kept one by one
_CPU_INFO = Path("/proc/cpuinfo")
_ONCE = (Phase.READ, Phase.DECODE)  # where decoded photos are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the clocks hold when a run is over."""

    timeline: Timeline
    wall_seconds: float
    sampler: Sampler
    operators: tuple[Operator, ...]


def account_for(run: str, work: Work, device: torch.device, seen: Seen) -> Profile:
    """A profile without trials and advice."""
    records = seen.timeline.records
    plain = [record for record in records if not record.traced]
    steps = [record for record in plain if record.kind is Kind.STEP]
    phases = seconds_by_phase(plain)
    traced = sum(sum(record.seconds) for record in records if record.traced) + phases.pop(Phase.TRACING)
    totals = np.array([record.total for record in steps]) if steps else np.zeros(1)
    shown, merged = _shown([record for record in records if record.kind is Kind.STEP])
    return Profile(
        complete=False,
        run=run,
        work=work,
        machine=_machine(device, seen.sampler),
        wall_seconds=seen.wall_seconds,
        traced_seconds=traced,
        phases=phases,
        overhead_share=seen.timeline.transitions * cost_of_transition() / seen.wall_seconds,
        plain_steps=len(steps),
        step_ms={name: float(np.percentile(totals, share)) * 1e3 for name, share in _PERCENTILES.items()},
        photos_per_second=len(steps) * work.batch_size * work.processes / max(1e-9, float(totals.sum())),
        reckoned=reckon(work, plain),
        between_epochs=_between(plain),
        steps_merged=merged,
        steps=shown,
        operators=seen.operators,
        memory=tuple(seen.sampler.samples),
        notes=_notes(work, seen),
    )


def reckon(work: Work, plain: Sequence[Record]) -> Reckoned | None:
    """A whole training with these settings; None: no plain step was seen.

    Where decoded photos are kept, a later epoch is one without reading and decoding.
    """
    steps = [record for record in plain if record.kind is Kind.STEP]
    if not steps:
        return None
    once = _ONCE if work.keeps_photos else ()
    lasting = settled(work, steps)
    step = {phase: total / len(lasting) for phase, total in seconds_by_phase(lasting).items() if phase not in once}
    del step[Phase.TRACING]
    cold = [record.of(*once) for record in steps if record.epoch == steps[0].epoch]
    extra, between = sum(cold) / len(cold), _between(plain)
    start = sum(record.total for record in plain if record.kind is Kind.START)
    later = work.steps_per_epoch * sum(step.values()) + between
    first = later + work.steps_per_epoch * extra
    total = start + first + (work.epochs - 1) * later
    return Reckoned(first=first, later=later, total=total, step=step, once=extra)


def settled(work: Work, steps: Sequence[Record]) -> list[Record]:
    """Steps as they are in later epochs: processes that keep their own photos cannot be looked into."""
    last = steps[-1].epoch
    if work.keeps_photos and work.workers and last > steps[0].epoch:
        return [record for record in steps if record.epoch == last]
    return list(steps)


def _between(plain: Sequence[Record]) -> float:
    """Seconds from one epoch's last step to the next one's first: the last time, for the first one decodes."""
    found = [record.total for record in plain if record.kind is Kind.BETWEEN_EPOCHS]
    return found[-1] if found else 0.0


def _machine(device: torch.device, sampler: Sampler) -> Machine:
    return Machine(
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        torch=torch.__version__,
        cores_used=sampler.cores_used,
        cores_of_others=sampler.cores_of_others,
        free_mib=psutil.virtual_memory().available / 2**20,
    )


def _processor() -> str:
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "CPU"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")


def _shown(records: Sequence[Record]) -> tuple[tuple[Step, ...], int]:
    """The timeline's steps, and how many of them each one is the mean of."""
    merged = -(-len(records) // _MOST_STEPS) or 1
    steps = []
    for at in range(0, len(records), merged):
        some = records[at : at + merged]
        sums = seconds_by_phase(some)
        steps.append(
            Step(
                number=at + 1,
                epoch=some[0].epoch,
                traced=any(record.traced for record in some),
                seconds={phase: round(total / len(some), 6) for phase, total in sums.items() if total},
            )
        )
    return tuple(steps), merged


def _notes(work: Work, seen: Seen) -> tuple[str, ...]:
    notes = []
    if work.processes > 1:
        notes.append(f"{work.processes} processes trained; the times are those of the first one")
    if not seen.operators:
        notes.append("too few steps for a trace of operators")
    if seen.sampler.cores_of_others > 0.1 * (os.cpu_count() or 1):
        busy = f"{seen.sampler.cores_of_others:.1f}"
        notes.append(f"other programs used {busy} cores meanwhile: all figures are of this busy machine")
    return tuple(notes)
