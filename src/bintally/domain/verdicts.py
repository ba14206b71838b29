"""Verdicts: does what the photo shows agree with what is expected to be in the bin?

Refuses to clear a bin on the last entry alone: "K or more" cannot tell K from K+1.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from bintally.domain.counts import CountDistribution


class Decision(StrEnum):
    """What is decided about a bin."""

    MATCH = "match"
    SHORT = "short"
    OVER = "over"
    REVIEW = "review"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How sure the model must be before no person looks.

    Attributes:
        clear_at: P(count = expected) from which a bin is cleared.
        flag_at: P(fewer) or P(more) from which a bin is called short or over. Where the model is calibrated, a record
            that is right is flagged with a probability of at most 2 (1 - flag_at): the two tails of its distribution.
    """

    clear_at: float = 0.6
    flag_at: float = 0.975

    def __post_init__(self) -> None:
        """Refuse thresholds under which two decisions could both hold."""
        for name, value in (("clear_at", self.clear_at), ("flag_at", self.flag_at)):
            if not 0.5 < value <= 1.0:  # noqa: PLR2004 - above one half, at most one of the three can reach it
                raise ValueError(f"{name}: expected more than 0.5 and at most 1, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A decision with its reason."""

    decision: Decision
    expected: int
    p_match: float
    reason: str

    @classmethod
    def of(cls, decision: Decision, distribution: CountDistribution, expected: int, reason: str) -> Self:
        """A verdict whose `p_match` is the distribution's."""
        return cls(decision=decision, expected=expected, p_match=distribution.probability_of(expected), reason=reason)


def decide(
    distribution: CountDistribution,
    expected: int,
    policy: Policy = Policy(),
    *,
    known_counts: tuple[int, int | None] = (0, None),
) -> Verdict:
    """Compare a distribution with the expected count.

    Args:
        distribution: what the model believes.
        expected: what the record or order says should be in the bin.
        policy: how sure to be.
        known_counts: (low, high) counts that the model was trained to tell apart; high None means no upper end.

    Raises:
        ValueError: if `expected` is negative.

    >>> decide(CountDistribution([0.0, 0.02, 0.95, 0.03]), 2).decision
    <Decision.MATCH: 'match'>
    >>> decide(CountDistribution([0.0, 0.02, 0.03, 0.95]), 7).decision
    <Decision.REVIEW: 'review'>
    """
    if expected < 0:
        raise ValueError(f"expected count must be 0 or more, got {expected}")
    low, high = known_counts
    last = distribution.last_count
    match = distribution.probability_of(expected)
    fewer = distribution.probability_below(expected)
    more = distribution.probability_above(expected)

    if expected < low or (high is not None and expected > high):
        reason = f"the model knows only counts {low}-{high}; {expected} expected"
        return Verdict.of(Decision.REVIEW, distribution, expected, reason)
    if match >= policy.clear_at:
        return Verdict.of(Decision.MATCH, distribution, expected, f"{match:.0%} sure that {expected} are there")
    if fewer >= policy.flag_at:
        return Verdict.of(Decision.SHORT, distribution, expected, f"{fewer:.0%} sure of fewer than {expected}")
    if more >= policy.flag_at:
        return Verdict.of(Decision.OVER, distribution, expected, f"{more:.0%} sure of more than {expected}")
    if expected >= last:
        reason = f"{expected} expected, and the model tells no counts from {last} on apart"
        return Verdict.of(Decision.REVIEW, distribution, expected, reason)
    return Verdict.of(
        Decision.REVIEW,
        distribution,
        expected,
        f"unsure: {match:.0%} for {expected}, {fewer:.0%} for fewer, {more:.0%} for more",
    )
