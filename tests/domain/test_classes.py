"""Classes and counts, there and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.domain.classes import CountClasses
from bintally.domain.counts import CountDistribution

FIVE = CountClasses(low=1, high=5, open_ended=False)
EVERY = CountClasses(low=0, high=5, open_ended=True)
ranges = st.builds(
    lambda low, more, open_ended: CountClasses(low=low, high=low + more, open_ended=open_ended),
    st.integers(0, 20),
    st.integers(1, 30),
    st.booleans(),
)


@pytest.mark.parametrize(("low", "high"), [(-1, 3), (3, 3), (5, 1)])
def test_what_is_no_range_is_refused(low: int, high: int) -> None:
    with pytest.raises(ValueError, match="low < high"):
        CountClasses(low=low, high=high, open_ended=True)


def test_closed_classes_end_one_below_k() -> None:
    assert (FIVE.size, FIVE.last_count, FIVE.known_counts) == (5, 6, (1, 5))


def test_open_ended_classes_end_at_k() -> None:
    assert (EVERY.size, EVERY.last_count, EVERY.known_counts) == (6, 5, (0, None))


@pytest.mark.parametrize(
    ("classes", "counts", "encoded"),
    [
        (FIVE, [0, 1, 3, 5, 6, 200], [-1, 0, 2, 4, -1, -1]),
        (EVERY, [0, 1, 4, 5, 6, 200], [0, 1, 4, 5, 5, 5]),
        (CountClasses(low=2, high=4, open_ended=True), [0, 1, 2, 4, 9], [-1, -1, 0, 2, 2]),
        (EVERY, [], []),
    ],
    ids=["closed", "open-ended clips", "open-ended from 2", "none"],
)
def test_counts_become_classes(classes: CountClasses, counts: list[int], encoded: list[int]) -> None:
    found = classes.encode(np.array(counts, dtype=np.int32))
    assert found.dtype == np.int64
    assert found.tolist() == encoded


def test_closed_one_to_five_has_zeros_at_zero_and_six() -> None:
    counts = FIVE.expand(np.array([[0.1, 0.2, 0.3, 0.4, 0.0]]))
    assert counts.dtype == np.float32
    np.testing.assert_allclose(counts, [[0, 0.1, 0.2, 0.3, 0.4, 0.0, 0]], rtol=1e-6)
    assert counts[0, 0] == counts[0, 6] == 0


def test_open_ended_probabilities_stay_where_they_are() -> None:
    row = np.full((2, 6), 1 / 6, dtype=np.float32)
    np.testing.assert_array_equal(EVERY.expand(row), row)


@pytest.mark.parametrize("shape", [(5,), (2, 4), (2, 6), (1, 2, 5)])
def test_probabilities_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[N,5\]"):
        FIVE.expand(np.ones(shape))


@given(ranges, st.lists(st.integers(0, 80), min_size=1, max_size=20))
def test_a_sure_class_is_the_most_probable_count(classes: CountClasses, counts: list[int]) -> None:
    encoded = classes.encode(np.array(counts))
    for count, index in zip(counts, encoded, strict=True):
        known = classes.low <= count and (classes.open_ended or count <= classes.high)
        assert (index >= 0) == known
        if known:
            (row,) = classes.expand(np.eye(classes.size)[[index]])
            distribution = CountDistribution(row)
            assert distribution.last_count == classes.last_count
            assert distribution.mode == min(count, classes.last_count)
