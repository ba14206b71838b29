"""Plots of what is in a dataset, as SVG text that stands inline in the audit's page.

Refuses to hide a tail: what lies beyond an axis is drawn in its last bar, which says so.
"""

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from bintally.pages.svg import MAIN, SECOND, STYLE, to_svg

_SIZE = (4.2, 2.7)
_BARS = 40
_LAST_COUNT = 20
_MOST_SIZES = 6
_BEYOND = 0.001
_Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot with what stands above it."""

    title: str
    note: str
    svg: str


def plots_of(frame: pl.DataFrame, *, dark_below: float, blurred_below: float) -> tuple[Plot, ...]:
    """What there is to see of a manifest's rows; nothing is drawn where nothing is known."""
    items = frame.select("photo_id", "items").explode("items").drop_nulls("items").unnest("items")
    volume = pl.col("height_in") * pl.col("length_in") * pl.col("width_in")
    items = items.with_columns(volume_in3=volume, volume_all=volume * pl.col("quantity"))
    whole = items.group_by("photo_id").agg(
        pl.col("volume_all").sum(), pl.col("volume_all").null_count().alias("unknown")
    )
    drawn = (
        _counts("Counts", "Items in a bin, by its record.", frame["count"], "items"),
        _counts("Products", "Different products in a bin.", frame["items"].list.len(), "products"),
        _sizes(frame),
        _histogram("File sizes", "Of the photos, in kB.", frame["size_bytes"] / 1000, "kB", log=False),
        _histogram(
            "Item volumes",
            "Height x length x width of single items, in cubic inches.",
            _each(items, "volume_in3"),
            "cubic inches",
        ),
        _histogram(
            "Bin volumes",
            "All items of a bin together, where every size is known.",
            whole.filter(pl.col("unknown") == 0)["volume_all"],
            "cubic inches",
        ),
        _histogram("Item weights", "Of single items, in pounds.", _each(items, "weight_lb"), "pounds"),
        _histogram(
            "Brightness", "Mean luma; left of the line: dark.", frame["brightness"], "luma", log=False, line=dark_below
        ),
        _histogram(
            "Sharpness",
            "Left of the line: blurred.",
            frame["sharpness"],
            "sharpness",
            line=blurred_below,
        ),
    )
    return tuple(plot for plot in drawn if plot)


def _each(items: pl.DataFrame, column: str) -> pl.Series:
    """A product's figure as often as it lies there."""
    return items.filter(pl.col("quantity") > 0).select(pl.col(column).repeat_by("quantity").explode())[column]


def _counts(title: str, note: str, values: pl.Series, unit: str) -> Plot | None:
    """A bar for each whole number; the last one for it and more."""
    known = values.drop_nulls().to_numpy()
    if not len(known):
        return None
    last = min(int(known.max()), _LAST_COUNT)
    heights = np.bincount(np.minimum(known, last), minlength=last + 1)
    more = f"; the last bar: {last} or more" if known.max() > last else ""

    def draw(axes: Axes) -> None:
        axes.bar(np.arange(last + 1), heights, color=MAIN, width=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(unit + more)

    return _plot(title, f"{note} Median {np.median(known):.0f}.", draw)


def _sizes(frame: pl.DataFrame) -> Plot | None:
    """The most frequent widths and heights."""
    found = frame.drop_nulls(["width_px", "height_px"]).group_by("width_px", "height_px").len()
    found = found.sort(["len", "width_px", "height_px"], descending=[True, False, False])
    if found.is_empty():
        return None
    names = [f"{width} x {height}" for width, height, _ in found.head(_MOST_SIZES).rows()]
    photos = found.head(_MOST_SIZES)["len"].to_list()
    others = found.height - len(names)
    if others:
        names.append(f"{others} other" + ("s" if others > 1 else ""))
        photos.append(int(found["len"].sum()) - sum(photos))

    def draw(axes: Axes) -> None:
        places = np.arange(len(names))[::-1]
        axes.barh(places, photos, color=MAIN, height=min(0.7, 0.12 * len(names)))
        axes.set_yticks(places, names)
        axes.set_ylim(-0.7, len(names) - 0.3)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(_grouped))
        axes.set_xlabel("photos")

    return _plot("Photo sizes", "Width x height in pixels.", draw, y="")


def _histogram(
    title: str, note: str, values: pl.Series, unit: str, *, log: bool = True, line: float | None = None
) -> Plot | None:
    """A histogram, by default over a logarithmic axis, which has no place for 0; `line`: a threshold."""
    known = values.drop_nulls().to_numpy().astype(np.float64)
    known = known[known > 0] if log else known
    if not len(known):
        return None
    edges = _edges(known, log=log, whole_below=line is not None)
    beyond = "; outliers in the end bars" if known.min() < edges[0] or known.max() > edges[-1] else ""

    def draw(axes: Axes) -> None:
        axes.hist(np.clip(known, edges[0], edges[-1]), bins=edges.tolist(), color=MAIN)
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(_short))
            axes.xaxis.set_minor_formatter(NullFormatter())
        if line is not None and (line > 0 or not log):
            axes.axvline(line, color=SECOND, lw=1.4)
            axes.text(
                line,
                0.94,
                f"\N{NO-BREAK SPACE}{line:g}",
                transform=axes.get_xaxis_transform(),
                color=SECOND,
                fontsize=8,
            )
        axes.set_xlabel(f"{unit}{beyond}")

    return _plot(title, f"{note} Median {_short(float(np.median(known)))}.", draw)


def _edges(known: _Values, *, log: bool, whole_below: bool) -> _Values:
    """Bars of equal width on the axis they are drawn on; one value in a thousand at either end may lie beyond.

    Args:
        known: what is drawn.
        log: whether the axis is logarithmic.
        whole_below: nothing may lie beyond the lower end.
    """
    low, high = (float(edge) for edge in np.quantile(known, [0 if whole_below else _BEYOND, 1 - _BEYOND]))
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - 1, high + 1)
    return np.geomspace(low, high, _BARS + 1) if log else np.linspace(low, high, _BARS + 1)


def _plot(title: str, note: str, draw: Callable[[Axes], None], *, y: str = "photos") -> Plot:
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=_SIZE, layout="constrained")
        axes = canvas.subplots()
        if y:
            axes.grid(visible=False, axis="x")
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
            axes.yaxis.set_major_formatter(FuncFormatter(_grouped))
        draw(axes)
        return Plot(title=title, note=note, svg=to_svg(canvas, title))


def _grouped(value: float, _place: int = 0) -> str:
    return f"{value:,.0f}"


def _short(value: float, _place: int = 0) -> str:
    """As few digits as tell it apart.

    >>> _short(0.03), _short(1500.0), _short(42.4)
    ('0.03', '1,500', '42.4')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004
