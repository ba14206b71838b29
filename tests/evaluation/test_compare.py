import pytest
from tests.small_dataset import KnowingEstimator, make_dataset, sure_of

from bintally.data.manifest import Header, Manifest, Split
from bintally.errors import CheckpointError
from bintally.evaluation.compare import COMPARED_METRICS, COMPARED_SCOPES, check_comparable, compare
from bintally.evaluation.evaluate import evaluate
from bintally.evaluation.metrics import MetricName, ScopeName


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("compare") / "bins", [count % 9 for count in range(96)])


def measured(manifest, name, belief, *, last_count=6, split=Split.TEST):
    estimator = KnowingEstimator(manifest, belief, name=name, last_count=last_count)
    return evaluate(estimator, manifest, splits=[split], resamples=200)


@pytest.fixture(scope="module")
def good(manifest):
    return measured(manifest, "good", sure_of)


@pytest.fixture(scope="module")
def poor(manifest):
    return measured(manifest, "poor", lambda count: sure_of(4 if count in {2, 3} else count, share=0.6))


def test_the_better_estimator_is_better_on_every_metric(good, poor):
    comparison = compare(good, poor)
    assert len(comparison.differences) == len(COMPARED_METRICS) * len(COMPARED_SCOPES)
    assert all(row.is_better is True and row.better_share > 0.95 for row in comparison.differences)
    backwards = compare(poor, good)
    for row in comparison.differences:
        other = backwards.difference(row.scope, row.metric)
        assert other.difference.value == pytest.approx(-row.difference.value)
        assert other.difference.low == pytest.approx(-row.difference.high)
        assert other.better_share == pytest.approx(1 - row.better_share)
        assert other.is_better is False


def test_differences_are_of_the_figures_that_stand_in_the_evaluations(good, poor):
    for row in compare(good, poor).differences:
        one, two = (e.figure(Split.TEST, row.scope, row.metric).value for e in (good, poor))
        assert row.difference.value == pytest.approx(one - two)


def test_pairing_makes_the_interval_narrower_than_the_two_apart(manifest, good):
    nearly = measured(manifest, "nearly", lambda count: sure_of(4 if count == 2 else count))
    nearer = measured(manifest, "nearer", lambda count: sure_of(5 if count == 2 else count, share=0.8))
    row = compare(nearly, nearer).difference(ScopeName.ALL, MetricName.ACCURACY)
    alone = nearly.figure(Split.TEST, ScopeName.ALL, MetricName.ACCURACY)
    assert row.difference.value == row.difference.low == row.difference.high == 0
    assert alone.high - alone.low > 0.1


def test_an_estimator_ties_with_itself(good):
    for row in compare(good, good).differences:
        assert row.difference.value == 0
        assert row.better_share == 0.5
        assert row.is_better is None


def test_a_greater_k_is_pooled_down_over_all_counts(manifest, good):
    # It tells 6, 7 and 8 apart, which cannot count against one that only says "6 or more".
    finer = measured(manifest, "finer", lambda count: sure_of(count, last_count=9), last_count=9)
    comparison = compare(finer, good)
    assert comparison.last_count == 6
    assert comparison.difference(ScopeName.ALL, MetricName.ACCURACY).difference.value == 0
    # RMSE is against the true count and not pooled: there the finer one is better.
    assert comparison.difference(ScopeName.ALL, MetricName.RMSE).is_better is True


def test_what_does_not_compare_is_refused(manifest, good, tmp_path):
    with pytest.raises(CheckpointError, match="stand there twice"):
        check_comparable([good, good])
    on_val = measured(manifest, "val", sure_of, split=Split.VAL)
    with pytest.raises(CheckpointError, match="different photos"):
        compare(on_val, good)
    counts = [count % 9 for count in range(96)]
    counts[0] = 5
    relabelled = make_dataset(tmp_path / "other", counts)
    with pytest.raises(CheckpointError, match="content_hash"):
        compare(measured(relabelled, "other", sure_of), good)
    swap = {"train": "test", "test": "train"}
    frame = manifest.frame.with_columns(split=manifest.frame["split"].replace(swap))
    resplit = Manifest(frame=frame, root=manifest.root, header=Header(source="tests", salt="other"))
    with pytest.raises(CheckpointError, match="split_hash"):
        compare(measured(resplit, "resplit", sure_of), good)
