import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.small_dataset import KnowingEstimator, make_dataset, sure_of

from bintally.data.manifest import Flag, Split
from bintally.domain.verdicts import Policy
from bintally.errors import CheckpointError, ManifestError, SettingsError
from bintally.evaluation.evaluate import evaluate
from bintally.evaluation.metrics import MetricName, ScopeName
from bintally.evaluation.results import (
    Curves,
    Evaluation,
    PopulationName,
    read_curves,
    read_evaluation,
    write_evaluation,
)

COUNTS = [count % 9 for count in range(96)]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("evaluate") / "bins", COUNTS)


@pytest.fixture(scope="module")
def evaluation(manifest):
    """Right about every count but 3, which it takes for 4."""
    estimator = KnowingEstimator(manifest, lambda count: sure_of(4 if count == 3 else count))
    return evaluate(estimator, manifest, resamples=200, policy=Policy(clear_at=0.6, flag_at=0.9))


def test_it_holds_what_was_measured_on_what(evaluation, manifest):
    assert evaluation.estimator == "knowing"
    assert evaluation.last_count == 6
    assert evaluation.provenance.split_hash == manifest.split_hash
    assert evaluation.provenance.content_hash == manifest.content_hash
    assert [result.split for result in evaluation.splits] == [Split.TRAIN, Split.VAL, Split.TEST]
    for result in evaluation.splits:
        rows = manifest.usable(result.split)
        assert (result.photos, result.groups) == (rows.height, rows["group"].n_unique())
    assert [row.photo_id for row in evaluation.predictions] == manifest.usable(Split.TEST)["photo_id"].to_list()


def test_scores_are_those_of_the_answers(evaluation, manifest):
    counts = manifest.usable(Split.TEST)["count"]
    right = (counts != 3).mean()
    assert evaluation.figure(Split.TEST, ScopeName.ALL, MetricName.ACCURACY).value == pytest.approx(right)
    five = counts.filter(counts.is_between(1, 5))
    figure = evaluation.figure(Split.TEST, ScopeName.FIVE_RESTRICTED, MetricName.ACCURACY)
    assert figure.value == pytest.approx((five != 3).mean())
    assert figure.low < figure.value < figure.high
    assert evaluation.split(Split.TEST).scope(ScopeName.FIVE).photos == len(five)
    # 7 and 8 are told as "6 or more": one and two off
    errors = [{3: 1, 7: 1, 8: 2}.get(count, 0) for count in counts]
    assert evaluation.figure(Split.TEST, ScopeName.ALL, MetricName.MAE).value == pytest.approx(np.mean(errors))


def test_details_agree_with_each_other(evaluation):
    confusion = np.array(evaluation.confusion)
    counts = evaluation.counts
    assert confusion.sum() == len(evaluation.predictions)
    assert confusion[3, 4] == (counts == 3).sum()
    assert confusion[6, 6] == (counts >= 6).sum()
    per_count = {row.count: row for row in evaluation.per_count}
    assert per_count[3].accuracy.value == 0.0
    assert per_count[3].within_one.value == 1.0
    assert per_count[3].mean_predicted == 4.0
    assert per_count[6].photos == (counts >= 6).sum()
    assert sum(row.photos for row in evaluation.per_count) == len(counts)
    assert sum(entry.photos for entry in evaluation.reliability) == len(counts)


def test_mistakes_come_surest_first_and_are_mistakes(manifest):
    estimator = KnowingEstimator(manifest, lambda count: sure_of(count - 1 if count else 1, share=0.5 + count / 20))
    evaluation = evaluate(estimator, manifest, splits=[Split.TEST], resamples=10)
    mistakes = evaluation.most_confident_mistakes(5)
    assert len(mistakes) == 5
    assert not any(row.is_right for row in mistakes)
    assert [row.confidence for row in mistakes] == sorted((row.confidence for row in mistakes), reverse=True)
    # 7 and 8 are told as 6 or more, which is right: the surest mistake is about 6
    assert mistakes[0].count == 6


