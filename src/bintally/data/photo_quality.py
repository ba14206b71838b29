"""One photo's figures: brightness, sharpness, perceptual hash; and of a damaged photo, whether it ends early.

Everything is taken from the photo's luma (ITU-R BT.601) in `luma`: sides longer than 224 px are reduced to that, so
that a photo of any size is judged as a network sees it; none is enlarged, so a smaller photo passes for sharp sooner.
Refuses to judge: what is too dark or too blurred is the audit's to say.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from bintally.data.images import Photo

Luma = npt.NDArray[np.uint8]  # uint8[h,w], h and w at most LONGEST_SIDE_PX

VERSION = 1
"""Of the figures: raised when one of them would come out differently."""
LONGEST_SIDE_PX = 224
FLAT_CONTRAST = 4.0
"""Below this standard deviation of luma there is nothing to see: no sharpness, no hash."""
_HASH_SIDE_PX, _HASH_SIDE = 32, 8
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_END, _SCAN, _FIRST_RESTART, _LAST_RESTART = 0xD9, 0xDA, 0xD0, 0xD7  # JPEG markers, ITU-T T.81, table B.1


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoFigures:
    """What was measured of one photo.

    Attributes:
        brightness: mean luma, 0 (black) to 255.
        sharpness: variance of the Laplacian over variance of the luma; None for a flat photo.
        phash: 64 bits, of which like photos share most; None for a flat photo.
    """

    brightness: float
    sharpness: float | None
    phash: int | None


def luma(photo: Photo) -> Luma:
    """What figures are taken from.

    Args:
        photo: uint8[H,W,3].

    Returns:
        uint8[h,w], h = min(H, 224), w = min(W, 224): the whole frame, bicubic with antialiasing.

    >>> luma(np.full((300, 60, 3), 7, np.uint8)).shape
    (224, 60)
    """
    height, width = (min(side, LONGEST_SIDE_PX) for side in photo.shape[:2])
    return _reduced(np.asarray(Image.fromarray(photo).convert("L")), width, height)


def measure(grey: Luma) -> PhotoFigures:
    """The figures of a photo's `luma`.

    >>> measure(np.full((60, 60), 7, np.uint8))
    PhotoFigures(brightness=7.0, sharpness=None, phash=None)
    """
    flat = float(grey.std()) < FLAT_CONTRAST
    return PhotoFigures(
        brightness=float(grey.mean()),
        sharpness=None if flat else sharpness(grey),
        phash=None if flat else perceptual_hash(grey),
    )


def sharpness(grey: Luma) -> float:
    """Variance of the Laplacian, as a share of the variance of the luma itself: contrast and exposure cancel out.

    The variance of the Laplacian is Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.

    >>> checks = np.indices((64, 64)).sum(0) % 2 * np.uint8(200)
    >>> sharpness(checks)
    64.0
    """
    y = grey.astype(np.float32)
    if min(y.shape) < 3:  # noqa: PLR2004 - there is no pixel with four neighbours
        return 0.0
    laplacian = y[1:-1, :-2] + y[1:-1, 2:] + y[:-2, 1:-1] + y[2:, 1:-1] - 4 * y[1:-1, 1:-1]
    return float(laplacian.var() / max(float(y.var()), 1e-6))


def perceptual_hash(grey: Luma) -> int:
    """Which of the 64 lowest frequencies, those that are constant along a side left out, lie above their median.

    Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1: a discrete cosine
    transform of 32 x 32 pixels. About half of the bits are set, so that two hashes differ in an even number mostly.
    """
    small = _reduced(grey, _HASH_SIDE_PX, _HASH_SIDE_PX).astype(np.float64)
    low = (_COSINES @ small @ _COSINES.T)[1 : _HASH_SIDE + 1, 1 : _HASH_SIDE + 1]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes())


def ends_early(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end; False for one that is damaged otherwise, or not at all.

    >>> ends_early(bytes.fromhex("ffd8 ffda 0002 1234")), ends_early(bytes.fromhex("ffd8 ffda 0002 1234 ffd9"))
    (True, False)
    """
    if data.startswith(_PNG):
        return _png_ends_early(data)
    return data.startswith(_JPEG) and _jpeg_ends_early(data)


def _jpeg_ends_early(data: bytes) -> bool:
    """Step from segment to segment, and through entropy-coded data, to the end-of-image marker."""
    at = len(_JPEG)
    while at + 4 <= len(data):
        if data[at] != 0xFF:  # noqa: PLR2004 - every marker begins with it
            return False
        marker = data[at + 1]
        if marker == 0xFF:  # noqa: PLR2004 - a fill byte
            at += 1
            continue
        if marker == _END:
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
        if marker == _SCAN:
            at = _after_entropy_coded(data, at)
    return data[at : at + 2] != bytes((0xFF, _END))


def _after_entropy_coded(data: bytes, at: int) -> int:
    """Where the next marker is that is neither a stuffed byte nor a restart; the length of `data` if there is none."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        after = data[at + 1]
        if after not in (0x00, 0xFF) and not _FIRST_RESTART <= after <= _LAST_RESTART:
            return at
        at += 1 if after == 0xFF else 2  # noqa: PLR2004
    return len(data)


def _png_ends_early(data: bytes) -> bool:
    """Step from chunk to chunk: length, type, data, checksum (PNG specification, 5.3)."""
    at = len(_PNG)
    while at + 12 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return False
        at += 12 + int.from_bytes(data[at : at + 4])
    return True


def _reduced(grey: Luma, width: int, height: int) -> Luma:
    if grey.shape == (height, width):
        return grey
    return np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC))


def _cosines(side: int) -> npt.NDArray[np.float64]:
    """The orthonormal DCT-II as a matrix, float64[side,side]: frequency by place."""
    frequency, place = np.indices((side, side))
    table = np.cos(np.pi * (2 * place + 1) * frequency / (2 * side)) * np.sqrt(2 / side)
    table[0] /= np.sqrt(2)
    return np.asarray(table, dtype=np.float64)


_COSINES = _cosines(_HASH_SIDE_PX)
