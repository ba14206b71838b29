"""Plots of a profile as SVG text that stands inline in its page.

Refuses to be the only place where a figure stands: all of them are in `profile.json`.
"""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bintally.pages.svg import INK, MAIN, MUTED, SECOND, STYLE, to_svg
from bintally.training.profile.phases import LABELS, Phase
from bintally.training.profile.result import Profile, Sample

COLOURS = {
    Phase.START: "#c9d1d9",
    Phase.READ: "#7a3e06",
    Phase.DECODE: "#d9730d",
    Phase.AUGMENT: "#f0a95b",
    Phase.COLLATE: "#f7d3a9",
    Phase.WAIT: "#b3261e",
    Phase.COPY: "#8250df",
    Phase.FORWARD: "#1f6feb",
    Phase.BACKWARD: "#0b3d91",
    Phase.OPTIMISER: "#6ea8fe",
    Phase.AVERAGING: "#b6d3fb",
    Phase.VALIDATION: "#1a7f4e",
    Phase.CHECKPOINT: "#7fc8a1",
    Phase.WATCHING: "#d4b106",
    Phase.CALLBACKS: "#e9dc8d",
    Phase.IDLE: "#8c98a4",
    Phase.TRACING: "#eeeeee",
}
"""Warm: loading; blue: computing; green: between epochs; yellow and grey: what is around it."""
_SEEN = 0.03  # share from which a part is large enough for its number
_BARS = 240  # in the picture; more steps are drawn as means
_ABOVE = 1.15  # of the 99th percentile: the picture's top


def shares_svg(profile: Profile) -> str:
    """The wall time as one bar."""
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(9.2, 0.9), layout="constrained")
        axes = canvas.subplots()
        left = 0.0
        for phase, seconds in profile.phases.items():
            share = seconds / profile.plain_seconds
            axes.barh(0, share, left=left, color=COLOURS[phase], height=1)
            if share >= _SEEN:
                axes.text(
                    left + share / 2, 0, f"{share:.0%}", ha="center", va="center", color=_ink_on(phase), fontsize=8.5
                )
            left += share
        axes.set_xlim(0, 1)
        axes.set_axis_off()
        return to_svg(canvas, "Wall time by phase")


def steps_svg(profile: Profile) -> str:
    """Each step as a stacked bar; where there are many, the mean of some neighbours, and their slowest as a dot."""
    steps = profile.steps
    some = -(-len(steps) // _BARS) or 1
    groups = [steps[at : at + some] for at in range(0, len(steps), some)]
    phases = [p for p in Phase if p is not Phase.TRACING and any(p in step.seconds for step in steps)]
    table = np.array(
        [[1e3 * np.mean([step.seconds.get(p, 0.0) for step in group]) for p in phases] for group in groups]
    )
    slowest = np.array([1e3 * max(step.total for step in group) for group in groups])
    places = np.array([group[0].number for group in groups])
    width = some * profile.steps_merged
    top = _ABOVE * max(1e-3, float(np.percentile(slowest, 99)), float(np.median(table.sum(axis=1))) * 1.5)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(9.2, 3.2), layout="constrained")
        axes = canvas.subplots()
        floor = np.zeros(len(places))
        for phase, heights in zip(phases, table.T, strict=True):
            axes.add_collection(_bars(places, floor, heights, width, COLOURS[phase]))
            floor = floor + heights
        if some > 1:
            axes.scatter(
                places + width / 2, np.minimum(slowest, top), s=5, color=MUTED, zorder=3, label="slowest of these"
            )
        high = slowest > top
        axes.scatter(
            places[high] + width / 2,
            np.full(high.sum(), top * 0.985),
            marker="^",
            s=16,
            color=SECOND,
            zorder=4,
            clip_on=False,
        )
        traced = [step.number for step in steps if step.traced]
        if traced:
            axes.axvspan(traced[0], traced[-1] + profile.steps_merged, color="#000000", alpha=0.07, lw=0, zorder=2)
            axes.text(traced[-1] + profile.steps_merged, top, " traced", ha="left", va="top", color=MUTED, fontsize=8)
        for epoch in sorted({step.epoch for step in steps})[1:]:
            start = next(step.number for step in steps if step.epoch == epoch)
            axes.axvline(start, color=INK, lw=0.7, ls=(0, (2, 2)), zorder=3)
        axes.set_xlim(places[0], places[-1] + width)
        axes.set_ylim(0, top)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("step of this sitting")
        axes.set_ylabel("ms")
        axes.grid(visible=False, axis="x")
        axes.legend(
            handles=[Patch(color=COLOURS[phase], label=LABELS[phase][0]) for phase in phases],
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=6,
            fontsize=8,
            handlelength=1,
            columnspacing=1.2,
        )
        return to_svg(canvas, "Steps")


def memory_svg(samples: Sequence[Sample]) -> str:
    """Memory of the run's processes, and the GPU's where there is one."""
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(9.2, 2.4), layout="constrained")
        axes = canvas.subplots()
        seconds = [sample.seconds for sample in samples]
        axes.plot(seconds, [sample.rss_mib / 1024 for sample in samples], color=MAIN, lw=1.6, label="processes (RSS)")
        if any(sample.gpu_peak_mib for sample in samples):
            axes.plot(seconds, [s.gpu_mib / 1024 for s in samples], color=SECOND, lw=1.4, label="GPU, allocated")
            axes.plot(seconds, [s.gpu_peak_mib / 1024 for s in samples], color=SECOND, lw=1, ls=":", label="GPU, peak")
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, max(seconds[-1], 1e-3))
        axes.set_xlabel("seconds")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} GiB"))
        return to_svg(canvas, "Memory")


def _bars(places: object, floor: object, heights: object, width: float, colour: str) -> PolyCollection:
    """Bars as one path: some hundred times as many patches make a page slow."""
    left, low, high = np.asarray(places, float), np.asarray(floor), np.asarray(floor) + np.asarray(heights)
    corners = np.stack(
        [np.stack([left + dx, edge], axis=1) for dx, edge in ((0, low), (width, low), (width, high), (0, high))], axis=1
    )
    kept = high > low
    return PolyCollection(list(corners[kept]), facecolors=colour, edgecolors=colour, linewidths=0.1)


def _ink_on(phase: Phase) -> str:
    light = (Phase.COLLATE, Phase.AUGMENT, Phase.AVERAGING, Phase.CALLBACKS, Phase.START, Phase.CHECKPOINT)
    return INK if phase in light else "white"