def test_verification_follows_the_definitions(evaluation):
    counts = evaluation.counts
    right = evaluation.verification.population(PopulationName.RIGHT)
    wrong = evaluation.verification.population(PopulationName.OFF_BY_ONE)
    assert right.pairs == len(counts)
    assert wrong.pairs == 2 * len(counts) - (counts == 0).sum()
    # 90 % sure of a count below 6: cleared; 3 is taken for 4 and flagged; from 6 on a right record is left to a person
    assert right.cleared.value == pytest.approx(((counts < 6) & (counts != 3)).mean())
    assert evaluation.verification.false_alarm.value == pytest.approx((counts == 3).mean())
    assert evaluation.verification.missed_mismatch.value == pytest.approx((counts == 3).sum() / wrong.pairs)
    assert right.coverage.value == pytest.approx(right.cleared.value + right.flagged.value)


def test_a_stricter_policy_sends_everything_to_a_person(manifest):
    estimator = KnowingEstimator(manifest, sure_of)
    policy = Policy(clear_at=1.0, flag_at=1.0)
    verification = evaluate(estimator, manifest, splits=[Split.TEST], resamples=10, policy=policy).verification
    assert verification.clear_at == 1.0
    assert all(result.coverage.value == 0 for result in verification.populations)


def test_a_five_class_model_never_decides_about_other_counts(manifest):
    def belief(count):
        return [0.0, *sure_of(min(max(count, 1), 5) - 1, last_count=4), 0.0]

    five = evaluate(
        KnowingEstimator(manifest, belief), manifest, splits=[Split.TEST], resamples=10, known_counts=(1, 5)
    )
    counts = five.counts
    assert five.figure(Split.TEST, ScopeName.FIVE_RESTRICTED, MetricName.ACCURACY).value == 1.0
    at_floor = five.split(Split.TEST).scope(ScopeName.ALL).photos_at_floor
    assert at_floor == ((counts == 0) | (counts > 5)).sum()
    inside = ((counts >= 1) & (counts <= 5)).mean()
    assert five.verification.population(PopulationName.RIGHT).coverage.value == pytest.approx(inside)


def test_scopes_that_a_small_k_cannot_tell_apart_are_left_out(manifest):
    estimator = KnowingEstimator(manifest, lambda count: sure_of(count, last_count=3), last_count=3)
    result = evaluate(estimator, manifest, splits=[Split.TEST], resamples=10).split(Split.TEST)
    assert [scope.scope for scope in result.scopes] == [ScopeName.ALL]


def test_batches_and_progress(manifest):
    estimator, seen = KnowingEstimator(manifest, sure_of), []
    evaluate(
        estimator, manifest, splits=[Split.TEST], resamples=10, batch_size=10, progress=lambda *args: seen.append(args)
    )
    photos = manifest.usable(Split.TEST).height
    assert max(estimator.batch_sizes) == 10
    assert sum(estimator.batch_sizes) == photos
    assert seen[-1] == (Split.TEST, photos, photos)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_batch_size_changes_no_figure(manifest):
    estimator = KnowingEstimator(manifest, sure_of)
    one, two = (evaluate(estimator, manifest, resamples=10, batch_size=size) for size in (3, 64))
    assert one == two


def test_training_photos_can_be_limited_and_others_not(manifest):
    estimator = KnowingEstimator(manifest, sure_of)
    result = evaluate(estimator, manifest, resamples=10, max_train_photos=7)
    assert result.split(Split.TRAIN).photos == 7
    assert result.split(Split.TEST).photos == manifest.usable(Split.TEST).height


def test_the_last_split_is_looked_at_in_detail_so_test_can_stay_unread(manifest):
    result = evaluate(KnowingEstimator(manifest, sure_of), manifest, splits=[Split.TRAIN, Split.VAL], resamples=10)
    assert result.detail_split is Split.VAL
    assert result.split(Split.TEST) is None
    assert result.figure(Split.TEST, ScopeName.ALL, MetricName.MAE) is None
    assert len(result.predictions) == manifest.usable(Split.VAL).height


