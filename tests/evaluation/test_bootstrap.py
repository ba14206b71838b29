import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.evaluation.bootstrap import GroupBootstrap, ratio


def means(values):
    values = np.asarray(values, dtype=np.float64)
    return np.stack([values, np.ones(len(values))], axis=1)


def width(figure):
    return figure.high - figure.low


def test_interval_of_independent_photos_is_the_textbook_one():
    hits = np.tile([1.0, 0.0], 200)
    figure = GroupBootstrap([str(i) for i in range(400)]).figure(means(hits), ratio)
    assert figure.value == 0.5
    assert width(figure) == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 400), rel=0.08)


def test_siblings_that_agree_widen_the_interval():
    hits = np.repeat(np.random.default_rng(0).integers(0, 2, 200), 2)
    by_photo = GroupBootstrap([str(i) for i in range(400)]).figure(means(hits), ratio)
    by_group = GroupBootstrap([str(i // 2) for i in range(400)]).figure(means(hits), ratio)
    assert by_group.value == by_photo.value
    assert width(by_group) == pytest.approx(np.sqrt(2) * width(by_photo), rel=0.1)


def test_intervals_by_group_hold_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(7)
    groups = [str(i // 3) for i in range(240)]
    held = {"group": 0, "photo": 0}
    for seed in range(200):
        hits = np.repeat(rng.random(80) < 0.4, 3)
        for name, used in (("group", groups), ("photo", [str(i) for i in range(240)])):
            figure = GroupBootstrap(used, resamples=300, seed=seed).figure(means(hits), ratio)
            held[name] += figure.low <= 0.4 <= figure.high
    assert 0.90 <= held["group"] / 200 <= 0.99
    assert held["photo"] / 200 < 0.85


def test_order_of_photos_and_names_of_groups_do_not_matter_to_sums():
    statistics = np.arange(12.0).reshape(6, 2)
    groups = ["a", "a", "b", "b", "c", "c"]
    shuffled = np.array([3, 0, 5, 1, 4, 2])
    one = GroupBootstrap(groups, resamples=50, seed=3).sums(statistics)
    two = GroupBootstrap([groups[i] for i in shuffled], resamples=50, seed=3).sums(statistics[shuffled])
    np.testing.assert_allclose(one, two)


def test_same_seed_same_draws_and_another_seed_others():
    statistics = means(np.arange(30.0))
    groups = [str(i) for i in range(30)]
    first, again, other = (GroupBootstrap(groups, resamples=20, seed=s).sums(statistics) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40), st.integers(0, 1000))
def test_whole_groups_are_drawn_as_many_as_there_are(groups, seed):
    one_per_group = np.array([[1.0 / groups.count(group)] for group in groups])
    sums = GroupBootstrap(groups, resamples=300, seed=seed).sums(one_per_group)
    np.testing.assert_allclose(sums, len(set(groups)))


def test_photos_without_a_group_are_refused():
    with pytest.raises(ValueError, match="expected a sibling group for each photo"):
        GroupBootstrap(["a", None])


@pytest.mark.parametrize(("groups", "resamples"), [([], 10), (["a"], 0)], ids=["no photos", "no resamples"])
def test_nothing_to_draw_is_refused(groups, resamples):
    with pytest.raises(ValueError, match="expected photos and resamples"):
        GroupBootstrap(groups, resamples=resamples)


def test_statistics_of_other_photos_are_refused():
    with pytest.raises(ValueError, match=r"expected statistics \[2,d\]"):
        GroupBootstrap(["a", "b"]).sums(np.ones((3, 1)))


def test_an_undefined_value_is_refused():
    with pytest.raises(ValueError, match="expected a value that is defined"):
        GroupBootstrap(["a"]).figure(np.zeros((1, 2)), ratio)
