"""What a network sees of a photo: the whole frame, and in training only what keeps the count."""

from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.small_dataset import draw_photo

from bintally.data.images import decode, resize
from bintally.errors import PhotoError
from bintally.models.preprocess import augmented, served
from bintally.settings import AugmentSettings

Photo = npt.NDArray[np.uint8]
PHOTO: Photo = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
STILL = AugmentSettings(flip_horizontal=False)
FLIPS = AugmentSettings(flip_horizontal=True, flip_vertical=True)
ALL = AugmentSettings(
    flip_horizontal=True, flip_vertical=True, brightness=0.3, contrast=0.3, tint=0.2, shrink=0.3, rotate_deg=10
)
seeds = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 1000), st.integers(0, 100_000))


def png(photo: Photo) -> bytes:
    buffer = BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(photo: Photo) -> list[tuple[int, ...]]:
    return sorted(map(tuple, photo.reshape(-1, 3).tolist()))


def test_a_photo_of_the_right_size_is_served_as_it_is() -> None:
    np.testing.assert_array_equal(served(png(PHOTO), 12), PHOTO)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_other_photos_are_squashed_whole(kind: str) -> None:
    data = draw_photo(3, kind=kind)
    photo = served(data, 32)
    assert (photo.shape, photo.dtype) == ((32, 32, 3), np.uint8)
    np.testing.assert_array_equal(photo, resize(decode(data), 32))


def test_nothing_is_cropped() -> None:
    """A mark at each end of a wide photo is there after squashing."""
    wide = np.zeros((20, 200, 3), dtype=np.uint8)
    wide[:, :20] = (255, 0, 0)
    wide[:, -20:] = (0, 0, 255)
    photo = served(png(wide), 20)
    assert photo[:, 0, 0].min() > 200
    assert photo[:, -1, 2].min() > 200


def test_a_photo_that_is_none_is_named() -> None:
    with pytest.raises(PhotoError, match="bin 7"):
        served(b"text", 32, name="bin 7")


@given(seeds)
def test_flips_keep_every_pixel(seed: tuple[int, int, int]) -> None:
    flipped = augmented(PHOTO, FLIPS, seed=seed)
    assert flipped.shape == PHOTO.shape
    assert pixels(flipped) == pixels(PHOTO)
    ways = [PHOTO, PHOTO[:, ::-1], PHOTO[::-1], PHOTO[::-1, ::-1]]
    assert sum(np.array_equal(flipped, way) for way in ways) == 1


@given(seeds)
def test_the_same_seed_gives_the_same_photo(seed: tuple[int, int, int]) -> None:
    once, again = (augmented(PHOTO, ALL, seed=seed) for _ in range(2))
    np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("position", [0, 1, 2], ids=["run's seed", "epoch", "index"])
def test_every_part_of_the_seed_counts(position: int) -> None:
    def photo(value: int) -> bytes:
        seed = [5, 5, 5]
        seed[position] = value
        return augmented(PHOTO, ALL, seed=(seed[0], seed[1], seed[2])).tobytes()

    assert len({photo(value) for value in range(10)}) == 10


def test_all_four_ways_come_up_about_equally_often() -> None:
    firsts = [augmented(PHOTO, FLIPS, seed=(0, 0, index))[0, 0].tolist() for index in range(400)]
    ways = {way: firsts.count(list(way)) for way in {tuple(first) for first in firsts}}
    assert len(ways) == 4
    assert all(60 < times < 140 for times in ways.values())


def test_nothing_to_change_changes_nothing() -> None:
    for index in range(8):
        np.testing.assert_array_equal(augmented(PHOTO, STILL, seed=(0, 0, index)), PHOTO)


def test_the_photo_itself_is_left_alone() -> None:
    before = PHOTO.copy()
    for index in range(8):
        changed = augmented(PHOTO, ALL, seed=(0, 0, index))
        assert changed.flags.c_contiguous
        changed[:] = 0
    np.testing.assert_array_equal(PHOTO, before)


