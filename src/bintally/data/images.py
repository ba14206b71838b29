"""Bytes to RGB: the only decoder in the project, so that every consumer of a photo sees the same pixels; and back.

Shapes: H and W are a photo's height and width in pixels as a person sees it, EXIF orientation applied.
Refuses formats other than JPEG and PNG, photos above `PhotoLimits` (before they are decoded), and photos that do not
decode to their end, as far as the decoder can tell (a JPEG's pixels have no checksum). Colour profiles are ignored, and
so is an EXIF block that cannot be read or follows a PNG's pixels.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageChops
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from bintally.errors import BrokenPhotoError, NotAPhotoError, PhotoTooLargeError

Photo = npt.NDArray[np.uint8]  # uint8[H,W,3]

# The plugins by a file's first bytes. `Image.open` would do, but it also checks for decompression bombs against a
# global limit and warns; here `PhotoLimits` decides, from the same header.
_PLUGINS: tuple[tuple[bytes, type[ImageFile]], ...] = (
    (b"\xff\xd8\xff", JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
)
# What Pillow's two plugins raise on damaged bytes.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, struct.error, zlib.error)

# EXIF 2.3, tag 0x0112: how the stored pixels must be turned to stand upright; 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # the turns that swap width and height


class PhotoFormat(StrEnum):
    """What photos are encoded as."""

    JPEG = "jpeg"  # small, and nearly the same pixels
    PNG = "png"  # the very same pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoLimits:
    """The largest photo that is decoded: a phone's photo passes, a decompression bomb does not."""

    max_bytes: int = 32 * 2**20
    max_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        """Refuse limits under which no photo passes."""
        if self.max_bytes < 1 or self.max_pixels < 1:
            raise ValueError(f"expected limits of 1 or more, got {self.max_bytes} bytes and {self.max_pixels} pixels")


DEFAULT_LIMITS = PhotoLimits()


def decode(data: bytes, *, name: str = "photo", limits: PhotoLimits = DEFAULT_LIMITS) -> Photo:
    """Decode one JPEG or PNG to RGB.

    CMYK is converted, 16-bit grey scaled to 8 bits, and whatever is transparent lies on white.

    Args:
        data: the file's bytes.
        name: what errors call the photo: its id, key or path.
        limits: how large it may be.

    Returns:
        uint8[H,W,3], upright and writable.

    Raises:
        NotAPhotoError: if it is neither JPEG nor PNG.
        PhotoTooLargeError: if it is above `limits`; judged by its header, before any pixel is decoded.
        BrokenPhotoError: if it is damaged or ends early.
    """
    with _open(data, name=name, limits=limits) as image:
        orientation = _orientation(image)  # before the pixels are loaded, as in `dimensions`
        try:
            image.load()
            if isinstance(image, PngImageFile):
                _walk_to_end(data)
            rgb = _to_rgb(image)
        except _DAMAGE as error:
            raise _broken(data, name, error) from error
    turn = _TURNS.get(orientation)
    return np.array(rgb if turn is None else rgb.transpose(turn))


def dimensions(data: bytes, *, name: str = "photo", limits: PhotoLimits = DEFAULT_LIMITS) -> tuple[int, int]:
    """The (width_px, height_px) that `decode` would give, read from the header alone.

    Raises:
        NotAPhotoError, PhotoTooLargeError: as `decode` does.
        BrokenPhotoError: if the header is damaged; damage further on goes unseen.
    """
    with _open(data, name=name, limits=limits) as image:
        width_px, height_px = image.size
        return (height_px, width_px) if _orientation(image) in _SIDEWAYS else (width_px, height_px)


