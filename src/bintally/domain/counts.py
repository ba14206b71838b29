"""`CountDistribution`: what an estimator believes about the number of items in one bin.

Shapes: K is the model's last count; probabilities are float64[K+1] over 0..K, and the last entry means *K or more*.
Refuses to say anything about single counts at or above K: only "K or more" is known there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float64]
_SUM_TOLERANCE = 1e-3
_TIE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class CountDistribution:
    """Probabilities over 0..K, the last entry meaning K or more.

    >>> d = CountDistribution([0.0, 0.1, 0.6, 0.3])
    >>> d.mode, d.last_count, d.interval(0.8)
    (2, 3, (2, 3))
    """

    probabilities: Probabilities

    def __init__(self, probabilities: Sequence[float] | npt.NDArray[np.floating]) -> None:
        """Check and normalise `probabilities` (float[K+1], K >= 1).

        Raises:
            ValueError: if they are not a distribution: a programming error, so no `BintallyError`.
        """
        values = np.array(probabilities, dtype=np.float64)
        if values.ndim != 1 or values.size < 2:  # noqa: PLR2004 - one count is no distribution
            raise ValueError(f"expected probabilities over 0..K with K >= 1, got shape {values.shape}")
        if not np.isfinite(values).all() or (values < -_SUM_TOLERANCE).any():
            raise ValueError("expected finite probabilities of 0 or more")
        if abs(values.sum() - 1.0) > _SUM_TOLERANCE:
            raise ValueError(f"expected probabilities that sum to 1, got {values.sum():.6f}")
        values = np.clip(values, 0.0, None)
        values /= values.sum()
        values.setflags(write=False)
        object.__setattr__(self, "probabilities", values)

    def __eq__(self, other: object) -> bool:
        """Equal where every probability is."""
        return isinstance(other, CountDistribution) and np.array_equal(self.probabilities, other.probabilities)

    def __hash__(self) -> int:
        """Hash of the probabilities' bytes."""
        return hash(self.probabilities.tobytes())

    @property
    def last_count(self) -> int:
        """K: the last entry stands for this count or more."""
        return self.probabilities.size - 1

    @property
    def mode(self) -> int:
        """The most probable count (K means K or more); the lower one where two tie."""
        return int(self.probabilities.argmax())

    @property
    def mean(self) -> float:
        """The expected count, with "K or more" counted as K: a lower bound."""
        return float(self.probabilities @ np.arange(self.probabilities.size))

    def probability_of(self, count: int) -> float:
        """P(exactly `count` items); 0 at or above K, where only "K or more" is known.

        >>> CountDistribution([0.5, 0.5]).probability_of(1)
        0.0
        """
        return float(self.probabilities[count]) if 0 <= count < self.last_count else 0.0

    def probability_below(self, count: int) -> float:
        """P(fewer than `count` items); above K it is P(fewer than K), the part that is known."""
        return float(self.probabilities[: max(0, min(count, self.last_count))].sum())

    def probability_above(self, count: int) -> float:
        """P(more than `count` items); 0 at or above K, where the last entry cannot tell."""
        return float(self.probabilities[max(0, count + 1) :].sum()) if count < self.last_count else 0.0

    def interval(self, level: float = 0.9) -> tuple[int, int]:
        """The shortest run of counts (low, high) that holds at least `level`; high = K means K or more.

        Of equally short runs the most probable one is taken, and the lowest where they tie.

        Raises:
            ValueError: if `level` is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"expected a level between 0 and 1, got {level}")
        cumulative = np.concatenate([[0.0], np.cumsum(self.probabilities)])
        for width in range(1, self.probabilities.size + 1):
            mass = cumulative[width:] - cumulative[:-width]
            low = int(np.argmax(mass >= mass.max() - _TIE))  # sums of floats: alike but for their rounding
            if mass[low] >= level - _TIE:
                return low, low + width - 1
        return 0, self.last_count


class CountEstimator(Protocol):
    """Anything that turns photos into distributions: a network, a baseline, an exported model."""

    @property
    def name(self) -> str:
        """What tables and reports call it."""

    @property
    def last_count(self) -> int:
        """K of its distributions."""

    def predict(self, photos: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Count encoded photos (JPEG or PNG bytes).

        Returns:
            float32[N, K+1]: one row of probabilities per photo, in the order given.

        Raises:
            PhotoError: if a photo cannot be decoded.
        """
