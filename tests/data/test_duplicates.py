"""The exact search among hashes against brute force, and the comparison of pictures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.audited import clean_bins, edited

from bintally.data import duplicates
from bintally.data.duplicates import LARGEST_RADIUS, compare, pairs_within, texture
from bintally.data.images import decode
from bintally.data.photo_quality import luma

HASHES = st.integers(0, 2**64 - 1)


def by_brute_force(hashes: list[int], radius: int) -> list[list[int]]:
    return [
        [first, second, (hashes[first] ^ hashes[second]).bit_count()]
        for first in range(len(hashes))
        for second in range(first + 1, len(hashes))
        if (hashes[first] ^ hashes[second]).bit_count() <= radius
    ]


@st.composite
def crowded(draw: st.DrawFn) -> list[int]:
    """Hashes of which many lie near each other."""
    centres = draw(st.lists(HASHES, min_size=1, max_size=3))
    flips = draw(st.lists(st.tuples(st.integers(0, 2), st.sets(st.integers(0, 63), max_size=12)), max_size=12))
    return centres + [centres[place % len(centres)] ^ sum(1 << bit for bit in bits) for place, bits in flips]


@settings(max_examples=40, deadline=None)
@given(crowded(), st.integers(0, 12))
def test_the_search_finds_what_brute_force_finds(hashes: list[int], radius: int) -> None:
    assert pairs_within(np.array(hashes, np.uint64), radius).tolist() == by_brute_force(hashes, radius)


@pytest.mark.parametrize("radius", [0, 3, 4, 7, 8, 11, 12, LARGEST_RADIUS])
def test_every_planted_pair_is_found(radius: int) -> None:
    rng = np.random.default_rng(radius)
    hashes = rng.integers(0, 2**64, 400, dtype=np.uint64)
    for place in range(60):
        bits = rng.choice(64, radius, replace=False).tolist()
        hashes[399 - place] = hashes[place] ^ np.uint64(sum(1 << bit for bit in bits))
    assert pairs_within(hashes, radius).tolist() == by_brute_force(hashes.tolist(), radius)


def test_many_equal_hashes_are_looked_at_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 7)
    hashes = np.array([5] * 9 + [6] * 4, np.uint64)
    assert pairs_within(hashes, 2).tolist() == by_brute_force(hashes.tolist(), 2)
    assert len(pairs_within(hashes, 1)) == 9 * 8 // 2 + 4 * 3 // 2


@pytest.mark.parametrize("hashes", [[], [3]])
def test_one_hash_alone_has_no_pair(hashes: list[int]) -> None:
    assert pairs_within(np.array(hashes, np.uint64), 10).shape == (0, 3)


@pytest.mark.parametrize("radius", [-1, LARGEST_RADIUS + 1])
def test_a_radius_out_of_range_is_refused(radius: int) -> None:
    with pytest.raises(ValueError, match=f"0 to {LARGEST_RADIUS} bits, got {radius}"):
        pairs_within(np.array([1], np.uint64), radius)


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return [photo for photo, _ in clean_bins().values()]


def texture_of(photo: bytes) -> np.ndarray:
    return texture(luma(decode(photo)))


def test_a_picture_agrees_with_itself_and_with_its_copies(photos: list[bytes]) -> None:
    for photo in photos:
        own = texture_of(photo)
        same = compare(own, own)
        assert (same.overall, same.least) == (pytest.approx(1), pytest.approx(1))
        for kind in ("copied", "blurred"):
            copy = compare(own, texture_of(edited(photo, kind=kind)))
            assert copy.overall > 0.65
            assert copy.least > 0.3


def test_strangers_do_not_agree(photos: list[bytes]) -> None:
    textures = [texture_of(photo) for photo in photos]
    agreements = [compare(a, b) for place, a in enumerate(textures) for b in textures[:place]]
    assert not [each for each in agreements if each.overall >= 0.65 or each.least >= 0.4]


def test_comparing_is_symmetric(photos: list[bytes]) -> None:
    a, b = texture_of(photos[0]), texture_of(photos[1])
    assert compare(a, b).overall == pytest.approx(compare(b, a).overall, abs=0.02)


@pytest.mark.parametrize(("down", "across"), [(3, 0), (0, -4), (-2, 4)])
def test_a_small_shift_does_not_matter(photos: list[bytes], down: int, across: int) -> None:
    own = texture_of(photos[0])
    shifted = compare(own, np.roll(own, (down, across), axis=(1, 2)))
    assert shifted.overall > 0.99
    assert compare(own, np.roll(own, (12, 0), axis=(1, 2))).overall < 0.5


def test_what_came_or_went_shows_in_its_block(photos: list[bytes]) -> None:
    own = luma(decode(photos[0]))
    changed = own.copy()
    height, width = own.shape
    checks = (np.indices((height // 4, width // 4)) // 8).sum(0) % 2 * 200
    changed[height // 2 : height // 2 + height // 4, width // 2 : width // 2 + width // 4] = checks
    agreement = compare(texture(own), texture(changed))
    assert agreement.overall > 0.5
    assert agreement.least < 0.3


def test_plain_parts_do_not_disagree_about_their_noise() -> None:
    rng = np.random.default_rng(0)
    plain = [np.clip(120 + rng.normal(0, 1, (64, 64)), 0, 255).astype(np.uint8) for _ in range(2)]
    assert compare(texture(plain[0]), texture(plain[1])).least > 0.3


def test_texture_hardly_depends_on_exposure(photos: list[bytes]) -> None:
    y = luma(decode(photos[1]))
    agreement = compare(texture(y), texture((y * 0.6).astype(np.uint8)))
    assert agreement.overall > 0.9
