"""Draws one bin from what is in it: the pixels behind `bintally.data.synthetic`.

Lengths are inches in the bin's front plane: x from its left wall, y up from its floor. Colours are (red, green, blue).
Refuses to know about counts, records and files; the same arguments give the same pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from bintally.data.sprites import Colour, Placed, shade, sprite

BIN_WIDTH_IN = 14.0
BIN_HEIGHT_IN = 11.0
_FLOOR = 0.86  # where the bin's floor ends and its front lip begins, as a share of the photo's height
_WALL_SHARE = 0.07  # of the photo's width: each side wall
_WALLS: tuple[Colour, ...] = ((196, 172, 96), (186, 160, 90), (150, 142, 128), (158, 124, 88))
_CODE_COLOURS: tuple[Colour, ...] = ((196, 44, 36), (40, 60, 130), (30, 110, 60), (120, 60, 130), (60, 60, 60))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The bin around the items, and how it was photographed.

    Attributes:
        straps: heights of the elastic bands, as shares of the photo's height.
        lines: how many cords each band has.
        opacity: how much the bands hide, 0-1.
        light: brightness, 1 is a good photo's.
        light_from: -1 from the left to 1 from the right.
        blur_px: radius of the blur at a photo width of 260 pixels.
        shift: where the camera points, as a share of the photo's width and height.
        noise: standard deviation in grey levels.
    """

    wall: Colour
    straps: tuple[float, ...]
    lines: int
    opacity: float
    slope: float
    code: str
    code_colour: Colour
    light: float = 1.0
    light_from: float = 0.0
    blur_px: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    noise: float = 3.0

    @classmethod
    def of(cls, rng: np.random.Generator) -> Self:
        """A new bin, photographed once."""
        first = rng.uniform(0.12, 0.3)
        straps = tuple(first + rng.uniform(0.24, 0.32) * i for i in range(rng.integers(1, 4)))
        scene = cls(
            wall=_WALLS[int(rng.choice(len(_WALLS), p=(0.4, 0.3, 0.15, 0.15)))],
            straps=tuple(height for height in straps if height < _FLOOR),
            lines=int(rng.integers(7, 15)),
            opacity=rng.uniform(0.3, 0.7),
            slope=rng.uniform(-0.03, 0.03),
            code=f"{rng.integers(1, 5)}{'ABCDEFGH'[rng.integers(8)]}",
            code_colour=_CODE_COLOURS[rng.integers(len(_CODE_COLOURS))],
        )
        return scene.again(rng)

    def again(self, rng: np.random.Generator) -> Self:
        """The same bin, photographed another time."""
        return replace(
            self,
            light=rng.uniform(0.45, 0.7) if chance(rng, 0.15) else rng.uniform(0.8, 1.1),
            light_from=rng.uniform(-1, 1),
            blur_px=rng.uniform(1.0, 1.8) if chance(rng, 0.15) else rng.uniform(0.0, 0.6),
            shift=(rng.uniform(-0.02, 0.02), rng.uniform(-0.02, 0.02)),
            noise=rng.uniform(2.0, 6.0),
        )


def chance(rng: np.random.Generator, share: float) -> bool:
    """True in `share` of the draws."""
    return bool(rng.random() < share)


