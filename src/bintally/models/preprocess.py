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
    if settings.shrink:
        photo = _shrunk(photo, settings.shrink, rng)
    return np.ascontiguousarray(photo)


def _exposed(photo: Photo, settings: AugmentSettings, rng: np.random.Generator) -> Photo:
    """Other light: each of the 256 levels of each colour is looked up in a table."""
    brightness = 1 + rng.uniform(-settings.brightness, settings.brightness)
    contrast = 1 + rng.uniform(-settings.contrast, settings.contrast)
    tint = 1 + rng.uniform(-settings.tint, settings.tint, size=3)
    levels = (np.arange(256)[:, None] * brightness * tint - _GREY) * contrast + _GREY  # [256,3]
    table = np.clip(levels, 0, 255).astype(np.uint8)
    return np.stack([table[:, channel][photo[..., channel]] for channel in range(3)], axis=-1)


def _shrunk(photo: Photo, shrink: float, rng: np.random.Generator) -> Photo:
    """The whole photo, smaller by up to `shrink` in each direction, somewhere on a grey canvas of its old size."""
    height, width, _ = photo.shape
    new_height, new_width = (max(1, round(side * (1 - rng.uniform(0, shrink)))) for side in (height, width))
    top, left = (int(rng.integers(0, room + 1)) for room in (height - new_height, width - new_width))
    canvas = np.full_like(photo, round(_GREY))
    small = Image.fromarray(photo).resize((new_width, new_height), Image.Resampling.BILINEAR)
    canvas[top : top + new_height, left : left + new_width] = np.asarray(small)
    return canvas
