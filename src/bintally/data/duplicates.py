"""Which photos are nearly the same picture: an exact search among hashes, then a look at the pictures themselves.

Two photos are *near duplicates* if they show the same scene from the same place with nothing large changed: a copy at
another size, quality or exposure, or the next photo of a bin of which little was taken. The hash alone cannot say so:
pods look alike, and among 60 million pairs of real photos as many strangers as siblings lie within 10 bits. Pairs
that it finds are therefore compared once more, block by block (`compare`).
Refuses to approximate: every pair within the radius is found.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from PIL import Image

from bintally.data.photo_quality import Luma

Hashes = npt.NDArray[np.uint64]  # uint64[N]
Pairs = npt.NDArray[np.int64]  # int64[M,3]: two places in the hashes, the lower first, and how many bits differ
Texture = npt.NDArray[np.float32]  # float32[2,64,64]

HASH_BITS = 64
LARGEST_RADIUS = 19  # beyond it the search is slower than comparing everything
_PARTS, _PART_BITS = 4, 16
_BLOCK = 1 << 20  # candidates looked at together: 20 MB
_ONES = np.array([value.bit_count() for value in range(1 << 16)], dtype=np.uint8)

_SIDE_PX = 64
_SHIFT_PX = 4  # how far one picture may be shifted against the other: 6 % of its side
_BLOCKS = 4  # a side; 16 blocks in all
_GRADIENT_NOISE = 8.0  # gradients below this, in luma per two pixels, count for little
_PLAIN_ENERGY = 12.0  # of a block without texture; keeps two plain blocks from disagreeing about their noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How alike two pictures are, shifted to fit best; 1: the same.

    Attributes:
        overall: correlation of their textures.
        least: structural similarity in the block where they agree least: low where something came or went.
    """

    overall: float
    least: float


