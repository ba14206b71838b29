"""Photos inside a page."""

import base64
from io import BytesIO

import numpy as np
from PIL import Image

from bintally.pages.pictures import thumbnail


def test_a_thumbnail_is_a_small_jpeg_of_the_whole_photo() -> None:
    photo = np.zeros((300, 600, 3), np.uint8)
    photo[:, 300:] = (200, 30, 60)
    source = thumbnail(photo, 100)
    assert source.startswith("data:image/jpeg;base64,")
    small = Image.open(BytesIO(base64.b64decode(source.partition(",")[2])))
    assert (small.format, small.size) == ("JPEG", (100, 50))
    assert small.getpixel((90, 25))[0] > 150 > small.getpixel((10, 25))[0]


def test_a_small_photo_is_not_enlarged() -> None:
    source = thumbnail(np.zeros((20, 30, 3), np.uint8))
    assert Image.open(BytesIO(base64.b64decode(source.partition(",")[2]))).size == (30, 20)
