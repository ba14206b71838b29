"""How checking photos against records ends, over named populations of right and wrong records.

Shapes: N photos; K the estimator's last count. The definitions: *cleared* is decided match, *flagged* is decided short
or over; missed mismatch is P(cleared | record wrong), false alarm P(flagged | record right), and coverage is what was
decided without a person. Refuses to invent populations that quantity alone would give away: wrong records are off by 1.
"""

from collections.abc import Iterable

import numpy as np

from bintally.domain.counts import CountDistribution
from bintally.domain.verdicts import Decision, Policy, decide
from bintally.evaluation.bootstrap import Array, GroupBootstrap, ratio
from bintally.evaluation.metrics import Counts
from bintally.evaluation.results import PopulationName, PopulationResult, VerificationResult

_OFFSETS = {PopulationName.RIGHT: (0,), PopulationName.OFF_BY_ONE: (1, -1)}
_FLAGGED = (Decision.SHORT, Decision.OVER)


def expectations(population: PopulationName, count: int) -> tuple[int, ...]:
    """What the records of `population` say of a bin that holds `count`.

    >>> expectations(PopulationName.OFF_BY_ONE, 0)
    (1,)
    """
    return tuple(count + offset for offset in _OFFSETS[population] if count + offset >= 0)


def verification(
    probabilities: Array,
    counts: Counts,
    bootstrap: GroupBootstrap,
    *,
    policy: Policy,
    known_counts: tuple[int, int | None] = (0, None),
) -> VerificationResult:
    """Decide every photo against right and wrong records.

    Args:
        probabilities: float64[N,K+1].
        counts: int64[N], the true counts.
        bootstrap: over the groups of the same N photos.
        policy: how sure the model must be.
        known_counts: as `decide` takes them.
    """
    distributions = [CountDistribution(row) for row in probabilities]
    results = []
    for population in PopulationName:
        # float64[N,3]: cleared, flagged and all pairs of each photo
        tallies = np.array(
            [
                _tally(
                    decide(distribution, expected, policy, known_counts=known_counts).decision
                    for expected in expectations(population, int(count))
                )
                for distribution, count in zip(distributions, counts, strict=True)
            ],
            dtype=np.float64,
        )
        cleared, flagged, pairs = tallies.T
        results.append(
            PopulationResult(
                population=population,
                pairs=int(pairs.sum()),
                cleared=bootstrap.figure(np.stack([cleared, pairs], axis=1), ratio),
                flagged=bootstrap.figure(np.stack([flagged, pairs], axis=1), ratio),
                coverage=bootstrap.figure(np.stack([cleared + flagged, pairs], axis=1), ratio),
            )
        )
    return VerificationResult(clear_at=policy.clear_at, flag_at=policy.flag_at, populations=tuple(results))


def _tally(decisions: Iterable[Decision]) -> tuple[int, int, int]:
    made = list(decisions)
    return made.count(Decision.MATCH), sum(decision in _FLAGGED for decision in made), len(made)
