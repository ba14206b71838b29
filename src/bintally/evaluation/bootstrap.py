"""One bootstrap for every figure: sibling groups are drawn, so photos of one bin never count as independent.

Shapes: N photos; G groups; R resamples; d statistics. A metric is a sum over photos, float64[N,d], and a function that
turns sums, float64[...,d], into its value, float64[...]; so every metric gets its interval from the same draws.
Refuses photos without a group: an interval that treats siblings as strangers is too narrow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Finalise = Callable[[Array], Array]

DEFAULT_RESAMPLES = 2000
_LEVEL = 0.95
_CHUNK = 250  # resamples multiplied at a time: bounds the float64 copy of the weights


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value with its 95 % interval."""

    value: float
    low: float
    high: float


class GroupBootstrap:
    """Draws groups with replacement: multinomial weights, fixed by the seed, the same for every statistic.

    Two estimators measured on the same photos with the same seed see the same draws, which makes their difference
    a paired one.
    """

    def __init__(self, groups: Sequence[str], *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0) -> None:
        """Draw the weights.

        Args:
            groups: the sibling group of each of N photos.
            resamples: R.
            seed: of the draws.

        Raises:
            ValueError: if there are no photos, one has no group, or no resamples are asked for.
        """
        if not groups or resamples < 1:
            raise ValueError(f"expected photos and resamples, got {len(groups)} photos and {resamples} resamples")
        if any(group is None for group in groups):
            raise ValueError("expected a sibling group for each photo: split the dataset first")
        names, self._group_of = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
        self.group_count = len(names)
        self.resamples = resamples
        self._weights = _multinomial(self.group_count, resamples, np.random.default_rng(seed))

    def sums(self, statistics: Array) -> Array:
        """Resampled sums float64[R,d] of per-photo `statistics` float64[N,d]."""
        if statistics.ndim != 2 or len(statistics) != len(self._group_of):  # noqa: PLR2004 - [N,d]
            raise ValueError(f"expected statistics [{len(self._group_of)},d], got {statistics.shape}")
        by_group = np.zeros((self.group_count, statistics.shape[1]))
        np.add.at(by_group, self._group_of, statistics)
        chunks = [
            self._weights[start : start + _CHUNK].astype(np.float64) @ by_group
            for start in range(0, self.resamples, _CHUNK)
        ]
        return np.concatenate(chunks)

    def figure(self, statistics: Array, finalise: Finalise) -> Figure:
        """The value over all photos, with its interval.

        >>> correct = np.array([[1.0, 1.0], [0.0, 1.0]])
        >>> GroupBootstrap(["a", "a"]).figure(correct, ratio)
        Figure(value=0.5, low=0.5, high=0.5)
        """
        value = float(finalise(statistics.sum(axis=0)))
        return interval(value, finalise(self.sums(statistics)))


def interval(value: float, samples: Array) -> Figure:
    """A figure from its value and the percentiles of resampled values float64[R]; undefined ones (NaN) are left out.

    >>> interval(2.0, np.array([1.0, 2.0, 3.0, np.nan]))
    Figure(value=2.0, low=1.05, high=2.95)
    """
    if not np.isfinite(value):
        raise ValueError("expected a value that is defined: are there photos in this scope?")
    tail = (1 - _LEVEL) / 2
    low, high = (float(q) for q in np.nanquantile(samples, [tail, 1 - tail]))
    return Figure(value=value, low=low, high=high)


def ratio(sums: Array) -> Array:
    """First sum over last: the mean of a per-photo value where the last column is 1 for every photo; NaN over none.

    >>> float(ratio(np.array([3.0, 4.0])))
    0.75
    """
    return divide(sums[..., 0], sums[..., -1])


def divide(numerator: Array, denominator: Array) -> Array:
    """Elementwise quotient; NaN, quietly, where the denominator is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def _multinomial(groups: int, resamples: int, rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    """How often each group was drawn: uint16[R,G], rows sum to G."""
    weights = np.empty((resamples, groups), dtype=np.uint16)
    for row in range(resamples):
        weights[row] = np.bincount(rng.integers(groups, size=groups), minlength=groups)
    return weights
