"""One photo's figures, and the end of damaged files."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.audited import clean_bins, damaged, edited, flat

from bintally.data.images import decode
from bintally.data.photo_quality import LONGEST_SIDE_PX, ends_early, luma, measure, perceptual_hash, sharpness


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [photo for photo, _ in clean_bins().values()]


def grey(photo: bytes) -> np.ndarray:
    return luma(decode(photo))


def encoded(kind: str, **options: object) -> bytes:
    rng = np.random.default_rng(5)
    data = BytesIO()
    Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(data, kind, **options)
    return data.getvalue()


@pytest.mark.parametrize(
    ("shape", "reduced"),
    [((300, 500), (224, 224)), ((224, 224), (224, 224)), ((100, 300), (100, 224)), ((20, 30), (20, 30))],
)
def test_sides_are_reduced_and_never_enlarged(shape: tuple[int, int], reduced: tuple[int, int]) -> None:
    assert luma(np.zeros((*shape, 3), np.uint8)).shape == reduced


def test_luma_is_that_of_bt_601() -> None:
    red_green_blue = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert luma(red_green_blue).tolist() == [[76, 150, 29]]


def test_brightness_is_the_mean_luma(photos: list[bytes]) -> None:
    for photo in photos:
        expected = np.asarray(Image.open(BytesIO(photo)).convert("L")).mean()
        assert measure(grey(photo)).brightness == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_flat_photo_has_neither_sharpness_nor_hash(value: int) -> None:
    figures = measure(grey(flat(value)))
    assert (figures.sharpness, figures.phash) == (None, None)
    assert figures.brightness == pytest.approx(value, abs=1)


def test_sharpness_by_hand() -> None:
    y = np.array([[0, 0, 0, 0], [0, 9, 0, 0], [0, 0, 0, 0]], np.uint8)
    # Laplacian of the two inner pixels: -36 and 9; variance 506.25. The luma's: 81/12 - (9/12)**2 = 6.1875.
    assert sharpness(y) == pytest.approx(506.25 / 6.1875)


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (9, 2)])
def test_a_photo_too_small_for_edges_has_no_sharpness(shape: tuple[int, int]) -> None:
    assert sharpness(np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(shape)) == 0


def test_blur_lowers_sharpness_and_light_hardly_changes_it(photos: list[bytes]) -> None:
    for photo in photos:
        y = grey(photo)
        assert sharpness(grey(edited(photo, kind="blurred"))) < 0.03 < 0.5 * sharpness(y)
        assert sharpness((y * 0.5).astype(np.uint8)) == pytest.approx(sharpness(y), rel=0.2)


def test_sharpness_hardly_depends_on_how_large_the_photo_was(photos: list[bytes]) -> None:
    image = Image.open(BytesIO(photos[0])).convert("RGB")
    twice, fourfold = (
        sharpness(luma(np.array(image.resize((image.width * by, image.height * by), Image.Resampling.BICUBIC))))
        for by in (2, 4)
    )
    assert fourfold == pytest.approx(twice, rel=0.1)


def test_hashes_of_copies_are_near_and_of_others_far(photos: list[bytes]) -> None:
    hashes = [perceptual_hash(grey(photo)) for photo in photos]
    for photo, own in zip(photos, hashes, strict=True):
        assert (perceptual_hash(grey(edited(photo, kind="copied"))) ^ own).bit_count() <= 6
    apart = [(a ^ b).bit_count() for place, a in enumerate(hashes) for b in hashes[:place]]
    assert min(apart) > 6
    assert all(0 <= value < 2**64 for value in hashes)


def test_the_hash_is_of_the_lowest_frequencies() -> None:
    place = (2 * np.arange(LONGEST_SIDE_PX) + 1) / (2 * LONGEST_SIDE_PX)
    wave = np.cos(np.pi * place)[:, None] * np.cos(np.pi * 2 * place)[None]  # frequencies 1 down, 2 across
    assert perceptual_hash((128 + 100 * wave).astype(np.uint8)) >> 62 & 1 == 1  # the second bit of the first row
    assert perceptual_hash((128 - 100 * wave).astype(np.uint8)) >> 62 & 1 == 0


def test_half_of_the_hash_is_set(photos: list[bytes]) -> None:
    assert {perceptual_hash(grey(photo)).bit_count() for photo in photos} == {32}


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG", {"restart_marker_blocks": 2}), ("PNG", {})],
)
def test_a_file_ends_early_wherever_it_is_cut(kind: str, options: dict[str, object]) -> None:
    data = encoded(kind, **options)
    assert not ends_early(data)
    assert not ends_early(data + b"after the end")
    assert all(ends_early(data[:length]) for length in range(12, len(data)))


def test_damage_is_not_an_early_end(photos: list[bytes]) -> None:
    assert not ends_early(damaged(photos[0]))
    assert not ends_early(b"\xff\xd8" + bytes(100))
    assert not ends_early(b"no photo")
    assert not ends_early(b"")


def test_an_early_end_padded_with_zeros_is_one(photos: list[bytes]) -> None:
    assert ends_early(photos[0][:4000] + bytes(2000))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xda\x00\x02"]))
def test_no_bytes_are_too_odd(data: bytes, head: bytes) -> None:
    assert ends_early(head + data) in (True, False)
