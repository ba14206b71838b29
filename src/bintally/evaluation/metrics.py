"""The metrics, each as per-photo sums and a function of them, and the scopes they are taken over.

Shapes: N photos, M of them in a scope; K the estimator's last count (its last entry means K or more); C classes.
Conventions, the same everywhere: the prediction is the most probable count (the lower of two that tie); a true count
above K lies in the last class for accuracy, cross entropy and ranked probability score, while MAE and RMSE
are taken against the true count, which a prediction of "K or more" misses by whatever lies above K.
Refuses a scope whose counts the estimator cannot tell apart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from bintally.evaluation.bootstrap import Array, Figure, Finalise, GroupBootstrap, divide, ratio

Counts = npt.NDArray[np.int64]

# Cross entropy is -ln(max(p, this)): a model that gave the truth no chance loses 16.1, not infinity.
PROBABILITY_FLOOR = 1e-7
CALIBRATION_BINS = 15
_DRAWS, _CHUNK = 2000, 250  # of what chance alone makes; so many at a time
_UNLIKELY = 0.975  # share of them


class MetricName(StrEnum):
    """What can be measured."""

    ACCURACY = "accuracy"
    WITHIN_ONE = "within_one"
    MAE = "mae"
    RMSE = "rmse"
    CROSS_ENTROPY = "cross_entropy"
    RPS = "rps"
    ECE = "ece"


class ScopeName(StrEnum):
    """Over which photos, and with which counts to choose from."""

    FIVE_RESTRICTED = "1-5 restricted"
    FIVE = "1-5"
    ZERO_TO_FIVE_RESTRICTED = "0-5 restricted"
    ZERO_TO_FIVE = "0-5"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Photos whose true count is low..high; where `restricted`, predictions may only be low..high too."""

    name: ScopeName
    low: int
    high: int | None
    restricted: bool

    def defined_for(self, last_count: int) -> bool:
        """Whether an estimator with this K tells the scope's counts apart."""
        return self.high is None or last_count >= self.high

    def holds(self, counts: Counts) -> npt.NDArray[np.bool_]:
        """Which of the true counts int[N] are in it: bool[N]."""
        return (counts >= self.low) & (counts <= (counts if self.high is None else self.high))


