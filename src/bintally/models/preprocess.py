"""What is done to a photo before the network sees it: the served way, and the changes that training adds to it.

Photos are uint8[H,W,3]; what leaves here is uint8[S,S,3], S the model's side. Normalising to mean and standard
deviation happens inside the network, so that it travels with it. Refuses to crop: a crop changes the count.
"""

import numpy as np
import numpy.typing as npt

from bintally.data.images import decode, resize
from bintally.settings import AugmentSettings

Photo = npt.NDArray[np.uint8]


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
    if settings.brightness or settings.contrast:
        brightness = 1 + rng.uniform(-settings.brightness, settings.brightness)
        contrast = 1 + rng.uniform(-settings.contrast, settings.contrast)
        levels = (np.arange(256) * brightness - 127.5) * contrast + 127.5
        photo = np.clip(levels, 0, 255).astype(np.uint8)[photo]
    return np.ascontiguousarray(photo)
