"""How plots look, and how they become SVG text that stands inline in a page: no files, no global matplotlib state.

Texts stay text (the page's own font, selectable); every plot's ids differ, so that many fit on one page.
"""

import re
from html import escape
from io import StringIO

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

INK, MUTED, GRID = "#1f2933", "#66737f", "#e4e9ee"
MAIN, SECOND, SHADE = "#1f6feb", "#d9730d", "#a9c8f5"
STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


def to_svg(canvas: Canvas, label: str) -> str:
    """The figure as an inline `<svg>` that fits its container and says what it is; ids are salted with `label`."""
    text = StringIO()
    with mpl.rc_context({"svg.hashsalt": label}):
        FigureCanvasSVG(canvas).print_svg(text, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r" ?font-family:[^;\"]*;?", "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    size = re.search(r'viewBox="([\d. ]+)"', svg)
    if size is None:
        raise RuntimeError("matplotlib wrote an SVG without a viewBox")
    head = f'<svg viewBox="{size[1]}" role="img" aria-label="{escape(label, quote=True)}">'
    return head + svg[svg.index(">") + 1 :]