def test_brightness_and_contrast_keep_the_order_of_levels_and_their_bounds() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (1, 2, 3))
    for index in range(50):
        light = AugmentSettings(flip_horizontal=False, brightness=0.2, contrast=0.2)
        levels = augmented(ramp, light, seed=(0, 0, index))
        rises = np.diff(levels[:, 0, 0].astype(int))
        assert (rises >= 0).all()
        assert (levels == levels[:, :1, :1]).all()
        # (level * b - 127.5) * c + 127.5 with b and c from 0.8 to 1.2
        assert 127.5 * 0.8 - 127.5 * 1.2 + 25 <= levels.mean() <= 127.5 * 1.2 + 40
    assert len({augmented(ramp, ALL, seed=(0, 0, index)).tobytes() for index in range(20)}) == 20


def test_tint_changes_colours_against_each_other() -> None:
    grey = np.full((4, 4, 3), 100, dtype=np.uint8)
    tinted = [
        augmented(grey, AugmentSettings(flip_horizontal=False, tint=0.2), seed=(0, 0, n))[0, 0] for n in range(30)
    ]
    assert all(79 <= level <= 120 for colour in tinted for level in colour)
    assert sum(len(set(colour.tolist())) > 1 for colour in tinted) > 25


def test_a_shrunk_photo_is_whole_somewhere_on_grey() -> None:
    """Its four corners are marked, and are found again around what is left of it."""
    photo = np.zeros((40, 40, 3), dtype=np.uint8)
    photo[0:8, 0:8], photo[0:8, -8:], photo[-8:, 0:8], photo[-8:, -8:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 255
    places = set()
    for index in range(100):
        shrunk = augmented(photo, AugmentSettings(flip_horizontal=False, shrink=0.5), seed=(0, 0, index))
        assert shrunk.shape == photo.shape
        rows, columns = np.nonzero((shrunk != 128).any(axis=2))
        top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
        assert 20 <= bottom - top + 1 <= 40
        assert 20 <= right - left + 1 <= 40
        assert shrunk[top, left, 0] > 200
        assert shrunk[top, right, 1] > 200
        assert shrunk[bottom, left, 2] > 200
        assert shrunk[bottom, right].min() > 200
        places.add((top, left, bottom, right))
    assert len(places) > 90


@pytest.mark.parametrize("shrink", [0.0, 0.5])
def test_a_turned_photo_is_whole(shrink: float) -> None:
    photo = np.full((40, 60, 3), 255, dtype=np.uint8)
    photo[0:10, 0:10], photo[0:10, -10:], photo[-10:, 0:10] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    photo[-10:, -10:] = (255, 0, 255)
    settings = AugmentSettings(flip_horizontal=False, rotate_deg=20, shrink=shrink)
    made = [augmented(photo, settings, seed=(0, 0, index)).astype(int) for index in range(60)]
    shares = []
    for turned in made:
        assert turned.shape == photo.shape
        red, green, blue = (turned[..., channel] for channel in range(3))
        corners = [
            (red > 200) & (green < 60) & (blue < 60),
            (green > 200) & (red < 60) & (blue < 60),
            (blue > 200) & (red < 60) & (green < 60),
            (red > 200) & (blue > 200) & (green < 60),
        ]
        whole = (turned != 128).any(axis=2).sum()
        shares += [corner.sum() / whole for corner in corners]
    assert min(shares) > 0.5 * 100 / 2400, "each corner is there, nearly whole: some of it is blurred into its border"
    tops = {int(np.nonzero((turned != 128).any(axis=2))[0].min()) for turned in made}
    assert len(tops) > 1 or shrink == 0, "it lies here and there"


def test_nothing_is_shrunk_away() -> None:
    for index in range(50):
        shrunk = augmented(PHOTO, AugmentSettings(shrink=0.99), seed=(0, 0, index))
        assert shrunk.shape == PHOTO.shape
        assert (shrunk != shrunk[0, 0]).any() or (shrunk[0, 0] != 128).any()  # something of the photo is left on grey