def draw_bin(
    items: Sequence[Placed], scene: Scene, *, width_px: int, height_px: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Draw a bin; items later in `items` hide earlier ones.

    Returns:
        uint8[height_px,width_px,3].
    """
    canvas = _empty_bin(scene, width_px, height_px)
    px_per_in = min((1 - 2 * _WALL_SHARE) * width_px / BIN_WIDTH_IN, (_FLOOR - 0.06) * height_px / BIN_HEIGHT_IN)
    for item in items:
        _paste_item(canvas, item, scene, px_per_in)
    _draw_front(canvas, scene)
    _draw_straps(canvas, scene, rng)
    blur_px = scene.blur_px * width_px / 260
    if blur_px > 0.3:  # noqa: PLR2004 - less cannot be seen
        canvas = canvas.filter(ImageFilter.GaussianBlur(blur_px))
    return _expose(np.asarray(canvas), scene, rng)


def _origin_px(canvas: Image.Image, scene: Scene) -> tuple[float, float]:
    """Where the left wall meets the floor."""
    return canvas.width * (_WALL_SHARE + scene.shift[0]), canvas.height * (_FLOOR + scene.shift[1])


def _empty_bin(scene: Scene, width_px: int, height_px: int) -> Image.Image:
    canvas = Image.new("RGB", (width_px, height_px), shade(scene.wall, 0.82))
    draw = ImageDraw.Draw(canvas)
    left, floor = _origin_px(canvas, scene)
    right = left + width_px * (1 - 2 * _WALL_SHARE)
    inset_x, inset_y = width_px * 0.06, height_px * 0.07
    draw.polygon([(0, 0), (left, 0), (left + inset_x, floor - inset_y), (left, floor)], shade(scene.wall, 0.68))
    draw.polygon(
        [(width_px, 0), (right, 0), (right - inset_x, floor - inset_y), (right, floor)], shade(scene.wall, 0.74)
    )
    draw.polygon(
        [(left, floor), (left + inset_x, floor - inset_y), (right - inset_x, floor - inset_y), (right, floor)],
        shade(scene.wall, 0.6),
    )
    draw.rectangle((0, 0, left, height_px), shade(scene.wall, 0.95))
    draw.rectangle((right, 0, width_px, height_px), shade(scene.wall, 0.95))
    draw.rectangle((0, 0, width_px, height_px * (0.03 + scene.shift[1])), shade(scene.wall, 1.0))
    return canvas


def _paste_item(canvas: Image.Image, item: Placed, scene: Scene, px_per_in: float) -> None:
    picture = sprite(item.look, round(px_per_in, 2))
    if item.angle_deg:
        picture = picture.rotate(item.angle_deg, Image.Resampling.BICUBIC, expand=True)
    left, floor = _origin_px(canvas, scene)
    x = round(left + item.left_in * px_per_in)
    y = round(floor - item.bottom_in * px_per_in - picture.height)
    alpha = picture.getchannel("A")
    shift = max(1, round(canvas.width / 110))
    canvas.paste((0, 0, 0), (x + shift, y - shift), alpha.point([level * 2 // 5 for level in range(256)]))
    canvas.paste(picture, (x, y), alpha)


def _draw_front(canvas: Image.Image, scene: Scene) -> None:
    """The fabric lip below the items, with the bin's code on it."""
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    _, floor = _origin_px(canvas, scene)
    draw.rectangle((0, floor, width, height), shade(scene.wall, 1.08))
    draw.line((0, floor, width, floor), shade(scene.wall, 0.7), width=max(1, height // 110))
    left, top, right = width * (0.38 + scene.shift[0]), floor + height * 0.03, width * (0.62 + scene.shift[0])
    draw.rectangle((left, top, right, height), (225, 222, 215))
    draw.rectangle((left, top, left + (right - left) * 0.55, height), scene.code_colour)
    draw.text((left + width * 0.03, top), scene.code, (240, 240, 240))


def _draw_straps(canvas: Image.Image, scene: Scene, rng: np.random.Generator) -> None:
    """Elastic bands of thin pale cords across the front."""
    width, height = canvas.size
    mask = Image.new("L", canvas.size, 0)
    draw = ImageDraw.Draw(mask)
    gap = height * 0.011
    for place in scene.straps:
        bend = rng.uniform(-0.01, 0.01) * height
        for cord in range(scene.lines):
            y = place * height + cord * gap + rng.uniform(-0.3, 0.3) * gap
            middle = y + bend + scene.slope * height / 2
            ends = (y, y + scene.slope * height)
            draw.line(
                [(0, ends[0]), (width / 2, middle), (width, ends[1])],
                fill=round(255 * scene.opacity * rng.uniform(0.7, 1.2)),
                width=max(1, round(height / 300)),
            )
    canvas.paste((206, 198, 190), (0, 0), mask)


def _expose(pixels: npt.NDArray[np.uint8], scene: Scene, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Light from one side, darker towards the edges, and the sensor's noise."""
    height, width = pixels.shape[:2]
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    light = scene.light * (1 + 0.14 * scene.light_from * x - 0.12 * x**2 - 0.1 * y**2 + 0.05 * y)
    noise = rng.standard_normal((height, width), dtype=np.float32) * np.float32(scene.noise)
    exposed = pixels * light.astype(np.float32)[:, :, None] + noise[:, :, None]
    grey_levels: npt.NDArray[np.uint8] = np.clip(exposed, 0, 255).astype(np.uint8)
    return grey_levels
