"""The plot of a bill as SVG text that stands inline in its page: what each day cost, by service.

Refuses to put two currencies on one axis: it is given one. The same amounts stand in the page's table.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from bintally.cloud.cost_bill import Bill
from bintally.pages.svg import INK, MUTED, STYLE, to_svg

_COLOURS = ("#1f6feb", "#d9730d", "#2a9d8f", "#8a63d2", "#c2406b", "#9aa5b1")
_MANY = len(_COLOURS)
_LABELLED = 12  # days named below the axis, at most
_REST = "others"


def daily_svg(bill: Bill, unit: str) -> str:
    """A bar for each day, stacked by service, the dearest below; days that may still change are hatched."""
    days = bill.days(unit)
    names, amounts = _few(days)
    with mpl.rc_context({**STYLE, "hatch.linewidth": 0.6}):
        canvas = Canvas(figsize=(9.2, 3.2), layout="constrained")
        axes = canvas.add_subplot()
        places = np.arange(len(days))
        above, below = np.zeros(len(days)), np.zeros(len(days))
        for name, colour in zip(names, _COLOURS, strict=False):
            heights = np.array(amounts[name])
            bottoms = np.where(heights >= 0, above, below)
            bars = axes.bar(places, heights, bottom=bottoms, color=colour, width=0.78, edgecolor="white", linewidth=0.3)
            for bar, day in zip(bars, days, strict=True):
                if day in bill.estimated:
                    bar.set_hatch("////")
            above, below = above + np.maximum(heights, 0), below + np.minimum(heights, 0)
        every = max(1, -(-len(days) // _LABELLED))
        axes.set_xticks(places[::every], [f"{day:%d %b}" for day in days][::every])
        axes.set_xlim(-0.6, len(days) - 0.4)
        if not above.any() and not below.any():
            axes.set_ylim(0, 1)
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        axes.set_ylabel(f"{unit} a day")
        keys = [Patch(facecolor=colour, label=name) for name, colour in zip(names, _COLOURS, strict=False)]
        if bill.estimated & set(days):
            keys.append(Patch(facecolor="white", edgecolor=MUTED, hatch="////", label="AWS may still change it"))
        if keys:
            axes.legend(handles=keys, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, labelcolor=INK)
        return to_svg(canvas, f"Cost by day in {unit}")


def _few(days: Mapping[date, Mapping[str, float]]) -> tuple[Sequence[str], Mapping[str, Sequence[float]]]:
    """Services and their amounts by day; beyond as many as there are colours, the cheapest are taken together."""
    names = list(next(iter(days.values())))
    own = names if len(names) <= _MANY else names[: _MANY - 1]
    amounts = {name: [day[name] for day in days.values()] for name in own}
    if len(own) < len(names):
        amounts[_REST] = [sum(day[name] for name in names if name not in own) for day in days.values()]
    return list(amounts), amounts
