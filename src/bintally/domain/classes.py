"""Which counts a model tells apart, and how its classes become a distribution over 0..K.

Shapes: C classes; probabilities float[N,C] over classes become float[N,K+1] over counts.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class CountClasses:
    """Consecutive counts, one class each; where `open_ended`, the last class means `high` or more.

    >>> CountClasses(low=1, high=5, open_ended=False).last_count
    6
    >>> CountClasses(low=0, high=20, open_ended=True).last_count
    20
    """

    low: int
    high: int
    open_ended: bool

    def __post_init__(self) -> None:
        """Refuse what is no range."""
        if not 0 <= self.low < self.high:
            raise ValueError(f"expected 0 <= low < high, got {self.low}..{self.high}")

    @property
    def size(self) -> int:
        """C: how many classes there are."""
        return self.high - self.low + 1

    @property
    def last_count(self) -> int:
        """K. Closed classes end one below it, so that `high` is a plain entry and "K or more" has probability 0."""
        return self.high if self.open_ended else self.high + 1

    @property
    def known_counts(self) -> tuple[int, int | None]:
        """(low, high) counts it was trained to tell apart; high None where there is no upper end."""
        return self.low, None if self.open_ended else self.high

    def encode(self, counts: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Classes int64[N] of counts int[N]; -1 where a count has none.

        >>> CountClasses(low=1, high=5, open_ended=False).encode(np.array([0, 1, 5, 6]))
        array([-1,  0,  4, -1])
        """
        clipped = np.minimum(counts, self.high) if self.open_ended else counts
        known = (clipped >= self.low) & (clipped <= self.high)
        return np.where(known, clipped - self.low, -1).astype(np.int64)

    def expand(self, probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Probabilities over classes, float[N,C], as probabilities over 0..K, float32[N,K+1]."""
        if probabilities.ndim != 2 or probabilities.shape[1] != self.size:  # noqa: PLR2004 - [N,C]
            raise ValueError(f"expected probabilities [N,{self.size}], got {probabilities.shape}")
        counts = np.zeros((len(probabilities), self.last_count + 1), dtype=np.float32)
        counts[:, self.low : self.high + 1] = probabilities
        return counts
