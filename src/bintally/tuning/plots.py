"""Plots of a study as SVG text that stands inline in its page.

Refuses to be the only place where a figure stands: all of them are in `trials.csv` and in the runs' curves.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from bintally.pages.svg import GRID, INK, MAIN, MUTED, SECOND, STYLE, to_svg
from bintally.tuning.space import Choices, Range, Space, Value, shown
from bintally.tuning.trials import State, Trial, best_of

_WIDE, _SMALL = (9.2, 3.0), (3.6, 2.5)
_LOSS = "validation loss"
_BEYOND = 6.0  # times the way from best to median: what is worse stands at the edge
_FIRST_EPOCHS = 0.12  # of all losses of all epochs may stand at the edge: those of first epochs, mostly
_PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.2}
_NEAR, _GAP = 0.05, 0.08


def history_svg(trials: Sequence[Trial]) -> str:
    """The lowest loss of each trial in their order, and the best so far."""
    known, done = _known(trials), [trial for trial in trials if trial.value is not None]
    top = ceiling(known)

    def draw(axes: Axes) -> None:
        for state, colour, edge in (
            (State.DONE, MAIN, MAIN),
            (State.PRUNED, "none", MUTED),
            (State.FAILED, MUTED, MUTED),
        ):
            some = [trial for trial in known if trial.state is state]
            if some:
                values = [min(top, trial.lowest) for trial in some]
                axes.scatter(
                    [trial.number for trial in some],
                    values,
                    s=26,
                    color=colour,
                    edgecolors=edge,
                    zorder=3,
                    label=state.value,
                )
        if done:
            best = np.minimum.accumulate([trial.lowest for trial in done])
            places = [*(trial.number for trial in done), max(trial.number for trial in trials)]
            axes.step(places, [*best, best[-1]], where="post", color=SECOND, lw=1.6, label="best so far")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("trial")
        axes.set_ylabel(_LOSS)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)

    return _drawn("History", _WIDE, draw)


def curves_svg(trials: Sequence[Trial]) -> str:
    """Every trial's loss by epoch; pruned ones end in a cross."""
    known = _known(trials)
    every = [loss for trial in known for loss in trial.curve if math.isfinite(loss)]
    top, best = float(np.quantile(every, 1 - _FIRST_EPOCHS)) if every else 1.0, best_of(known)

    def draw(axes: Axes) -> None:
        for trial in known:
            values = [min(top, loss) if math.isfinite(loss) else top for loss in trial.curve]
            epochs = range(1, len(values) + 1)
            if trial is best:
                axes.plot(epochs, values, color=SECOND, lw=2.2, zorder=4, marker="o", markersize=3.5)
            elif trial.state is State.DONE:
                axes.plot(epochs, values, color=MAIN, lw=1, alpha=0.75, marker="o", markersize=2)
            else:
                axes.plot(epochs, values, color=MUTED, lw=0.9, alpha=0.7)
                axes.scatter(epochs[-1:], values[-1:], marker="x", s=24, color=MUTED, lw=1.1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel(_LOSS)

    return _drawn("Curves", _WIDE, draw)


def importances_svg(importances: Mapping[str, float]) -> str:
    """How much of the spread of the loss each setting explains, the most important on top."""
    names = sorted(importances, key=lambda key: importances[key])
    shares = [importances[name] for name in names]

    def draw(axes: Axes) -> None:
        axes.barh(range(len(names)), shares, color=MAIN, height=0.55)
        for place, share in enumerate(shares):
            axes.text(share + 0.01, place, f"{share:.0%}", va="center", color=INK)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, max(shares) + 0.1)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))

    return _drawn("Importance", (6.4, 0.6 + 0.36 * len(names)), draw)


def slice_svg(key: str, parameter: Range | Choices, trials: Sequence[Trial]) -> str:
    """The lowest loss of every trial by one setting; pruned ones are hollow."""
    known = _known(trials)
    top, best = ceiling(known), best_of(known)

    def draw(axes: Axes) -> None:
        for trial in known:
            is_done = trial.state is State.DONE
            axes.scatter(
                _place(parameter, trial.params[key]),
                min(top, trial.lowest),
                s=46 if trial is best else 24,
                color=SECOND if trial is best else MAIN if is_done else "none",
                edgecolors="none" if is_done else MUTED,
                alpha=1 if trial is best or not is_done else 0.7,
                zorder=4 if trial is best else 3,
            )
        _scale(axes, parameter)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_ylabel(_LOSS)

    return _drawn(f"Slice of {key}", _SMALL, draw)


