import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.evaluation.bootstrap import GroupBootstrap
from bintally.evaluation.metrics import (
    METRIC,
    PROBABILITY_FLOOR,
    SCOPE,
    SCOPES,
    MetricName,
    ScopeName,
    calibration_bins,
    measure,
    pool,
    restrict,
    score,
    statistics_over,
)

# K = 6. Three photos: right and sure; wrong by two; 6 or more, with 9 in the bin.
BELIEFS = np.array(
    [
        [0.0, 0.0, 0.8, 0.2, 0.0, 0.0, 0.0],
        [0.1, 0.1, 0.1, 0.1, 0.1, 0.3, 0.2],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5],
    ]
)
COUNTS = np.array([2, 3, 9])


def value(metric, scope, probabilities=BELIEFS, counts=COUNTS):
    found = METRIC[metric]
    return float(found.finalise(statistics_over(found, SCOPE[scope], probabilities, counts).sum(axis=0)))


@pytest.mark.parametrize(
    ("metric", "scope", "expected"),
    [
        # predictions: 2, 5, 5 (the lower of two that tie)
        (MetricName.ACCURACY, ScopeName.ALL, 1 / 3),
        (MetricName.WITHIN_ONE, ScopeName.ALL, 1 / 3),
        (MetricName.MAE, ScopeName.ALL, (0 + 2 + 4) / 3),
        (MetricName.RMSE, ScopeName.ALL, math.sqrt((0 + 4 + 16) / 3)),
        (MetricName.CROSS_ENTROPY, ScopeName.ALL, -(math.log(0.8) + math.log(0.1) + math.log(0.5)) / 3),
        # cumulative beliefs minus the step at the truth, squared and summed
        (
            MetricName.RPS,
            ScopeName.ALL,
            (0.2**2 + (0.1**2 + 0.2**2 + 0.3**2 + 0.6**2 + 0.5**2 + 0.2**2) + 0.5**2) / 3,
        ),
        # each photo in a bin of its own or with its like: |0.8-1|, |0.3-0|, |0.5-0|
        (MetricName.ECE, ScopeName.ALL, (0.2 + 0.3 + 0.5) / 3),
        (MetricName.ACCURACY, ScopeName.FIVE, 1 / 2),
        (MetricName.MAE, ScopeName.FIVE, 1.0),
        (MetricName.CROSS_ENTROPY, ScopeName.FIVE, -(math.log(0.8) + math.log(0.1)) / 2),
        (MetricName.CROSS_ENTROPY, ScopeName.FIVE_RESTRICTED, -(math.log(0.8) + math.log(0.1 / 0.7)) / 2),
        (MetricName.CROSS_ENTROPY, ScopeName.ZERO_TO_FIVE_RESTRICTED, -(math.log(0.8) + math.log(0.1 / 0.8)) / 2),
        (
            MetricName.RPS,
            ScopeName.FIVE_RESTRICTED,
            (0.2**2 + (1 / 7) ** 2 + (2 / 7) ** 2 + (4 / 7) ** 2 + (3 / 7) ** 2) / 2,
        ),
    ],
)
def test_values_computed_by_hand(metric, scope, expected):
    assert value(metric, scope) == pytest.approx(expected)


def test_restriction_changes_the_prediction_to_the_most_probable_allowed_count():
    beliefs = np.array([[0.5, 0.1, 0.15, 0.05, 0.0, 0.0, 0.2]])
    counts = np.array([2])
    assert score(SCOPE[ScopeName.FIVE], beliefs, counts).predicted.tolist() == [0]
    assert score(SCOPE[ScopeName.FIVE_RESTRICTED], beliefs, counts).predicted.tolist() == [2]
    assert value(MetricName.ACCURACY, ScopeName.FIVE_RESTRICTED, beliefs, counts) == 1.0
    assert value(MetricName.ACCURACY, ScopeName.FIVE, beliefs, counts) == 0.0