SCOPES = (
    Scope(name=ScopeName.FIVE_RESTRICTED, low=1, high=5, restricted=True),
    Scope(name=ScopeName.FIVE, low=1, high=5, restricted=False),
    Scope(name=ScopeName.ZERO_TO_FIVE_RESTRICTED, low=0, high=5, restricted=True),
    Scope(name=ScopeName.ZERO_TO_FIVE, low=0, high=5, restricted=False),
    Scope(name=ScopeName.ALL, low=0, high=None, restricted=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Photos of one scope with what was believed of them.

    Attributes:
        probabilities: float64[M,C] over counts first..first+C-1; the last one or more where not restricted.
        counts: int64[M], the true counts.
        first: the count of column 0.
    """

    probabilities: Array
    counts: Counts
    first: int = 0

    @property
    def truths(self) -> Counts:
        """Columns of the true counts, int64[M]; those above the last class lie in it."""
        return np.asarray(np.minimum(self.counts - self.first, self.probabilities.shape[1] - 1), dtype=np.int64)

    @property
    def predicted(self) -> Counts:
        """The most probable counts, int64[M]."""
        return np.asarray(self.probabilities.argmax(axis=1) + self.first, dtype=np.int64)

    @property
    def hits(self) -> npt.NDArray[np.bool_]:
        """Where the prediction is the true class: bool[M]."""
        return np.asarray(self.predicted - self.first == self.truths, dtype=np.bool_)

    @property
    def confidence(self) -> Array:
        """The prediction's probability, float64[M]."""
        return np.asarray(self.probabilities.max(axis=1), dtype=np.float64)

    @property
    def p_true(self) -> Array:
        """The true class's probability, float64[M]."""
        return self.probabilities[np.arange(len(self.counts)), self.truths]

    @property
    def photos_at_floor(self) -> int:
        """How many photos' cross entropy is that of `PROBABILITY_FLOOR`, not their own."""
        return int((self.p_true <= PROBABILITY_FLOOR).sum())


def restrict(probabilities: Array, low: int, high: int) -> Array:
    """Columns low..high of float64[N,K+1], renormalised; even where nothing was believed there.

    >>> restrict(np.array([[0.5, 0.1, 0.4], [1.0, 0.0, 0.0]]), 1, 2)
    array([[0.2, 0.8],
           [0.5, 0.5]])
    """
    kept = probabilities[:, low : high + 1]
    total = kept.sum(axis=1, keepdims=True)
    return np.where(total > 0, kept / np.where(total > 0, total, 1.0), 1.0 / kept.shape[1])


def pool(probabilities: Array, last_count: int) -> Array:
    """The same beliefs with a smaller K: everything from `last_count` on in the last entry.

    >>> pool(np.array([[0.5, 0.25, 0.125, 0.125]]), 1)
    array([[0.5, 0.5]])
    """
    if not 1 <= last_count < probabilities.shape[1]:
        raise ValueError(f"expected a last count of 1..{probabilities.shape[1] - 1}, got {last_count}")
    tail = probabilities[:, last_count:].sum(axis=1, keepdims=True)
    return np.concatenate([probabilities[:, :last_count], tail], axis=1)


def score(scope: Scope, probabilities: Array, counts: Counts) -> Scored:
    """The photos of `scope`, out of probabilities float64[N,K+1] and true counts int64[N]."""
    held = scope.holds(counts)
    chosen, true = probabilities[held], counts[held]
    if scope.restricted and scope.high is not None:
        return Scored(probabilities=restrict(chosen, scope.low, scope.high), counts=true, first=scope.low)
    return Scored(probabilities=chosen, counts=true)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric: per-photo statistics float64[M,d], whose sums `finalise` turns into its value.

    Attributes:
        by_chance: for one that noise alone makes larger than 0: the values, float64[R], that an estimator would show
            which is as sure and perfect by construction.
    """

    name: MetricName
    higher_is_better: bool
    statistics: Callable[[Scored], Array]
    finalise: Finalise = ratio
    by_chance: Callable[[Scored], Array] | None = None


def _per_photo(values: npt.NDArray[np.generic]) -> Array:
    """A value per photo, [M], beside a 1: float64[M,2], the statistics of a mean."""
    return np.stack([values.astype(np.float64), np.ones(len(values))], axis=1)


def _accuracy(scored: Scored) -> Array:
    return _per_photo(scored.hits)


def _within_one(scored: Scored) -> Array:
    # A hit in the last class ("K or more") counts however large the true count is.
    return _per_photo(scored.hits | (np.abs(scored.predicted - scored.counts) <= 1))


def _absolute_error(scored: Scored) -> Array:
    return _per_photo(np.abs(scored.predicted - scored.counts))


def _squared_error(scored: Scored) -> Array:
    return _per_photo((scored.predicted - scored.counts) ** 2)


def _cross_entropy(scored: Scored) -> Array:
    return _per_photo(-np.log(np.maximum(scored.p_true, PROBABILITY_FLOOR)))


def _ranked_probability(scored: Scored) -> Array:
    # Epstein 1969, as a sum over counts, not divided by C-1: in items, and the absolute error of a sure prediction.
    believed = scored.probabilities.cumsum(axis=1)[:, :-1]
    true = np.arange(scored.probabilities.shape[1] - 1) >= scored.truths[:, np.newaxis]
    return _per_photo(((believed - true) ** 2).sum(axis=1))


def calibration_bins(confidence: Array) -> Counts:
    """The bin, 0..14, of each confidence float64[M]: 15 of equal mass, equal confidences together (so maybe fewer).

    Equal mass as in Nixon et al. 2019, "Measuring calibration in deep learning", section 3.2.
    """
    if not len(confidence):
        return np.zeros(0, dtype=np.int64)
    edges = np.quantile(confidence, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1])
    return np.searchsorted(edges, confidence, side="right").astype(np.int64)


def _calibration(scored: Scored) -> Array:
    one_hot = np.eye(CALIBRATION_BINS)[calibration_bins(scored.confidence)]
    gap = scored.confidence - scored.hits
    return np.concatenate([one_hot * gap[:, np.newaxis], np.ones((len(gap), 1))], axis=1)


def _calibration_error(sums: Array) -> Array:
    # Expected calibration error (Naeini et al. 2015): |confidence - accuracy| per bin, weighted by its photos.
    return divide(np.abs(sums[..., :-1]).sum(axis=-1), sums[..., -1])


def calibration_by_chance(scored: Scored) -> Array:
    """Calibration errors, float64[R], of estimators that are as sure of as many photos, and right just as often.

    Each photo is a draw of its own: that siblings are alike is left out.
    """
    one_hot = np.eye(CALIBRATION_BINS)[calibration_bins(scored.confidence)]
    random = np.random.default_rng(0)
    found = []
    for _ in range(0, _DRAWS, _CHUNK):
        hits = random.random((_CHUNK, len(one_hot))) < scored.confidence
        found.append(np.abs((scored.confidence - hits) @ one_hot).sum(axis=1) / len(one_hot))
    return np.concatenate(found)


def _root(sums: Array) -> Array:
    return np.sqrt(ratio(sums))


METRICS = (
    Metric(name=MetricName.ACCURACY, higher_is_better=True, statistics=_accuracy),
    Metric(name=MetricName.WITHIN_ONE, higher_is_better=True, statistics=_within_one),
    Metric(name=MetricName.MAE, higher_is_better=False, statistics=_absolute_error),
    Metric(name=MetricName.RMSE, higher_is_better=False, statistics=_squared_error, finalise=_root),
    Metric(name=MetricName.CROSS_ENTROPY, higher_is_better=False, statistics=_cross_entropy),
    Metric(name=MetricName.RPS, higher_is_better=False, statistics=_ranked_probability),
    Metric(
        name=MetricName.ECE,
        higher_is_better=False,
        statistics=_calibration,
        finalise=_calibration_error,
        by_chance=calibration_by_chance,
    ),
)
METRIC = {metric.name: metric for metric in METRICS}
SCOPE = {scope.name: scope for scope in SCOPES}


def statistics_over(metric: Metric, scope: Scope, probabilities: Array, counts: Counts) -> Array:
    """A metric's statistics for all photos, float64[N,d]; zero outside the scope, so one draw of groups serves all."""
    inside = metric.statistics(score(scope, probabilities, counts))
    everywhere = np.zeros((len(counts), inside.shape[1]))
    everywhere[scope.holds(counts)] = inside
    return everywhere


def measure(scope: Scope, probabilities: Array, counts: Counts, bootstrap: GroupBootstrap) -> dict[MetricName, Figure]:
    """Every metric over one scope, with 95 % intervals.

    That of a metric with `by_chance` begins at 0 unless its value is above 97.5 % of what chance makes, else at the
    value less what resampling adds to it; its end is that of the resampled values, which lie too high if anything.

    Args:
        scope: which photos, and which counts to choose from.
        probabilities: float64[N,K+1], rows sum to 1.
        counts: int64[N], the true counts.
        bootstrap: over the groups of the same N photos.

    Raises:
        ValueError: if K is too small for the scope, or no photo is in it.
    """
    if not scope.defined_for(probabilities.shape[1] - 1):
        raise ValueError(f"scope {scope.name}: expected K >= {scope.high}, got {probabilities.shape[1] - 1}")
    found: dict[MetricName, Figure] = {}
    for metric in METRICS:
        figure = bootstrap.figure(statistics_over(metric, scope, probabilities, counts), metric.finalise)
        if metric.by_chance is not None:
            chance = float(np.quantile(metric.by_chance(score(scope, probabilities, counts)), _UNLIKELY))
            low = 0.0 if figure.value <= chance else max(0.0, 2 * figure.value - figure.high)
            figure = Figure(value=figure.value, low=low, high=max(figure.value, figure.high))
        found[metric.name] = figure
    return found
