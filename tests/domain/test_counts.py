"""What a distribution says, on cases done by hand and on whatever hypothesis finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.domain.counts import CountDistribution

weights = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=16).filter(lambda values: sum(values) > 0.01)
distributions = weights.map(lambda values: CountDistribution(np.array(values) / sum(values)))
levels = st.floats(0.01, 0.99)


# Construction


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        pytest.param([], "K >= 1", id="empty"),
        pytest.param([1.0], "K >= 1", id="one count only"),
        pytest.param([[0.5, 0.5], [0.5, 0.5]], "shape", id="a batch"),
        pytest.param([0.5, float("nan")], "finite", id="nan"),
        pytest.param([0.5, float("inf")], "finite", id="infinite"),
        pytest.param([1.5, -0.5], "0 or more", id="negative"),
        pytest.param([0.5, 0.4], "sum to 1, got 0.9", id="sums to less"),
        pytest.param([0.0, 0.0], "sum to 1, got 0.0", id="all zero"),
        pytest.param([3.0, -1.0, 2.0], "0 or more", id="logits"),
    ],
)
def test_what_is_no_distribution_is_refused(probabilities: list, message: str):
    with pytest.raises(ValueError, match=message):
        CountDistribution(probabilities)


def test_rounding_of_float32_is_evened_out():
    distribution = CountDistribution(np.array([0.3333, 0.3333, 0.3333, -1e-6], np.float32))
    assert distribution.probabilities.dtype == np.float64
    assert distribution.probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert distribution.probabilities.min() == 0.0


def test_the_callers_array_stays_the_callers():
    given_array = np.array([0.25, 0.75])
    distribution = CountDistribution(given_array)
    given_array[0] = 1.0
    assert distribution.probabilities[0] == 0.25


def test_probabilities_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        CountDistribution([0.5, 0.5]).probabilities[0] = 1.0


def test_equal_distributions_are_equal_and_hash_alike():
    a, b, other = CountDistribution([0.5, 0.5]), CountDistribution([0.5, 0.5]), CountDistribution([0.4, 0.6])
    assert a == b
    assert hash(a) == hash(b)
    assert a != other
    assert a != CountDistribution([0.5, 0.5, 0.0])
    assert a != "0.5 0.5"


# What it says


@pytest.mark.parametrize(
    ("probabilities", "mode", "mean"),
    [
        pytest.param([1.0, 0.0], 0, 0.0, id="surely empty"),
        pytest.param([0.0, 0.0, 1.0], 2, 2.0, id="surely K or more"),
        pytest.param([0.4, 0.4, 0.2], 0, 0.8, id="a tie goes to the lower count"),
        pytest.param([0.1, 0.2, 0.3, 0.4], 3, 2.0, id="K or more most probable"),
    ],
)
def test_mode_and_mean(probabilities: list[float], mode: int, mean: float):
    distribution = CountDistribution(probabilities)
    assert distribution.mode == mode
    assert distribution.mean == pytest.approx(mean)
    assert distribution.last_count == len(probabilities) - 1


FOUR = CountDistribution([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    ("count", "below", "of", "above"),
    [
        pytest.param(-1, 0.0, 0.0, 1.0, id="negative"),
        pytest.param(0, 0.0, 0.1, 0.9, id="zero"),
        pytest.param(1, 0.1, 0.2, 0.7, id="one"),
        pytest.param(2, 0.3, 0.3, 0.4, id="last that is told apart"),
        pytest.param(3, 0.6, 0.0, 0.0, id="K: K or more says nothing of K"),
        pytest.param(4, 0.6, 0.0, 0.0, id="above K"),
        pytest.param(99, 0.6, 0.0, 0.0, id="far above K"),
    ],
)
def test_probabilities_of_below_and_above(count: int, below: float, of: float, above: float):
    assert FOUR.probability_below(count) == pytest.approx(below)
    assert FOUR.probability_of(count) == pytest.approx(of)
    assert FOUR.probability_above(count) == pytest.approx(above)


@given(distributions, st.integers(-2, 20))
def test_below_of_and_above_add_up_where_counts_are_told_apart(distribution: CountDistribution, count: int):
    total = (
        distribution.probability_below(count)
        + distribution.probability_of(count)
        + distribution.probability_above(count)
    )
    if count < distribution.last_count:
        assert total == pytest.approx(1.0)
    else:
        assert total == pytest.approx(1.0 - distribution.probabilities[-1])


# Intervals


@pytest.mark.parametrize(
    ("probabilities", "level", "interval"),
    [
        pytest.param([0.0, 0.0, 1.0, 0.0], 0.9, (2, 2), id="sure"),
        pytest.param([0.0, 0.1, 0.6, 0.3], 0.8, (2, 3), id="two counts"),
        pytest.param([0.25, 0.25, 0.25, 0.25], 0.9, (0, 3), id="no idea"),
        pytest.param([0.5, 0.0, 0.0, 0.5], 0.9, (0, 3), id="two far apart need all between"),
        pytest.param([0.5, 0.5, 0.0], 0.5, (0, 0), id="exactly the level; the lower of two alike"),
        pytest.param([1 / 3, 1 / 3, 1 / 3], 0.3, (0, 0), id="three alike: the lowest, as the mode"),
        pytest.param([0.1] * 10, 0.25, (0, 2), id="ten alike, three needed: the lowest"),
        pytest.param([0.1, 0.3, 0.1, 0.5], 0.35, (3, 3), id="of equally short ones the most probable"),
    ],
)
def test_the_interval(probabilities: list[float], level: float, interval: tuple[int, int]):
    assert CountDistribution(probabilities).interval(level) == interval


@given(distributions, levels)
def test_the_interval_holds_its_level_and_none_is_shorter(distribution: CountDistribution, level: float):
    low, high = distribution.interval(level)
    masses = distribution.probabilities
    assert 0 <= low <= high <= distribution.last_count
    assert masses[low : high + 1].sum() >= level - 1e-9
    width = high - low + 1
    same = [masses[i : i + width].sum() for i in range(masses.size - width + 1)]
    assert masses[low : high + 1].sum() == pytest.approx(max(same))
    shorter = [masses[i : i + width - 1].sum() for i in range(masses.size - width + 2)]
    assert width == 1 or max(shorter) < level + 1e-9


@given(distributions, levels, levels)
def test_a_higher_level_never_narrows_the_interval(distribution: CountDistribution, one: float, other: float):
    narrow, wide = (distribution.interval(level) for level in sorted((one, other)))
    assert narrow[1] - narrow[0] <= wide[1] - wide[0]


@given(distributions)
def test_one_count_is_interval_enough_where_it_suffices(distribution: CountDistribution):
    best = float(distribution.probabilities.max())
    low, high = distribution.interval(best * 0.999)
    assert low == high
    assert distribution.probabilities[low] == pytest.approx(best)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 1.1, float("nan")])
def test_a_level_that_is_no_share_is_refused(level: float):
    with pytest.raises(ValueError, match="level between 0 and 1"):
        FOUR.interval(level)
