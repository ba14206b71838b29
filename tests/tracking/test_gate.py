"""The gate's rule, on intervals made up for it."""

from dataclasses import replace

import numpy as np
import pytest
from tests.small_dataset import KnowingEstimator, make_dataset, sure_of

from bintally.data.manifest import Manifest, Split
from bintally.errors import CheckpointError, SettingsError
from bintally.evaluation.evaluate import evaluate
from bintally.evaluation.results import Evaluation
from bintally.tracking.gate import Margins, Outcome, judge, judge_first


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_dataset(tmp_path_factory.mktemp("gate") / "data", [number % 5 for number in range(480)])


def measured(manifest: Manifest, name: str, *, right: float = 1.0, share: float = 0.9) -> Evaluation:
    """A model that is right on this share of the counts 0..4, by its photos' counts, and so sure of what it says."""
    told = KnowingEstimator(
        manifest, lambda count: sure_of(count if count < 5 * right else count + 1, share=share), name=name
    )
    found = evaluate(told, manifest, splits=(Split.TEST,), resamples=200)
    return found.model_copy(update={"estimator": name})


def test_the_same_is_promoted(manifest: Manifest) -> None:
    found = judge(measured(manifest, "new"), measured(manifest, "old"), Margins())
    assert found.outcome is Outcome.PROMOTED
    assert found.why == "not worse than old: accuracy +0.0 pts (+0.0 to +0.0); loss +0.000 (+0.000 to +0.000)"
    assert (found.photos, found.groups) == (180, 90)


def test_a_better_one_is_promoted_and_a_worse_one_is_not(manifest: Manifest) -> None:
    good, bad = measured(manifest, "good"), measured(manifest, "bad", right=0.6)
    assert judge(good, bad, Margins()).outcome is Outcome.PROMOTED
    found = judge(bad, good, Margins(accuracy=1.0, cross_entropy=9.0))
    assert found.outcome is Outcome.WORSE, "no margin excuses what is certainly worse"
    assert found.why.startswith("worse than good, in accuracy and loss: accuracy -")


def test_worse_in_loss_alone_is_worse(manifest: Manifest) -> None:
    found = judge(measured(manifest, "unsure", share=0.5), measured(manifest, "sure"), Margins())
    assert found.outcome is Outcome.WORSE
    assert "in loss: accuracy +0.0" in found.why


def noisy(evaluation: Evaluation, seed: int, share: float) -> Evaluation:
    """Another model that errs on other photos: on this share of them, drawn."""
    rng = np.random.default_rng(seed)
    rows = [
        row.model_copy(update={"probabilities": tuple(sure_of(row.count + 1)), "predicted": row.count + 1})
        if rng.random() < share
        else row
        for row in evaluation.predictions
    ]
    return evaluation.model_copy(update={"predictions": tuple(rows), "estimator": f"noisy {seed}"})


def test_what_too_few_photos_tell_is_undecided_until_the_margin_is_wider(manifest: Manifest) -> None:
    base = measured(manifest, "base")
    one, two = noisy(base, 1, 0.3), noisy(base, 2, 0.3)
    found = judge(one, two, Margins())
    assert found.outcome is Outcome.UNDECIDED
    assert "may be worse by more than 1.0 pts in accuracy and 0.020 in loss" in found.why
    assert judge(one, two, Margins(accuracy=0.2, cross_entropy=1.0)).outcome is Outcome.PROMOTED
    assert judge(one, two, Margins(accuracy=0.2)).outcome is Outcome.UNDECIDED, "both margins count"


def test_the_margin_itself_is_too_much(manifest: Manifest) -> None:
    accuracy, _ = judge(measured(manifest, "new"), measured(manifest, "old"), Margins()).checks
    low = accuracy.model_copy(update={"difference": replace(accuracy.difference, low=-0.01)})
    assert not low.is_within
    assert not low.is_worse
    assert low.model_copy(update={"margin": 0.011}).is_within


def test_the_first_champion_beats_the_prior(manifest: Manifest) -> None:
    prior = measured(manifest, "prior", right=0.2, share=1 / 7)
    assert judge_first(measured(manifest, "new"), prior).outcome is Outcome.PROMOTED
    same = judge_first(prior.model_copy(update={"estimator": "new"}), prior)
    assert same.outcome is Outcome.UNDECIDED
    assert same.why.startswith("no champion yet, and not shown to be better than the baseline prior")
    timid = measured(manifest, "prior", share=0.2)
    bold = judge_first(measured(manifest, "new", right=0.8), timid)
    assert bold.checks[1].is_better
    assert bold.outcome is Outcome.WORSE, "a lower loss does not make up for lower accuracy"
    bad = measured(manifest, "bad", right=0.0, share=0.99)
    assert judge_first(bad, prior).outcome is Outcome.WORSE


def test_evaluations_of_other_photos_do_not_compare(manifest: Manifest) -> None:
    one = measured(manifest, "one")
    other = one.model_copy(update={"estimator": "other", "predictions": one.predictions[:-1]})
    with pytest.raises(CheckpointError, match="different photos"):
        judge(one, other, Margins())


@pytest.mark.parametrize("margins", [{"accuracy": -0.01}, {"cross_entropy": float("nan")}, {"accuracy": float("inf")}])
def test_margins_that_cannot_be_meant(margins: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=r"--margin.*expected 0 or more"):
        Margins(**margins)