def parallel_svg(space: Space, trials: Sequence[Trial]) -> str:
    """Every trial that ran out as a line through its settings to its loss; the darker, the better."""
    done = sorted((trial for trial in trials if trial.value is not None), key=lambda trial: trial.lowest, reverse=True)
    top, keys = ceiling(done), list(space.parameters)
    losses = [min(top, trial.lowest) for trial in done]
    low, high = min(losses), max(losses)

    def draw(axes: Axes) -> None:
        for rank, (trial, loss) in enumerate(zip(done, losses, strict=True), 1):
            heights = [_height(space.parameters[key], trial.params[key]) for key in keys]
            heights.append((loss - low) / max(high - low, 1e-9))
            shade = mpl.colormaps["Blues"](0.2 + 0.75 * rank / len(done))
            is_best = rank == len(done)
            axes.plot(
                range(len(heights)),
                heights,
                color=SECOND if is_best else shade,
                lw=2.4 if is_best else 1.2,
                zorder=5 if is_best else 2,
            )
        for place, key in enumerate(keys):
            _vertical(axes, place, key, _marks(space.parameters[key]))
        _vertical(axes, len(keys), _LOSS, [(0.0, f"{low:.3f}"), (1.0, f"{high:.3f}")])
        axes.set_xlim(-0.15, len(keys) + 0.35)
        axes.set_ylim(-0.06, 1.16)
        axes.set_axis_off()

    return _drawn("Parallel coordinates", (9.2, 3.4), draw)


def ceiling(trials: Sequence[Trial]) -> float:
    """Where plots end, so that a trial that diverged does not press all others flat."""
    losses = [trial.lowest for trial in trials if math.isfinite(trial.lowest)]
    if not losses:
        return 1.0
    best, median = min(losses), float(np.median(losses))
    return min(max(losses), median + _BEYOND * max(median - best, _NEAR))


def _known(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.curve]


def _drawn(label: str, size: tuple[float, float], draw: Callable[[Axes], None]) -> str:
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=size, layout="constrained")
        draw(canvas.subplots())
        return to_svg(canvas, label)


def _place(parameter: Range | Choices, value: Value) -> float:
    if isinstance(parameter, Choices):
        return parameter.choices.index(value)
    return float(value)


def _scale(axes: Axes, parameter: Range | Choices) -> None:
    if isinstance(parameter, Choices):
        axes.set_xticks(range(len(parameter.choices)), [str(choice) for choice in parameter.choices])
        axes.set_xlim(-0.5, len(parameter.choices) - 0.5)
        axes.grid(visible=False, axis="x")
        return
    if parameter.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", which="minor", size=0)
        axes.set_xlim(parameter.low / (1 + _GAP) ** 2, parameter.high * (1 + _GAP) ** 2)
        return
    if _is_whole(parameter):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    margin = _GAP * (parameter.high - parameter.low)
    axes.set_xlim(parameter.low - margin, parameter.high + margin)


def _is_whole(parameter: Range) -> bool:
    return isinstance(parameter.low, int) and isinstance(parameter.high, int)


def _height(parameter: Range | Choices, value: Value) -> float:
    """Where between 0 and 1 a value stands on its axis."""
    if isinstance(parameter, Choices):
        return parameter.choices.index(value) / (len(parameter.choices) - 1)
    ends = [float(each) for each in (parameter.low, parameter.high, value)]
    low, high, here = (math.log(each) for each in ends) if parameter.log else ends
    return (here - low) / (high - low)


def _marks(parameter: Range | Choices) -> list[tuple[float, str]]:
    if isinstance(parameter, Choices):
        return [(_height(parameter, choice), str(choice)) for choice in parameter.choices]
    middle = math.sqrt(parameter.low * parameter.high) if parameter.log else (parameter.low + parameter.high) / 2
    inner = round(middle) if _is_whole(parameter) else middle
    return [(_height(parameter, each), shown(each)) for each in (parameter.low, inner, parameter.high)]


def _vertical(axes: Axes, place: float, name: str, marks: Sequence[tuple[float, str]]) -> None:
    axes.plot([place, place], [0, 1], color=GRID, lw=1.4, zorder=1)
    axes.text(place, 1.09, name, ha="center", color=INK)
    for height, text in marks:
        axes.text(place + 0.03, height, text, va="center", color=INK, fontsize=8, zorder=6, bbox=_PAPER)
