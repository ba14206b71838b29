"""Photos small enough to stand inside a page. Refuses to read files: it is given pixels."""

import base64
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

DEFAULT_SIDE_PX = 260


def thumbnail(photo: npt.NDArray[np.uint8], side_px: int = DEFAULT_SIDE_PX) -> str:
    """The photo, its longer side at most `side_px`, as a JPEG in a data URL.

    Args:
        photo: uint8[H,W,3].
        side_px: never enlarged to that.

    >>> thumbnail(np.zeros((20, 30, 3), np.uint8))[:23]
    'data:image/jpeg;base64,'
    """
    image = Image.fromarray(photo)
    image.thumbnail((side_px, side_px))
    small = BytesIO()
    image.save(small, "JPEG", quality=78, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode('ascii')}"
