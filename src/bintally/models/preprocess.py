"""What is done to a photo before the network sees it: the served way, and the changes that training adds to it.

Photos are uint8[H,W,3]; what leaves here is uint8[S,S,3], S the model's side. Normalising to mean and standard
deviation happens inside the network, so that it travels with it. Refuses to crop: a crop changes the count.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from bintally.data.images import decode, resize
from bintally.settings import AugmentSettings

Photo = npt.NDArray[np.uint8]
_GREY = 127.5  # the middle of 0-255


def served(data: bytes, side_px: int, *, name: str = "photo") -> Photo:
    """An encoded photo as the network wants it: the whole frame, squashed to uint8[S,S,3].

    Raises:
        PhotoError: if it cannot be decoded.
    """
    return resize(decode(data, name=name), side_px)


def augmented(photo: Photo, settings: AugmentSettings, *, seed: tuple[int, int, int]) -> Photo:
    """A training photo changed in ways that keep the count.

    Args:
        photo: uint8[S,S,3].
        settings: what may change.
        seed: (run's seed, epoch, photo's index): the same three give the same photo on any worker.
    """
    rng = np.random.default_rng(seed)
    if settings.flip_horizontal and rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
        photo = photo[:, ::-1]
    if settings.flip_vertical and rng.random() < 0.5:  # noqa: PLR2004
        photo = photo[::-1]
    if settings.brightness or settings.contrast or settings.tint:
        photo = _exposed(photo, settings, rng)
    if settings.rotate_deg:
        photo = _turned(photo, settings, rng)
    elif settings.shrink:
        photo = _shrunk(photo, settings.shrink, rng)
    return np.ascontiguousarray(photo)


def _exposed(photo: Photo, settings: AugmentSettings, rng: np.random.Generator) -> Photo:
    """Other light: each of the 256 levels of each colour is looked up in a table."""
    brightness = 1 + rng.uniform(-settings.brightness, settings.brightness)
    contrast = 1 + rng.uniform(-settings.contrast, settings.contrast)
    tint = 1 + rng.uniform(-settings.tint, settings.tint, size=3)
    levels = (np.arange(256)[:, None] * brightness * tint - _GREY) * contrast + _GREY  # [256,3]
    table = np.clip(levels, 0, 255).astype(np.uint8)
    return np.array(Image.fromarray(photo).point(table.T.ravel().tolist()))


def _shrunk(photo: Photo, shrink: float, rng: np.random.Generator) -> Photo:
    """The whole photo, smaller by up to `shrink` in each direction, somewhere on a grey canvas of its old size."""
    height, width, _ = photo.shape
    new_height, new_width = (max(1, round(side * (1 - rng.uniform(0, shrink)))) for side in (height, width))
    top, left = (int(rng.integers(0, room + 1)) for room in (height - new_height, width - new_width))
    canvas = np.full_like(photo, round(_GREY))
    small = Image.fromarray(photo).resize((new_width, new_height), Image.Resampling.BILINEAR)
    canvas[top : top + new_height, left : left + new_width] = np.asarray(small)
    return canvas


def _turned(photo: Photo, settings: AugmentSettings, rng: np.random.Generator) -> Photo:
    """The whole photo, turned and shrunk, somewhere on a grey canvas of its old size."""
    height, width, _ = photo.shape
    angle = np.deg2rad(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    cos, sin = np.cos(angle), np.sin(angle)
    scale_x, scale_y = 1 - rng.uniform(0, settings.shrink, size=2)
    # Half the size of the turned photo's bounding box, made to fit.
    half_x = (scale_x * width * abs(cos) + scale_y * height * abs(sin)) / 2
    half_y = (scale_x * width * abs(sin) + scale_y * height * abs(cos)) / 2
    fit = min(1.0, width / 2 / half_x, height / 2 / half_y)
    room_x, room_y = width / 2 - half_x * fit, height / 2 - half_y * fit
    middle_x, middle_y = width / 2 + rng.uniform(-room_x, room_x), height / 2 + rng.uniform(-room_y, room_y)
    # From a pixel of the canvas back to one of the photo, as Pillow wants it.
    a, b = cos / (scale_x * fit), sin / (scale_x * fit)
    d, e = -sin / (scale_y * fit), cos / (scale_y * fit)
    back = (a, b, width / 2 - a * middle_x - b * middle_y, d, e, height / 2 - d * middle_x - e * middle_y)
    grey = (round(_GREY),) * 3
    turned = Image.fromarray(photo).transform(
        (width, height), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR, fillcolor=grey
    )
    return np.array(turned)