def test_unlabelled_photos_and_bad_photos_are_in_no_figure(tmp_path):
    manifest = make_dataset(tmp_path / "bins", [None if i % 5 == 0 else i % 4 for i in range(48)])
    bad = manifest.usable(Split.TEST)["photo_id"][0]
    flags = pl.when(pl.col("photo_id") == bad).then(pl.lit([Flag.BAD_PHOTO.value])).otherwise(pl.col("flags"))
    manifest = replace(manifest, frame=manifest.frame.with_columns(flags=flags))
    result = evaluate(KnowingEstimator(manifest, sure_of), manifest, splits=[Split.TEST], resamples=10)
    known = manifest.frame.filter(pl.col("split") == "test", pl.col("count").is_not_null(), pl.col("photo_id") != bad)
    assert [row.photo_id for row in result.predictions] == known["photo_id"].to_list()


@pytest.mark.parametrize(
    ("excluded", "left_out"),
    [(["dark"], (True, True, False)), ([], (False, False, False))],
    ids=["excluded", "not excluded"],
)
def test_excluded_flags_keep_photos_out_of_all_but_test(tmp_path, excluded, left_out):
    manifest = make_dataset(tmp_path / "bins", [i % 4 for i in range(96)])
    splits = [Split.TRAIN, Split.VAL, Split.TEST]
    dark = [manifest.usable(split)["photo_id"][0] for split in splits]
    flags = pl.when(pl.col("photo_id").is_in(dark)).then(pl.lit(["dark"])).otherwise("flags")
    changed = replace(manifest, frame=manifest.frame.with_columns(flags=flags))
    result = evaluate(KnowingEstimator(manifest, sure_of), changed, splits=splits, resamples=10, excluded=excluded)
    fewer = tuple(result.split(split).photos < manifest.usable(split).height for split in splits)
    assert fewer == left_out
    assert result.provenance.excluded_flags == tuple(excluded)
    assert Evaluation.model_validate_json(result.model_dump_json()) == result


def test_an_unknown_flag_is_refused_before_a_photo_is_read(manifest):
    estimator = KnowingEstimator(manifest, sure_of)
    with pytest.raises(SettingsError, match="'dim'"):
        evaluate(estimator, manifest, excluded=["dim"])
    assert estimator.batch_sizes == []


def test_evaluations_from_before_recipes_said_so_left_out_contradictions_only(evaluation):
    old = json.loads(evaluation.model_dump_json())
    del old["provenance"]["excluded_flags"]
    assert Evaluation.model_validate(old).provenance.excluded_flags == ("total-mismatch",)


def test_a_photo_that_cannot_be_read_is_named_and_the_rest_is_measured(tmp_path, caplog):
    manifest = make_dataset(tmp_path / "bins", [i % 4 for i in range(48)])
    estimator = KnowingEstimator(manifest, sure_of)
    rows = manifest.usable(Split.TEST)
    path = manifest.root / rows["photo_key"][3]
    path.write_bytes(path.read_bytes()[:300])
    result = evaluate(estimator, manifest, splits=[Split.TEST], resamples=10)
    assert [photo.photo_id for photo in result.split(Split.TEST).unreadable] == [rows["photo_id"][3]]
    assert len(result.predictions) == rows.height - 1
    assert result.figure(Split.TEST, ScopeName.ALL, MetricName.ACCURACY).value == 1.0
    assert rows["photo_id"][3] in caplog.text


def test_a_split_of_unreadable_photos_is_an_error(tmp_path):
    manifest = make_dataset(tmp_path / "bins", [i % 4 for i in range(48)])
    estimator = KnowingEstimator(manifest, sure_of)
    for key in manifest.usable(Split.TEST)["photo_key"]:
        (manifest.root / key).write_bytes(b"text")
    with pytest.raises(ManifestError, match="no photo of the test split can be read"):
        evaluate(estimator, manifest, splits=[Split.TEST], resamples=10)


