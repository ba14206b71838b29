"""Pictures of single items: boxes, cans, bottles, bags and books, for `bintally.data.drawing`.

Lengths are inches, colours (red, green, blue). Each product's label and folds come from its own `pattern`.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

_FINE_PX_PER_IN = 48  # items are painted at this scale, whatever the photo's, and then resized: smooth edges
_LINE = 3  # an outline's width at that scale


class Shape(StrEnum):
    """What an item looks like from the front."""

    BOX = "box"
    CAN = "can"
    BOTTLE = "bottle"
    BAG = "bag"
    BOOK = "book"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a product looks, lying upright; `pattern` seeds its label."""

    shape: Shape
    width_in: float
    height_in: float
    body: Colour
    trim: Colour
    label: Colour
    pattern: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One item in the bin; its corner is that of the upright rectangle around the turned item."""

    look: Look
    left_in: float
    bottom_in: float
    angle_deg: float = 0.0

    @property
    def extent_in(self) -> tuple[float, float]:
        """Width and height of the turned item."""
        return extent_in(self.look, self.angle_deg)


def extent_in(look: Look, angle_deg: float) -> tuple[float, float]:
    """Width and height of the upright rectangle around an item turned by `angle_deg`.

    >>> look = Look(shape=Shape.BOX, width_in=2, height_in=4, body=(0,) * 3, trim=(0,) * 3, label=(0,) * 3, pattern=0)
    >>> extent_in(look, 0.0)
    (2.0, 4.0)
    """
    cos, sin = abs(math.cos(math.radians(angle_deg))), abs(math.sin(math.radians(angle_deg)))
    return look.width_in * cos + look.height_in * sin, look.width_in * sin + look.height_in * cos


def shade(colour: Colour, factor: float) -> Colour:
    """`colour`, darker below 1 and lighter above.

    >>> shade((10, 100, 200), 1.5)
    (15, 150, 255)
    """
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return red, green, blue


@lru_cache(maxsize=128)
def sprite(look: Look, px_per_in: float) -> Image.Image:
    """RGBA picture of an upright item."""
    width, height = round(look.width_in * _FINE_PX_PER_IN), round(look.height_in * _FINE_PX_PER_IN)
    picture = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    rng = np.random.default_rng(look.pattern)
    _PAINTERS[look.shape](ImageDraw.Draw(picture), width - 1, height - 1, look, rng)
    size = (max(2, round(look.width_in * px_per_in)), max(2, round(look.height_in * px_per_in)))
    pixels = np.array(picture.resize(size, Image.Resampling.BOX))
    pixels[:, :, :3] = np.clip(pixels[:, :, :3] * _relief(look.shape, size[0])[None, :, None], 0, 255)
    return Image.fromarray(pixels)


def _relief(shape: Shape, width: int) -> npt.NDArray[np.float64]:
    """float64[width]: how the light falls across an item; round ones are dark at both sides."""
    x = np.linspace(-1, 1, width)
    if shape in (Shape.CAN, Shape.BOTTLE):
        return 0.5 + 0.65 * np.sqrt(np.clip(1 - (x + 0.15) ** 2, 0.0, 1.0))
    if shape is Shape.BAG:
        return 0.95 - 0.25 * np.abs(x) ** 3
    return 1.0 - 0.1 * x


def _paint_label(
    draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], look: Look, rng: np.random.Generator
) -> None:
    """A panel with lines of would-be print."""
    left, top, right, bottom = box
    draw.rectangle(box, look.label)
    rows = int(rng.integers(2, 5))
    for row in range(rows):
        y = top + (bottom - top) * (row + 0.5) / rows
        end = left + (right - left) * rng.uniform(0.5, 0.92)
        draw.line((left + (right - left) * 0.08, y, end, y), look.trim, width=max(2, int((bottom - top) / rows / 3)))


def _paint_box(draw: ImageDraw.ImageDraw, w: int, h: int, look: Look, rng: np.random.Generator) -> None:
    edge = _LINE
    lid = h * rng.uniform(0.08, 0.16)
    draw.rectangle((0, 0, w, h), look.body, shade(look.body, 0.4), edge)
    draw.rectangle((edge, edge, w - edge, lid), shade(look.body, 1.25))
    if rng.random() < 0.4:  # noqa: PLR2004 - some have parcel tape
        draw.rectangle((w * 0.44, 0, w * 0.56, h), shade(look.trim, 1.1))
    left, top = w * rng.uniform(0.1, 0.3), lid + h * rng.uniform(0.08, 0.25)
    _paint_label(draw, (left, top, left + w * rng.uniform(0.4, 0.6), top + h * rng.uniform(0.3, 0.45)), look, rng)


def _paint_can(draw: ImageDraw.ImageDraw, w: int, h: int, look: Look, rng: np.random.Generator) -> None:
    rim = min(h * 0.14, w * 0.3)
    dark = shade(look.body, 0.45)
    draw.ellipse((0, h - rim, w, h), look.body, dark, _LINE)
    draw.rectangle((0, rim / 2, w, h - rim / 2), look.body)
    draw.line((0, rim / 2, 0, h - rim / 2), dark, _LINE * 2)
    draw.line((w, rim / 2, w, h - rim / 2), dark, _LINE * 2)
    _paint_label(draw, (_LINE, h * 0.3, w - _LINE, h * rng.uniform(0.6, 0.8)), look, rng)
    draw.ellipse((0, 0, w, rim), shade(look.trim, 1.3), dark, _LINE)


def _paint_bottle(draw: ImageDraw.ImageDraw, w: int, h: int, look: Look, rng: np.random.Generator) -> None:
    dark = shade(look.body, 0.45)
    neck, shoulder, cap = w * rng.uniform(0.16, 0.24), h * rng.uniform(0.3, 0.38), h * 0.14
    middle = w / 2
    outline = [(0, h), (0, shoulder), (middle - neck, cap), (middle + neck, cap), (w, shoulder), (w, h)]
    draw.polygon(outline, look.body)
    draw.line([*outline, outline[0]], dark, _LINE)
    draw.rectangle((middle - neck * 1.2, 0, middle + neck * 1.2, cap), look.trim, shade(look.trim, 0.5), _LINE)
    _paint_label(draw, (_LINE, h * 0.5, w - _LINE, h * rng.uniform(0.75, 0.88)), look, rng)


def _paint_bag(draw: ImageDraw.ImageDraw, w: int, h: int, look: Look, rng: np.random.Generator) -> None:
    angles = np.linspace(0, 2 * math.pi, 14, endpoint=False)
    radius = rng.uniform(0.86, 1.0, angles.size)
    bulge = 0.35  # between an ellipse (1) and a rectangle (0)
    x = w / 2 * (1 + radius * np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** bulge)
    y = h / 2 * (1 + radius * np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** bulge)
    outline = list(zip(x.tolist(), y.tolist(), strict=True))
    draw.polygon(outline, look.body)
    draw.line([*outline, outline[0]], shade(look.body, 0.45), _LINE * 2)
    for _ in range(6):  # folds that shine
        start = (w * rng.uniform(0.15, 0.7), h * rng.uniform(0.15, 0.8))
        end = (start[0] + w * rng.uniform(0.05, 0.2), start[1] + h * rng.uniform(-0.12, 0.12))
        draw.line((*start, *end), shade(look.body, rng.choice((0.7, 1.4))), _LINE)
    _paint_label(draw, (w * 0.3, h * 0.3, w * 0.7, h * 0.6), look, rng)


def _paint_book(draw: ImageDraw.ImageDraw, w: int, h: int, look: Look, rng: np.random.Generator) -> None:
    """Seen from its spine."""
    draw.rectangle((0, 0, w, h), look.body, shade(look.body, 0.4), _LINE)
    for y in (h * 0.08, h * 0.9):
        draw.rectangle((_LINE, y, w - _LINE, y + h * 0.03), look.trim)
    top = h * rng.uniform(0.18, 0.3)
    draw.rectangle((w * 0.3, top, w * 0.7, top + h * rng.uniform(0.3, 0.5)), look.label)


_PAINTERS = {
    Shape.BOX: _paint_box,
    Shape.CAN: _paint_can,
    Shape.BOTTLE: _paint_bottle,
    Shape.BAG: _paint_bag,
    Shape.BOOK: _paint_book,
}
