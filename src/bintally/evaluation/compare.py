"""Is one estimator better than another? On the same photos, with the same draws of sibling groups.

Shapes: N photos; R resamples. Compared over the restricted scopes and over all counts; there, where the two have
different last counts, the greater K is pooled down to the smaller for accuracy and cross entropy (RMSE is
against the true count and needs no pooling).
Refuses evaluations of different photos, labels or splits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bintally.errors import CheckpointError
from bintally.evaluation.bootstrap import Array, Figure, GroupBootstrap, interval
from bintally.evaluation.metrics import METRIC, SCOPE, Metric, MetricName, Scope, ScopeName, pool, statistics_over
from bintally.evaluation.results import Evaluation

COMPARED_METRICS = (MetricName.ACCURACY, MetricName.CROSS_ENTROPY, MetricName.RMSE)
COMPARED_SCOPES = (ScopeName.FIVE_RESTRICTED, ScopeName.ZERO_TO_FIVE_RESTRICTED, ScopeName.ALL)
_POOLED_METRICS = (MetricName.ACCURACY, MetricName.CROSS_ENTROPY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric's difference, estimator minus benchmark, with its paired 95 % interval.

    Attributes:
        better_share: share of resamples in which the estimator is better; a tie counts half.
    """

    scope: ScopeName
    metric: MetricName
    difference: Figure
    better_share: float

    @property
    def is_better(self) -> bool | None:
        """Whether the interval lies wholly on one side: True better, False worse, None undecided."""
        higher = METRIC[self.metric].higher_is_better
        if self.difference.low > 0:
            return higher
        if self.difference.high < 0:
            return not higher
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An estimator against a benchmark. `last_count` is the K that both were judged at over all counts."""

    estimator: str
    benchmark: str
    last_count: int
    photos: int
    groups: int
    differences: tuple[Difference, ...]

    def difference(self, scope: ScopeName, metric: MetricName) -> Difference | None:
        """One difference; None where the scope is not defined for both."""
        return next((row for row in self.differences if row.scope is scope and row.metric is metric), None)


def check_comparable(evaluations: Sequence[Evaluation]) -> None:
    """Check that all evaluations are about the same photos, labels and splits.

    Raises:
        CheckpointError: naming the two that are not, or a name that two share.
    """
    names = [evaluation.estimator for evaluation in evaluations]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CheckpointError(f"expected evaluations of different names, but these stand there twice: {twice}")
    first, *others = evaluations
    for other in others:
        for what in ("split_hash", "content_hash"):
            one, two = getattr(first.provenance, what), getattr(other.provenance, what)
            if one != two:
                raise CheckpointError(
                    f"{first.estimator} and {other.estimator} were evaluated on different photos or splits: "
                    f"{what} {one} and {two}. Evaluate both on one manifest"
                )
        if _photos(first) != _photos(other):
            raise CheckpointError(
                f"{first.estimator} and {other.estimator} were evaluated in detail on different photos: "
                f"{len(first.predictions)} of {first.detail_split} and {len(other.predictions)} of {other.detail_split}"
            )


def compare(estimator: Evaluation, benchmark: Evaluation) -> Comparison:
    """Estimator minus benchmark on the photos of their detail split, with the estimator's seed and resamples.

    Raises:
        CheckpointError: if they are not about the same photos, labels and splits.
    """
    if estimator is not benchmark:
        check_comparable([estimator, benchmark])
    groups = [row.group for row in estimator.predictions]
    bootstrap = GroupBootstrap(groups, resamples=estimator.resamples, seed=estimator.seed)
    last_count = min(estimator.last_count, benchmark.last_count)
    counts = estimator.counts
    differences = [
        _difference(scope, METRIC[metric], estimator, benchmark, bootstrap)
        for scope in (SCOPE[name] for name in COMPARED_SCOPES)
        if scope.defined_for(last_count) and scope.holds(counts).any()
        for metric in COMPARED_METRICS
    ]
    return Comparison(
        estimator=estimator.estimator,
        benchmark=benchmark.estimator,
        last_count=last_count,
        photos=len(counts),
        groups=bootstrap.group_count,
        differences=tuple(differences),
    )


def _difference(
    scope: Scope, metric: Metric, estimator: Evaluation, benchmark: Evaluation, bootstrap: GroupBootstrap
) -> Difference:
    last_count = min(estimator.last_count, benchmark.last_count)
    pooled = scope.high is None and metric.name in _POOLED_METRICS
    values: list[float] = []
    samples: list[Array] = []
    for evaluation in (estimator, benchmark):
        probabilities = evaluation.probabilities
        if pooled and last_count < evaluation.last_count:
            probabilities = pool(probabilities, last_count)
        statistics = statistics_over(metric, scope, probabilities, evaluation.counts)
        values.append(float(metric.finalise(statistics.sum(axis=0))))
        samples.append(metric.finalise(bootstrap.sums(statistics)))
    change = samples[0] - samples[1]
    change = change[np.isfinite(change)]
    gain = change if metric.higher_is_better else -change
    return Difference(
        scope=scope.name,
        metric=metric.name,
        difference=interval(values[0] - values[1], change),
        better_share=float((gain > 0).mean() + (gain == 0).mean() / 2),
    )


def _photos(evaluation: Evaluation) -> list[tuple[str, int]]:
    return [(row.photo_id, row.count) for row in evaluation.predictions]