def test_a_prediction_of_k_or_more_is_right_however_many_there_are_but_its_error_is_not_pooled():
    beliefs, counts = np.array([[0.0, 0.0, 1.0]]), np.array([20])
    assert value(MetricName.ACCURACY, ScopeName.ALL, beliefs, counts) == 1.0
    assert value(MetricName.WITHIN_ONE, ScopeName.ALL, beliefs, counts) == 1.0
    assert value(MetricName.MAE, ScopeName.ALL, beliefs, counts) == 18.0


def test_one_below_k_is_not_within_one_of_a_count_far_above_it():
    beliefs, counts = np.array([[0.0, 1.0, 0.0]] * 2), np.array([2, 20])
    assert value(MetricName.WITHIN_ONE, ScopeName.ALL, beliefs, counts) == 0.5


def test_the_published_constant_baseline():
    # shared/abid/README.md: always "3" on the published list has accuracy 25.5 %, MAE 1.042, RMSE 1.279
    counts = np.repeat([1, 2, 3, 4, 5], [1228, 2299, 2666, 2373, 1875])
    beliefs = np.tile([0.0, 0.1, 0.2, 0.4, 0.2, 0.1, 0.0], (len(counts), 1))
    assert value(MetricName.ACCURACY, ScopeName.FIVE_RESTRICTED, beliefs, counts) == pytest.approx(0.255, abs=5e-4)
    assert value(MetricName.MAE, ScopeName.FIVE_RESTRICTED, beliefs, counts) == pytest.approx(1.042, abs=5e-4)
    assert value(MetricName.RMSE, ScopeName.FIVE_RESTRICTED, beliefs, counts) == pytest.approx(1.279, abs=5e-4)


def test_no_chance_for_the_truth_costs_the_floor_and_is_reported():
    beliefs, counts = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([1, 1])
    assert score(SCOPE[ScopeName.ALL], beliefs, counts).photos_at_floor == 1
    expected = -(math.log(PROBABILITY_FLOOR) + math.log(0.5)) / 2
    assert value(MetricName.CROSS_ENTROPY, ScopeName.ALL, beliefs, counts) == pytest.approx(expected)


def test_restriction_to_counts_that_were_given_no_chance_is_even():
    np.testing.assert_allclose(restrict(np.array([[1.0, 0, 0, 0, 0, 0, 0]]), 1, 5), [[0.2] * 5])


def test_photos_outside_a_scope_have_no_part_in_it():
    statistics = statistics_over(METRIC[MetricName.MAE], SCOPE[ScopeName.FIVE], BELIEFS, COUNTS)
    assert statistics.tolist() == [[0, 1], [2, 1], [0, 0]]


@pytest.mark.parametrize("last_count", [4, 3, 1])
def test_a_scope_that_the_estimator_cannot_tell_apart_is_refused(last_count):
    beliefs = np.full((2, last_count + 1), 1 / (last_count + 1))
    with pytest.raises(ValueError, match="expected K >= 5"):
        measure(SCOPE[ScopeName.FIVE], beliefs, np.array([1, 2]), GroupBootstrap(["a", "b"], resamples=5))


def test_calibration_bins_have_equal_mass_and_keep_equals_together():
    sizes = np.bincount(calibration_bins(np.random.default_rng(0).random(1500)))
    assert len(sizes) == 15
    assert sizes.min() >= 99
    assert len(np.unique(calibration_bins(np.full(100, 0.3)))) == 1
    assert calibration_bins(np.zeros(0)).shape == (0,)


def test_calibration_error_of_a_constant_is_its_distance_from_the_truth():
    beliefs = np.tile([0.7, 0.3], (100, 1))
    counts = np.repeat([0, 1], [40, 60])
    assert value(MetricName.ECE, ScopeName.ALL, beliefs, counts) == pytest.approx(0.3)