def test_a_missing_photo_is_an_error_that_names_it(tmp_path):
    manifest = make_dataset(tmp_path / "bins", [i % 4 for i in range(48)])
    estimator = KnowingEstimator(manifest, sure_of)
    key = manifest.usable(Split.TEST)["photo_key"][0]
    (manifest.root / key).unlink()
    with pytest.raises(ManifestError, match=key):
        evaluate(estimator, manifest, splits=[Split.TEST], resamples=10)


def test_no_splits_yet_is_an_error_that_says_how_to_make_them(tmp_path):
    manifest = make_dataset(tmp_path / "bins", [1, 2, 3, 4], salt="")
    with pytest.raises(ManifestError, match="bintally split"):
        evaluate(KnowingEstimator(manifest, sure_of), manifest, resamples=10)


@pytest.mark.parametrize(
    ("belief", "message"),
    [
        (lambda _: [0.1] * 7, "rows of probabilities that sum to 1"),
        (lambda _: [1.5, -0.5, 0, 0, 0, 0, 0], "rows of probabilities that sum to 1"),
        (lambda _: [float("nan")] * 7, "rows of probabilities that sum to 1"),
    ],
    ids=["sum", "negative", "nan"],
)
def test_answers_that_are_no_distributions_are_refused(manifest, belief, message):
    with pytest.raises(ValueError, match=message):
        evaluate(KnowingEstimator(manifest, belief), manifest, splits=[Split.TEST], resamples=10)


def test_json_comes_back_equal_and_repeats_itself(evaluation, tmp_path):
    path = write_evaluation(evaluation, tmp_path)
    assert path == tmp_path / "evaluation.json"
    back = read_evaluation(tmp_path)
    assert back == evaluation
    assert write_evaluation(back, tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["again.json", "evaluation.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not an evaluation"),
        ('{"format_version": 2}', "format_version"),
        ("{}", "not an evaluation of format version 1"),
    ],
)
def test_what_is_no_evaluation_is_refused(tmp_path, text, message):
    path = tmp_path / "evaluation.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_evaluation(path)


def test_a_missing_evaluation_is_an_error_that_says_how_to_make_one(tmp_path):
    with pytest.raises(CheckpointError, match="bintally evaluate"):
        read_evaluation(tmp_path)


def test_curves_come_from_a_run_and_stay_with_the_figures(manifest, tmp_path):
    path = tmp_path / "curves.csv"
    path.write_text("epoch,train_loss,train_accuracy,val_loss,val_accuracy\n1,2.0,0.2,2.1,0.1\n2,1.5,0.4,1.7,0.3\n")
    curves = read_curves(path)
    assert curves == Curves(
        epoch=(1, 2),
        train_loss=(2.0, 1.5),
        train_accuracy=(0.2, 0.4),
        val_loss=(2.1, 1.7),
        val_accuracy=(0.1, 0.3),
    )
    result = evaluate(KnowingEstimator(manifest, sure_of), manifest, splits=[Split.TEST], resamples=10, curves=curves)
    assert Evaluation.model_validate_json(result.model_dump_json()).curves == curves


@pytest.mark.parametrize(
    "text", ["epoch,train_loss\n1,2\n", "epoch,train_loss,train_accuracy,val_loss,val_accuracy\n1,low,0,1,1\n"]
)
def test_damaged_curves_are_refused(tmp_path, text):
    path = tmp_path / "curves.csv"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=r"curves\.csv: expected"):
        read_curves(path)


def test_curves_end_where_a_run_diverged(tmp_path):
    path = tmp_path / "curves.csv"
    rows = ["1,2.0,0.2,2.1,0.1", "2,1.5,0.4,inf,0.3", "3,1.4,0.4,1.6,0.3"]
    path.write_text("\n".join(["epoch,train_loss,train_accuracy,val_loss,val_accuracy", *rows]) + "\n")
    assert read_curves(path).epoch == (1,)
    assert read_curves(path).val_loss == (2.1,)


def test_measuring_needs_no_torch():
    code = (
        "import sys; import bintally.evaluation.evaluate, bintally.evaluation.report, bintally.evaluation.table, "
        "bintally.models.baselines; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
