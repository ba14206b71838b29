from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.estimator_contract import EstimatorContract
from tests.small_dataset import draw_photo, make_dataset

from bintally.data.manifest import Split
from bintally.domain.classes import CountClasses
from bintally.errors import ManifestError, PhotoError, SettingsError, SplitError
from bintally.evaluation.evaluate import evaluate
from bintally.evaluation.metrics import MetricName, ScopeName
from bintally.models.baselines import CuesBaseline, MajorityBaseline, PriorBaseline, cues, fit_baselines

EVERY = CountClasses(low=0, high=6, open_ended=True)
FIVE = CountClasses(low=1, high=5, open_ended=False)
LABELS = [count % 9 for count in range(180)]
PHOTOS = [draw_photo(count, seed) for seed, count in enumerate(LABELS)]


@pytest.fixture(scope="module")
def fitted():
    return {
        (name, classes): fit(classes)
        for classes in (EVERY, FIVE)
        for name, fit in (
            ("majority", lambda classes: MajorityBaseline.fit(LABELS, classes)),
            ("prior", lambda classes: PriorBaseline.fit(LABELS, classes)),
            ("cues", lambda classes: CuesBaseline.fit(PHOTOS, LABELS, classes)),
        )
    }


class TestContract(EstimatorContract):
    @pytest.fixture(
        params=[(name, classes) for classes in (EVERY, FIVE) for name in ("majority", "prior", "cues")],
        ids=lambda param: f"{param[0]}-{'every' if param[1].open_ended else 'five'}",
    )
    def estimator(self, request, fitted):
        assert fitted[request.param].name == request.param[0]
        return fitted[request.param]


def row(estimator):
    return estimator.predict([draw_photo(1)])[0]


def test_majority_gives_its_training_share_to_the_most_frequent_count():
    np.testing.assert_allclose(
        row(MajorityBaseline.fit([3, 3, 3, 1, 2], EVERY)), [0.4 / 6] * 3 + [0.6] + [0.4 / 6] * 3, rtol=1e-6
    )


def test_majority_of_one_count_only_still_leaves_a_chance_to_the_others():
    probabilities = row(MajorityBaseline.fit([2] * 50, EVERY))
    assert probabilities.argmax() == 2
    assert (probabilities > 0).all()


def test_prior_is_the_training_frequency_with_one_added_and_k_or_more_pooled():
    probabilities = row(PriorBaseline.fit([0, 2, 2, 6, 9, 80], EVERY))
    np.testing.assert_allclose(probabilities, np.array([2, 1, 3, 1, 1, 1, 4]) / 13, rtol=1e-6)


def test_prior_of_the_five_class_task_sees_and_says_only_those_counts():
    probabilities = row(PriorBaseline.fit([0, 0, 0, 1, 2, 2, 9], FIVE))
    np.testing.assert_allclose(probabilities, np.array([0, 2, 3, 1, 1, 1, 0]) / 8, rtol=1e-6)


@pytest.mark.parametrize("name", ["majority", "prior", "cues"])
def test_known_counts_are_honoured(fitted, name):
    estimator = fitted[name, FIVE]
    answers = estimator.predict(PHOTOS[:9])
    assert estimator.last_count == 6
    assert (answers[:, [0, 6]] == 0).all()
    assert (answers[:, 1:6] > 0).all()


@pytest.mark.parametrize("name", ["majority", "prior", "cues"])
def test_no_count_of_the_task_is_impossible(fitted, name):
    assert (fitted[name, EVERY].predict(PHOTOS[:9]) > 0).all()


@pytest.mark.parametrize("fit", [MajorityBaseline.fit, PriorBaseline.fit])
def test_nothing_to_learn_from_is_an_error(fit):
    with pytest.raises(SplitError, match="counts 1-5, but none of 2"):
        fit([0, 9], FIVE)


def test_cues_are_size_sides_and_brightness_and_nothing_else():
    photo = draw_photo(3, kind="PNG")
    found = cues(photo)
    assert found[:3].tolist() == [len(photo), 64, 48]
    assert cues(draw_photo(0, kind="PNG"))[3:] == pytest.approx([40.0, 0.0])
    assert found[3] > 40
    with pytest.raises(PhotoError):
        cues(b"text")