@pytest.mark.parametrize(("sharper", "least"), [(1.0, 0.9), (1.6, 0.9)], ids=["calibrated", "too sure"])
def test_the_interval_of_the_calibration_error_holds_the_true_one(sharper: float, least: float):
    """In 95 % of samples, of which 60 are drawn; the true error is 0, or what 100,000 photos show."""

    def sample(photos: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        about = np.arange(6) - rng.uniform(0.5, 4.5, (photos, 1))
        honest = np.exp(-(about**2) / 2.4)
        honest /= honest.sum(axis=1, keepdims=True)
        counts = (honest.cumsum(axis=1) < rng.random((photos, 1))).sum(axis=1).clip(max=5)
        said = honest**sharper
        return said / said.sum(axis=1, keepdims=True), counts

    true = 0.0 if sharper == 1 else value(MetricName.ECE, ScopeName.ALL, *sample(100_000, 999))
    bootstrap = GroupBootstrap([str(i) for i in range(600)], resamples=200)
    held = 0
    for seed in range(60):
        figure = measure(SCOPE[ScopeName.ALL], *sample(600, seed), bootstrap)[MetricName.ECE]
        assert figure.low <= figure.value <= figure.high
        held += figure.low <= true <= figure.high
    assert held >= least * 60


def test_intervals_do_not_depend_on_which_other_scopes_are_measured():
    counts = np.arange(60) % 8
    rng = np.random.default_rng(2)
    beliefs = rng.dirichlet(np.ones(7), 60)
    groups = [str(i // 2) for i in range(60)]
    one = measure(SCOPE[ScopeName.FIVE], beliefs, counts, GroupBootstrap(groups, resamples=50))
    bootstrap = GroupBootstrap(groups, resamples=50)
    measure(SCOPE[ScopeName.ALL], beliefs, counts, bootstrap)
    assert measure(SCOPE[ScopeName.FIVE], beliefs, counts, bootstrap) == one


@st.composite
def judged(draw):
    photos, last_count = draw(st.integers(1, 12)), draw(st.integers(5, 9))
    weights = draw(
        st.lists(
            st.lists(st.integers(0, 5), min_size=last_count + 1, max_size=last_count + 1).filter(any),
            min_size=photos,
            max_size=photos,
        )
    )
    counts = draw(st.lists(st.integers(0, 14), min_size=photos, max_size=photos))
    table = np.array(weights, dtype=np.float64)
    return table / table.sum(axis=1, keepdims=True), np.array(counts)


@given(judged())
def test_invariants(case):
    beliefs, counts = case
    for scope in SCOPES:
        if not scope.holds(counts).any():
            continue
        found = {metric: value(metric, scope.name, beliefs, counts) for metric in MetricName}
        assert 0 <= found[MetricName.ACCURACY] <= found[MetricName.WITHIN_ONE] <= 1
        assert found[MetricName.MAE] <= found[MetricName.RMSE] + 1e-9
        assert 0 <= found[MetricName.CROSS_ENTROPY] <= -math.log(PROBABILITY_FLOOR) + 1e-9
        assert 0 <= found[MetricName.ECE] <= 1
        assert 0 <= found[MetricName.RPS] <= beliefs.shape[1] - 1


@given(judged())
def test_a_sure_and_right_estimator_is_perfect_and_a_sure_one_has_its_absolute_error_as_rps(case):
    beliefs, counts = case
    counts = np.minimum(counts, beliefs.shape[1] - 1)
    perfect = np.eye(beliefs.shape[1])[counts]
    for metric in MetricName:
        assert value(metric, ScopeName.ALL, perfect, counts) == (1.0 if METRIC[metric].higher_is_better else 0.0)
    sure = np.eye(beliefs.shape[1])[beliefs.argmax(axis=1)]
    assert value(MetricName.RPS, ScopeName.ALL, sure, counts) == pytest.approx(
        value(MetricName.MAE, ScopeName.ALL, sure, counts)
    )


@given(judged(), st.integers(1, 4))
def test_pooling_keeps_the_mass_and_what_lies_below(case, last_count):
    beliefs, _ = case
    pooled = pool(beliefs, last_count)
    np.testing.assert_allclose(pooled.sum(axis=1), 1)
    np.testing.assert_array_equal(pooled[:, :last_count], beliefs[:, :last_count])
