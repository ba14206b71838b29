"""Plots of an evaluation as SVG text that stands inline in a page.

Refuses to be the only place where a figure stands: each plot shows figures that are in `evaluation.json`.
"""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator, PercentFormatter

from bintally.evaluation.bootstrap import Figure
from bintally.evaluation.results import CountResult, Curves, ReliabilityBin
from bintally.pages.svg import GRID, INK, MAIN, MUTED, SECOND, SHADE, STYLE, to_svg

_NUMBERED_UP_TO = 12  # a confusion matrix with more classes shows colours only


def curves_svg(curves: Curves, *, label: str) -> str:
    """Loss and accuracy of training and validation by epoch, one above the other."""
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(4.6, 4.2), layout="constrained")
        upper, lower = canvas.subplots(2, 1, sharex=True)
        for axes, title, train, val in (
            (upper, "Loss (cross entropy)", curves.train_loss, curves.val_loss),
            (lower, "Accuracy", curves.train_accuracy, curves.val_accuracy),
        ):
            axes.plot(curves.epoch, train, color=MAIN, marker="o", markersize=3, label="train")
            axes.plot(curves.epoch, val, color=SECOND, marker="o", markersize=3, label="validation")
            axes.set_title(title)
        upper.legend(loc="upper right")
        lower.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
        lower.set_xlabel("epoch")
        return to_svg(canvas, label)


def confusion_svg(confusion: Sequence[Sequence[int]], *, label: str) -> str:
    """True count (rows) against predicted count (columns), coloured by the share of the row."""
    table = np.array(confusion)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    last = len(table) - 1
    names = [*(str(count) for count in range(last)), f"{last}+"]
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        canvas = Canvas(figsize=(4.6, 4.4), layout="constrained")
        axes = canvas.subplots()
        axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=max(0.5, float(shares.max())), edgecolors="white", lw=0.5)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        step = 1 if last <= _NUMBERED_UP_TO else 2
        axes.set_xticks(np.arange(0, last + 1, step) + 0.5, names[::step])
        axes.set_yticks(np.arange(0, last + 1, step) + 0.5, names[::step])
        axes.set_xlabel("predicted count")
        axes.set_ylabel("true count")
        if last <= _NUMBERED_UP_TO:
            _number(axes, table, shares)
        return to_svg(canvas, label)


def reliability_svg(bins: Sequence[ReliabilityBin], *, label: str) -> str:
    """How often predictions were right against how sure they were; on the diagonal the two agree."""
    confidence = [entry.confidence for entry in bins]
    accuracy = [entry.accuracy for entry in bins]
    sizes = np.array([entry.photos for entry in bins], dtype=np.float64)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(4.6, 4.2), layout="constrained")
        axes = canvas.subplots()
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--", label="as sure as right")
        axes.vlines(confidence, confidence, accuracy, color=SHADE, lw=2)
        axes.scatter(confidence, accuracy, s=20 + 80 * sizes / sizes.max(), color=MAIN, zorder=3, label="photos")
        _percent_axes(axes, "confidence", "accuracy")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend(loc="upper left")
        return to_svg(canvas, label)


def per_count_svg(results: Sequence[CountResult], *, last_count: int, label: str) -> str:
    """Accuracy (with its interval) and +-1 of each true count; below each count, how many photos it has."""
    places = np.arange(len(results))
    names = [f"{r.count}{'+' if r.count == last_count else ''}" for r in results]
    values = np.array([r.accuracy.value for r in results])
    ends = np.array([[r.accuracy.low, r.accuracy.high] for r in results]).T
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(4.6, 4.2), layout="constrained")
        axes = canvas.subplots()
        axes.bar(places, [r.within_one.value for r in results], color=GRID, width=0.8, label="within ±1")
        axes.bar(places, values, color=MAIN, width=0.5, label="exact")
        errors = np.abs(ends - values)
        axes.errorbar(places, values, yerr=errors, fmt="none", ecolor=INK, elinewidth=0.9, label="95 % interval")
        _percent_axes(axes, "true count", "photos counted right")
        step = 1 if len(results) <= _NUMBERED_UP_TO else 2
        axes.set_xlim(-0.6, len(results) - 0.4)
        axes.set_xticks(places[::step], names[::step])
        axes.grid(visible=False, axis="x")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=3, columnspacing=1, handlelength=1.2)
        return to_svg(canvas, label)


def ranking_svg(names: Sequence[str], figures: Sequence[Figure], *, label: str) -> str:
    """One figure of several estimators with its interval, the first on top."""
    places = np.arange(len(names))[::-1]
    values = np.array([figure.value for figure in figures])
    ends = np.array([[figure.low, figure.high] for figure in figures]).T
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(6.4, 0.6 + 0.32 * len(names)), layout="constrained")
        axes = canvas.subplots()
        axes.hlines(places, ends[0], ends[1], color=SHADE, lw=5, capstyle="round")
        axes.scatter(values, places, s=42, color=MAIN, zorder=3)
        axes.set_yticks(places, names)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        return to_svg(canvas, label)


def _number(axes: Axes, table: np.ndarray, shares: np.ndarray) -> None:
    dark = shares > 0.6 * max(0.5, float(shares.max()))
    for (row, column), photos in np.ndenumerate(table):
        if photos:
            colour = "white" if dark[row, column] else INK
            axes.text(column + 0.5, row + 0.5, str(photos), ha="center", va="center", fontsize=7, color=colour)


def _percent_axes(axes: Axes, x: str, y: str) -> None:
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel(x)
    axes.set_ylabel(y)
