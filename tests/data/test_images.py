"""The decoder: every odd or bad photo has a test of its own."""

import struct
import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin, PngImagePlugin

from bintally.data.images import PhotoFormat, PhotoLimits, decode, dimensions, resize
from bintally.data.images import encode as encode_pixels
from bintally.errors import BrokenPhotoError, NotAPhotoError, PhotoError, PhotoTooLargeError

ORIENTATION = 0x0112


def gradient(height: int = 24, width: int = 40) -> np.ndarray:
    """uint8[H,W,3] whose every row, column and channel differs."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=2).astype(np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, bits: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG made by hand; `rows` are the filtered scan lines."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def without_adobe_marker(jpeg: bytes) -> bytes:
    start = jpeg.index(b"\xff\xee")
    length = struct.unpack(">H", jpeg[start + 2 : start + 4])[0]
    return jpeg[:start] + jpeg[start + 2 + length :]


PHOTO_PNG = encode(Image.fromarray(gradient()))
PHOTO_JPEG = encode(Image.fromarray(gradient(96, 160)), "JPEG", quality=95)


# What is decoded


def test_a_png_decodes_to_its_very_pixels():
    np.testing.assert_array_equal(decode(PHOTO_PNG), gradient())


def test_a_jpeg_decodes_to_nearly_its_pixels():
    pixels = decode(PHOTO_JPEG)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - gradient(96, 160)).mean() < 3


def test_the_array_is_the_callers_to_change():
    pixels = decode(PHOTO_PNG)
    pixels[:] = 0
    np.testing.assert_array_equal(decode(PHOTO_PNG), gradient())


def test_a_progressive_jpeg_decodes():
    data = encode(Image.fromarray(gradient(96, 160)), "JPEG", quality=95, progressive=True)
    assert np.abs(decode(data).astype(int) - gradient(96, 160)).mean() < 3


def test_a_grey_jpeg_has_three_equal_channels():
    pixels = decode(encode(Image.new("L", (16, 8), 77), "JPEG"))
    assert pixels.shape == (8, 16, 3)
    assert (pixels == 77).all()


def test_a_grey_png_keeps_its_levels():
    levels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(levels))), np.repeat(levels[:, :, None], 3, axis=2))


def test_a_1_bit_png_is_black_and_white():
    bits = np.indices((8, 16)).sum(axis=0) % 2 == 0
    pixels = decode(encode(Image.fromarray(bits)))
    np.testing.assert_array_equal(pixels, np.where(bits[:, :, None], 255, 0) * np.ones(3, int))


def test_16_bit_grey_is_scaled_and_not_clipped():
    levels = np.array([[0, 257, 257 * 100, 257 * 200 + 128, 65535]], dtype=np.uint16)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(levels)))[0, :, 0], [0, 1, 100, 200, 255])


def test_16_bit_colour_is_scaled():
    row = b"\x00" + struct.pack(">6H", 0, 257 * 128, 65535, 257, 257 * 2, 257 * 3)
    data = png(2, 1, bits=16, colour=2, rows=row)
    assert decode(data).tolist() == [[[0, 128, 255], [1, 2, 3]]]


def test_a_palette_png_takes_its_colours():
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 20, 30, 210, 40])
    image.putdata([0, 1])
    assert decode(encode(image)).tolist() == [[[200, 10, 20], [30, 210, 40]]]


def test_a_palettes_transparent_colour_lies_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 20, 30, 210, 40])
    image.putdata([0, 1])
    assert decode(encode(image, transparency=0)).tolist() == [[[255, 255, 255], [30, 210, 40]]]


def test_grey_with_alpha_lies_on_white():
    image = Image.fromarray(np.array([[[100, 255], [100, 0], [0, 128]]], np.uint8))
    assert image.mode == "LA"
    assert decode(encode(image))[0, :, 0].tolist() == pytest.approx([100, 255, 127], abs=1)


def test_colour_with_alpha_lies_on_white():
    image = Image.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8))
    assert decode(encode(image))[0].tolist() == [[10, 20, 30], [255, 255, 255], [127, 127, 127]]


def test_a_transparent_grey_of_16_bits_lies_on_white():
    image = Image.fromarray(np.array([[300, 65535 // 2]], dtype=np.uint16))
    assert decode(encode(image, transparency=300))[0].tolist() == [[255, 255, 255], [127, 127, 127]]


def test_a_transparent_colour_key_lies_on_white():
    image = Image.fromarray(np.array([[[10, 20, 30], [40, 50, 60]]], np.uint8))
    assert decode(encode(image, transparency=(10, 20, 30)))[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_a_cmyk_jpeg_as_adobe_writes_them_keeps_its_colours():
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    data = encode(cyan, "JPEG", quality=100)
    assert b"Adobe" in data
    assert decode(data)[8, 8].tolist() == pytest.approx([0, 255, 255], abs=3)


def test_a_cmyk_jpeg_without_adobes_marker_is_not_inverted():
    stored = Image.new("CMYK", (16, 16), (0, 255, 255, 255))  # which Pillow writes inverted: as cyan
    data = without_adobe_marker(encode(stored, "JPEG", quality=100))
    assert decode(data)[8, 8].tolist() == pytest.approx([0, 255, 255], abs=3)


UPRIGHT = np.array([[0, 60, 120], [180, 220, 255]], np.uint8).repeat(16, axis=0).repeat(16, axis=1)
# What a camera stores for the upright picture, by EXIF orientation (EXIF 2.3, tag 0x0112).
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].T,
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_applied(orientation: int, kind: str):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(Image.fromarray(np.ascontiguousarray(STORED[orientation])), kind, exif=exif)
    pixels = decode(data)
    assert pixels.shape == (32, 48, 3)
    assert np.abs(pixels[:, :, 0].astype(int) - UPRIGHT).max() < 12
    assert dimensions(data) == (48, 32)


@pytest.mark.parametrize("exif", [b"Exif\x00\x00garbage", b"Exif\x00\x00II*\x00\xff\xff\xff\xff"])
@pytest.mark.filterwarnings("ignore:.*EXIF:UserWarning")
def test_an_exif_block_that_cannot_be_read_leaves_the_photo_as_it_is(exif: bytes):
    data = encode(Image.fromarray(gradient()), "JPEG", exif=exif)
    assert decode(data).shape == (24, 40, 3)


def test_an_orientation_that_does_not_exist_leaves_the_photo_as_it_is():
    exif = Image.Exif()
    exif[ORIENTATION] = 99
    np.testing.assert_array_equal(decode(encode(Image.fromarray(gradient()), exif=exif)), gradient())


# What is refused


@pytest.mark.parametrize(
    ("data", "got"),
    [
        pytest.param(b"", "no bytes at all", id="empty"),
        pytest.param(b"hello world, I am text", "68 65 6c 6c 6f", id="text"),
        pytest.param(encode(Image.new("RGB", (4, 4)), "GIF"), "47 49 46", id="gif"),
        pytest.param(encode(Image.new("RGB", (4, 4)), "BMP"), "42 4d", id="bmp"),
        pytest.param(encode(Image.new("RGB", (4, 4)), "WEBP"), "52 49 46 46", id="webp"),
        pytest.param(encode(Image.new("RGB", (4, 4)), "TIFF"), "49 49 2a", id="tiff"),
    ],
)
@pytest.mark.parametrize("read", [decode, dimensions])
def test_what_is_no_jpeg_or_png_is_not_a_photo(read, data: bytes, got: str):
    with pytest.raises(NotAPhotoError) as caught:
        read(data, name="bin-images/01012.jpg")
    message = str(caught.value)
    assert message.startswith("bin-images/01012.jpg: expected a JPEG or PNG, got ")
    assert got in message
    assert ("Convert it" if data else "Copy it again") in message


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("photo", [PHOTO_JPEG, PHOTO_PNG], ids=["jpeg", "png"])
def test_a_photo_that_ends_early_is_broken(photo: bytes, kept: float):
    with pytest.raises(BrokenPhotoError, match=r"^01012: .*damaged or end early.*Copy it again"):
        decode(photo[: int(len(photo) * kept)], name="01012")


@pytest.mark.parametrize("photo", [PHOTO_JPEG[:20], PHOTO_PNG[:20]], ids=["jpeg", "png"])
def test_a_photo_that_ends_in_its_header_is_broken_for_dimensions_too(photo: bytes):
    with pytest.raises(BrokenPhotoError, match="01012"):
        dimensions(photo, name="01012")


def test_a_png_with_a_wrong_checksum_is_broken():
    place = PHOTO_PNG.index(b"IDAT") + 12
    with pytest.raises(BrokenPhotoError):
        decode(PHOTO_PNG[:place] + bytes([PHOTO_PNG[place] ^ 0xFF]) + PHOTO_PNG[place + 1 :])


@pytest.mark.parametrize("missing", [1, 2, 4, 12, 13])
@pytest.mark.parametrize("photo", [PHOTO_JPEG, PHOTO_PNG], ids=["jpeg", "png"])
def test_a_photo_without_its_last_bytes_is_broken(photo: bytes, missing: int):
    with pytest.raises(BrokenPhotoError):
        decode(photo[:-missing])


@pytest.mark.parametrize("photo", [PHOTO_JPEG, PHOTO_PNG], ids=["jpeg", "png"])
def test_bytes_after_a_photos_end_do_no_harm(photo: bytes):
    np.testing.assert_array_equal(decode(photo + b"trailer"), decode(photo))


def test_a_png_of_no_width_is_broken():
    with pytest.raises(BrokenPhotoError):
        decode(png(0, 8, bits=8, colour=2, rows=b"\x00" * 8))


def test_a_decompression_bomb_is_refused_by_its_header(recwarn: pytest.WarningsRecorder):
    side = 30_000
    bomb = png(side, side, bits=1, colour=0, rows=b"\x00" * (side * (side // 8 + 1)))
    assert len(bomb) < 200_000
    tracemalloc.start()
    for read in (decode, dimensions):
        with pytest.raises(PhotoTooLargeError, match=r"bomb: expected at most 50,000,000 pixels, got 30,000 x 30,000"):
            read(bomb, name="bomb")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 5_000_000
    assert not recwarn.list, "Pillow's own bomb warning leaks"


def test_pillows_own_limit_does_not_interfere(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode(PHOTO_PNG).shape == (24, 40, 3)
    assert not recwarn.list


def test_text_that_unpacks_to_a_bomb_is_refused():
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 5_000_000, zip=True)
    with pytest.raises(BrokenPhotoError):
        decode(encode(Image.new("RGB", (4, 4)), pnginfo=text))


@pytest.mark.parametrize(("max_pixels", "passes"), [(24 * 40, True), (24 * 40 - 1, False)])
def test_the_pixel_limit_is_exact(max_pixels: int, passes: bool):
    limits = PhotoLimits(max_pixels=max_pixels)
    if passes:
        assert decode(PHOTO_PNG, limits=limits).shape == (24, 40, 3)
    else:
        with pytest.raises(PhotoTooLargeError, match="959 pixels, got 40 x 24"):
            decode(PHOTO_PNG, limits=limits)


def test_the_byte_limit_is_exact():
    assert dimensions(PHOTO_PNG, limits=PhotoLimits(max_bytes=len(PHOTO_PNG))) == (40, 24)
    with pytest.raises(PhotoTooLargeError, match=r"01012: expected at most \d+ bytes"):
        decode(PHOTO_PNG, name="01012", limits=PhotoLimits(max_bytes=len(PHOTO_PNG) - 1))


@pytest.mark.parametrize("wrong", [{"max_bytes": 0}, {"max_pixels": 0}])
def test_limits_under_which_nothing_passes_are_refused(wrong: dict[str, int]):
    with pytest.raises(ValueError, match="limits of 1 or more"):
        PhotoLimits(**wrong)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_anywhere_gives_pixels_or_a_photo_error(data: st.DataObject):
    photo = bytearray(data.draw(st.sampled_from([PHOTO_JPEG, PHOTO_PNG])))
    for _ in range(data.draw(st.integers(1, 8))):
        photo[data.draw(st.integers(0, len(photo) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode(bytes(photo))
    except PhotoError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2:] == (3,)


# dimensions


def test_dimensions_are_width_then_height():
    assert dimensions(PHOTO_JPEG) == (160, 96)


def test_dimensions_need_only_the_header():
    assert dimensions(PHOTO_JPEG[: len(PHOTO_JPEG) // 2]) == (160, 96)


# resize


def test_resize_squashes_the_whole_frame():
    photo = np.zeros((40, 80, 3), np.uint8)
    photo[:, :40] = [250, 0, 0]
    photo[:, 40:] = [0, 0, 250]
    small = resize(photo, 20)
    assert small.shape == (20, 20, 3)
    assert small[10, 2].tolist() == [250, 0, 0]
    assert small[10, 17].tolist() == [0, 0, 250]


def test_resize_averages_what_it_shrinks():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    inner = resize(stripes, 8)[1:-1, 1:-1]  # plain bicubic sampling would give 0 or 200
    assert np.abs(inner.astype(int) - 100).max() < 10


def test_resize_is_bicubic():
    photo = gradient(50, 70)
    expected = np.asarray(Image.fromarray(photo).resize((33, 33), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize(photo, 33), expected)


def test_resize_to_its_own_size_changes_nothing():
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize(photo, 32), photo)


@pytest.mark.parametrize(
    ("photo", "side_px"),
    [
        pytest.param(np.zeros((4, 4), np.uint8), 2, id="no channels"),
        pytest.param(np.zeros((4, 4, 4), np.uint8), 2, id="four channels"),
        pytest.param(np.zeros((4, 4, 3), np.float32), 2, id="floats"),
        pytest.param(np.zeros((4, 4, 3), np.uint8), 0, id="no side"),
    ],
)
def test_resize_refuses_what_is_no_photo_or_size(photo: np.ndarray, side_px: int):
    with pytest.raises(ValueError, match="expected"):
        resize(photo, side_px)


# Encoding


def test_a_png_holds_the_very_pixels():
    np.testing.assert_array_equal(decode(encode_pixels(gradient(), PhotoFormat.PNG, quality=1)), gradient())


def test_a_jpeg_keeps_the_colour_of_every_pixel():
    data = encode_pixels(gradient(96, 160), PhotoFormat.JPEG, quality=95)
    assert np.abs(decode(data).astype(int) - gradient(96, 160)).mean() < 1.5
    assert JpegImagePlugin.get_sampling(Image.open(BytesIO(data))) == 0  # 4:4:4


def test_quality_decides_how_large_a_jpeg_is():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sizes = [len(encode_pixels(noise, PhotoFormat.JPEG, quality=quality)) for quality in (10, 50, 75, 95)]
    assert sizes == sorted(set(sizes))