def pairs_within(hashes: Hashes, radius: int) -> Pairs:
    """Every pair of hashes that differ in at most `radius` bits, in order.

    Multi-index hashing (Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", CVPR
    2012): of four parts of 16 bits, one differs in at most a quarter of `radius`, and those are looked up.

    Args:
        hashes: uint64[N].
        radius: 0 to LARGEST_RADIUS.

    >>> pairs_within(np.array([0b0000, 0b1111, 0b0001], dtype=np.uint64), 2).tolist()
    [[0, 2, 1]]
    """
    if not 0 <= radius <= LARGEST_RADIUS:
        raise ValueError(f"expected a radius of 0 to {LARGEST_RADIUS} bits, got {radius}")
    found = [np.empty((0, 3), dtype=np.int64)]
    for part in range(_PARTS):
        values = ((hashes >> np.uint64(part * _PART_BITS)) & np.uint64((1 << _PART_BITS) - 1)).astype(np.int64)
        order = np.argsort(values, kind="stable")
        in_order = hashes[order]
        starts = np.searchsorted(values[order], np.arange((1 << _PART_BITS) + 1))
        for mask in _masks(radius // _PARTS):
            for left, right in _candidates(starts, mask):
                distance = _bits(in_order[left] ^ in_order[right])
                near = np.flatnonzero((distance <= radius) & (left != right))
                pair = np.sort(np.stack([order[left[near]], order[right[near]]], axis=1), axis=1)
                found.append(np.column_stack([pair, distance[near]]))
    return np.unique(np.concatenate(found), axis=0)


def _masks(reach: int) -> Iterator[int]:
    """Every way in which up to `reach` of a part's bits can differ."""
    for bits in range(reach + 1):
        for chosen in combinations(range(_PART_BITS), bits):
            yield sum(1 << bit for bit in chosen)


def _candidates(starts: npt.NDArray[np.int64], mask: int) -> Iterator[tuple[npt.NDArray[np.int64], ...]]:
    """Places (left, right) in the sorted order whose parts differ just by `mask`, some at a time.

    Args:
        starts: int64[65537]: where each part's value begins in the sorted order.
        mask: the difference.
    """
    lower = np.arange(1 << _PART_BITS)
    lower = lower[(lower ^ mask) >= lower]  # each pair of values once
    sizes = np.diff(starts)
    lower = lower[(sizes[lower] > 0) & (sizes[lower ^ mask] > 0)]
    lefts = _ranges(starts[lower], sizes[lower])
    partners = np.repeat(lower ^ mask, sizes[lower])
    ends = np.cumsum(sizes[partners])
    begin = 0
    while begin < len(lefts):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
        some = partners[begin:end]
        yield np.repeat(lefts[begin:end], sizes[some]), _ranges(starts[some], sizes[some])
        begin = end


def _ranges(begins: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The numbers from each of `begins`, as many as in `sizes`, one range after the other."""
    before = np.cumsum(sizes) - sizes
    return np.asarray(np.arange(int(sizes.sum())) + np.repeat(begins - before, sizes))


def _bits(words: Hashes) -> npt.NDArray[np.uint8]:
    """How many bits are set in each; numpy before 2.0 cannot say."""
    parts = words.view(np.uint16).reshape(-1, _PARTS)
    return np.asarray(_ONES[parts[:, 0]] + _ONES[parts[:, 1]] + _ONES[parts[:, 2]] + _ONES[parts[:, 3]])


def texture(grey: Luma) -> Texture:
    """What `compare` looks at: the directions of edges in 64 x 64 pixels, nearly whatever the exposure."""
    small = np.asarray(Image.fromarray(grey).resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BICUBIC), dtype=np.float32)
    across, down = np.zeros_like(small), np.zeros_like(small)
    across[:, 1:-1] = small[:, 2:] - small[:, :-2]
    down[1:-1] = small[2:] - small[:-2]
    edges = np.stack([across, down])
    return np.asarray(edges / (np.hypot(across, down) + _GRADIENT_NOISE), dtype=np.float32)


def compare(first: Texture, second: Texture) -> Agreement:
    """How alike two pictures are.

    `least` is structural similarity without its luminance term, of gradients (Chen, Yang and Xie, "Gradient-Based
    Structural Similarity for Image Quality Assessment", ICIP 2006).

    >>> picture = texture(np.indices((64, 64)).sum(0).astype(np.uint8) % 16 * 15)
    >>> round(compare(picture, picture).overall, 3), round(compare(picture, picture).least, 3)
    (1.0, 1.0)
    """
    aligned = np.roll(second, _best_shift(first, second), axis=(1, 2))
    inner = slice(_SHIFT_PX, -_SHIFT_PX)
    a, b = first[:, inner, inner], aligned[:, inner, inner]
    both, of_a, of_b = (_block_sums(values) for values in (a * b, a * a, b * b))
    overall = both.sum() / max(float(np.sqrt(of_a.sum() * of_b.sum())), 1e-6)
    similarity = (2 * both + _PLAIN_ENERGY) / (of_a + of_b + _PLAIN_ENERGY)
    return Agreement(overall=float(overall), least=float(similarity.min()))


def _best_shift(first: Texture, second: Texture) -> tuple[int, int]:
    """By how many pixels, (down, across), `second` is to be rolled to lie on `first`."""
    spectrum = (np.fft.rfft2(first) * np.fft.rfft2(second).conj()).sum(axis=0)
    correlation = np.fft.irfft2(spectrum, s=(_SIDE_PX, _SIDE_PX))
    steps = np.arange(-_SHIFT_PX, _SHIFT_PX + 1)
    place = int(correlation[np.ix_(steps, steps)].argmax())
    return int(steps[place // len(steps)]), int(steps[place % len(steps)])


def _block_sums(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """float32[2,56,56] -> float64[4,4]."""
    side = values.shape[1] // _BLOCKS
    summed = values.sum(axis=0, dtype=np.float64).reshape(_BLOCKS, side, _BLOCKS, side)
    return np.asarray(summed.sum(axis=(1, 3)))