def resize(photo: Photo, side_px: int) -> Photo:
    """The whole frame squashed into a square: bicubic with antialiasing; the very same pixels at equal size.

    Args:
        photo: uint8[H,W,3].
        side_px: the square's side.

    Returns:
        uint8[side_px,side_px,3].

    >>> resize(np.full((40, 60, 3), 7, np.uint8), 20).shape
    (20, 20, 3)
    """
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:  # noqa: PLR2004 - uint8[H,W,3]
        raise ValueError(f"expected uint8[H,W,3], got {photo.dtype}{list(photo.shape)}")
    if side_px < 1:
        raise ValueError(f"expected a side of 1 pixel or more, got {side_px}")
    if photo.shape[:2] == (side_px, side_px):
        return photo
    return np.array(Image.fromarray(photo).resize((side_px, side_px), Image.Resampling.BICUBIC))


def encode(photo: Photo, form: PhotoFormat, *, quality: int) -> bytes:
    """Encode pixels: the same ones give the same bytes, as long as Pillow and its libraries are the same.

    Args:
        photo: uint8[H,W,3].
        form: JPEG (every pixel keeps its own colour: 4:4:4) or PNG.
        quality: JPEG's, 1 to 100; a PNG has none.

    >>> encode(np.full((8, 8, 3), 7, np.uint8), PhotoFormat.PNG, quality=1)[1:4]
    b'PNG'
    """
    buffer = BytesIO()
    image = Image.fromarray(photo)
    if form is PhotoFormat.PNG:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _open(data: bytes, *, name: str, limits: PhotoLimits) -> ImageFile:
    """Read the header and check it against the limits; the pixels stay undecoded."""
    if len(data) > limits.max_bytes:
        raise PhotoTooLargeError(
            f"{name}: expected at most {limits.max_bytes:,} bytes, got more. Save it smaller or compress it more"
        )
    plugin = next((plugin for magic, plugin in _PLUGINS if data.startswith(magic)), None)
    if plugin is None:
        if not data:
            raise NotAPhotoError(f"{name}: expected a JPEG or PNG, got no bytes at all. Copy it again")
        got = f"bytes that begin with {data[:8].hex(' ')}"
        raise NotAPhotoError(f"{name}: expected a JPEG or PNG, got {got}. Convert it to JPEG or PNG")
    try:
        image = plugin(BytesIO(data))
    except _DAMAGE as error:
        raise _broken(data, name, error) from error
    width_px, height_px = image.size
    if width_px * height_px > limits.max_pixels:
        raise PhotoTooLargeError(
            f"{name}: expected at most {limits.max_pixels:,} pixels, got {width_px:,} x {height_px:,}. "
            "Save it at a smaller size"
        )
    return image


def _walk_to_end(png: bytes) -> None:
    """Step from chunk to chunk until IEND (PNG specification, 5.3): Pillow is content once it has its pixels.

    Raises:
        ValueError: if there is no whole IEND.
    """
    at = 8
    while at + 12 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        at += 12 + length
        if kind == b"IEND" and at <= len(png):
            return
    raise ValueError("its IEND chunk is missing")


def _broken(data: bytes, name: str, error: Exception) -> BrokenPhotoError:
    return BrokenPhotoError(
        f"{name}: expected a whole photo, but its {len(data):,} bytes are damaged or end early ({error}). "
        "Copy it again from where it was taken"
    )


def _orientation(image: ImageFile) -> int:
    """The EXIF orientation that stands before the pixels; 1, upright, where none can be read."""
    try:
        # Not `image.getexif()`: a PNG's would decode the pixels in search of a block that follows them.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except _DAMAGE:
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode that the two formats can hold, as 8-bit RGB."""
    if image.mode.startswith("I"):
        # 16-bit grey; `convert` would clip it at 255.
        values = np.asarray(image).astype(np.uint32)
        if (see_through := image.info.get("transparency")) is not None:
            values[values == see_through] = 65535
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "CMYK" and "adobe" not in image.info:
        # Pillow reads every CMYK JPEG as Adobe writes them, inverted; without Adobe's marker they are not.
        return ImageChops.invert(image).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