def test_cues_learn_what_cues_give_away(fitted):
    fresh = [draw_photo(count, 10_000 + count) for count in (0, 8)]
    answers = fitted["cues", EVERY].predict(fresh)
    assert answers[0].argmax() == 0
    assert answers[1].argmax() == 6


def test_cues_keep_rare_counts_at_their_smoothed_share():
    labels = [1] * 40 + [2] * 40 + [5] * 3
    photos = [draw_photo(count, seed) for seed, count in enumerate(labels)]
    prior = row(PriorBaseline.fit(labels, EVERY))
    answers = CuesBaseline.fit(photos, labels, EVERY).predict(photos[:4])
    rare = [0, 3, 4, 5, 6]
    np.testing.assert_allclose(answers[:, rare], np.tile(prior[rare], (4, 1)), rtol=1e-5)


def test_cues_with_too_few_photos_are_the_prior():
    labels = [1, 1, 2, 3]
    few = CuesBaseline.fit([draw_photo(count) for count in labels], labels, EVERY)
    np.testing.assert_array_equal(few.predict(PHOTOS[:2])[0], row(PriorBaseline.fit(labels, EVERY)))


def test_the_same_seed_gives_the_same_cues(fitted):
    again = CuesBaseline.fit(PHOTOS, LABELS, EVERY)
    np.testing.assert_array_equal(again.predict(PHOTOS[:5]), fitted["cues", EVERY].predict(PHOTOS[:5]))


def test_fitting_to_a_manifest_reads_the_training_split_only(tmp_path):
    manifest = make_dataset(tmp_path / "bins", [count % 9 for count in range(96)])
    for split in (Split.VAL, Split.CALIBRATION, Split.TEST):
        for key in manifest.usable(split)["photo_key"]:
            (manifest.root / key).unlink()
    seen = []
    majority, prior, cues_baseline = fit_baselines(manifest, EVERY, progress=lambda *args: seen.append(args))
    train = manifest.usable(Split.TRAIN)
    assert seen[-1] == (train.height, train.height)
    labels = train["count"].to_list()
    assert [e.name for e in (majority, prior, cues_baseline)] == ["majority", "prior", "cues"]
    np.testing.assert_array_equal(row(prior), row(PriorBaseline.fit(labels, EVERY)))


def test_photos_with_an_excluded_flag_are_not_learned_from(tmp_path):
    manifest = make_dataset(tmp_path / "bins", [count % 9 for count in range(96)])
    many = pl.col("count") > 4
    flags = pl.when(many).then(pl.lit(["dark"])).otherwise("flags")
    manifest = replace(manifest, frame=manifest.frame.with_columns(flags=flags))
    for key in manifest.frame.filter(many)["photo_key"]:
        (manifest.root / key).unlink()
    labels = manifest.usable(Split.TRAIN, ["dark"])["count"].to_list()
    _, prior, _ = fit_baselines(manifest, EVERY, excluded=["dark"])
    np.testing.assert_array_equal(row(prior), row(PriorBaseline.fit(labels, EVERY)))
    with pytest.raises(ManifestError, match="cannot be read"):
        fit_baselines(manifest, EVERY)
    with pytest.raises(SettingsError, match="'dim'"):
        fit_baselines(manifest, EVERY, excluded=["dim"])


def test_a_broken_training_photo_is_named_and_left_out_and_a_missing_one_is_an_error(tmp_path, caplog):
    manifest = make_dataset(tmp_path / "bins", [count % 9 for count in range(96)])
    one, other = manifest.usable(Split.TRAIN)["photo_key"][:2]
    (manifest.root / one).write_bytes(b"text")
    fit_baselines(manifest, EVERY)
    assert one in caplog.text
    (manifest.root / other).unlink()
    with pytest.raises(ManifestError, match=other):
        fit_baselines(manifest, EVERY)


def test_the_prior_loses_less_than_the_majority_on_what_both_were_fitted_to(tmp_path):
    manifest = make_dataset(tmp_path / "bins", [min(count % 9, 5) for count in range(192)])
    losses = [
        evaluate(e, manifest, splits=[Split.TRAIN], resamples=10)
        .figure(Split.TRAIN, ScopeName.ALL, MetricName.CROSS_ENTROPY)
        .value
        for e in fit_baselines(manifest, EVERY)
    ]
    assert losses[1] < losses[0]
