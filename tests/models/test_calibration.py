"""Temperatures and biases: found again where known, and never worse than none."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from bintally.models.calibration import Calibration, fit_calibration


def simulated(temperature: float, photos: int = 20_000, classes: int = 6) -> tuple[Tensor, Tensor]:
    """Logits that are `temperature` times those which the true classes were drawn from."""
    random = torch.Generator().manual_seed(0)
    honest = torch.randn(photos, classes, generator=random) * 2
    drawn = torch.multinomial(torch.softmax(honest, dim=1), 1, generator=random).squeeze(1)
    return honest * temperature, drawn


def loss(logits: Tensor, classes: Tensor, calibration: Calibration) -> float:
    return float(functional.cross_entropy(calibration(logits.double()), classes))


@pytest.mark.parametrize("temperature", [0.25, 0.7, 1.0, 1.5, 4.0, 12.0])
def test_a_known_temperature_is_found_again(temperature: float) -> None:
    """And no biases, where there are none."""
    alone, found = (fit_calibration(*simulated(temperature), bias_sd=sd) for sd in (0, 0.25))  # 20,000 photos
    assert alone.temperature == pytest.approx(temperature, rel=0.03)
    assert alone.biases == ()
    assert found.temperature == pytest.approx(temperature, rel=0.03)
    assert found.biases == pytest.approx([0] * 6, abs=0.06)


def test_known_biases_are_found_again() -> None:
    logits, classes = simulated(1.5)
    shift = torch.tensor([0.0, 0.4, -0.3, 0.2, 0.0, -0.3])
    found = fit_calibration(logits - 1.5 * shift, classes)
    assert found.temperature == pytest.approx(1.5, rel=0.03)
    assert found.biases == pytest.approx(shift.tolist(), abs=0.06)


def test_few_photos_move_biases_little() -> None:
    logits, classes = simulated(1.0, photos=12)
    assert max(map(abs, fit_calibration(logits, classes).biases)) < 0.25
    assert max(map(abs, fit_calibration(logits, classes, bias_sd=5).biases)) > 0.5


def test_a_hundred_right_answers_make_nothing_certain() -> None:
    """Of a network that is right 99 times in 100 and says so: without a prior some temperatures nearly vanish."""
    random = torch.Generator().manual_seed(1)
    found, unheld = [], []
    for _ in range(10):
        logits = torch.randn(100, 5, generator=random)
        logits[torch.arange(100), torch.randint(0, 5, (100,), generator=random)] += 7.5
        classes = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
        found.append(fit_calibration(logits, classes).temperature)
        unheld.append(fit_calibration(logits, classes, temperature_sd=math.inf).temperature)
    assert 0.7 < min(found) < max(found) < 1.4
    assert min(unheld) < 0.2


def test_the_mean_probability_comes_to_how_often_a_class_is_there() -> None:
    """What soft labels smear over a frequent count's neighbours goes back to it."""
    classes = torch.cat([torch.full((3000,), 1), torch.full((500,), 0), torch.full((500,), 2)])
    smeared = torch.tensor([[0.25, 0.5, 0.25]]).log().expand(4000, 3)
    found = fit_calibration(smeared, classes)
    before, after = (functional.softmax(each, dim=1).mean(dim=0)[1] for each in (smeared, found(smeared)))
    assert before == pytest.approx(0.5)
    assert after == pytest.approx(0.75, abs=0.01)


def test_two_classes_by_hand() -> None:
    """Three of four right with logits 4 and 0: sigmoid(4 / T) = 3/4, so T = 4 / ln 3."""
    found = fit_calibration(
        torch.tensor([[4.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1]), bias_sd=0, temperature_sd=math.inf
    )
    assert found.temperature == pytest.approx(4 / math.log(3), abs=1e-3)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 6), st.floats(-3, 4), st.sampled_from([0, 0.25]))
def test_the_loss_never_gets_worse(seed: int, photos: int, classes: int, log_scale: float, bias_sd: float) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(photos, classes, generator=random) * 10**log_scale
    labels = torch.randint(0, classes, (photos,), generator=random)
    found = fit_calibration(logits, labels, bias_sd=bias_sd)
    assert 0.05 <= found.temperature <= 20
    before, after = (loss(logits, labels, each) for each in (Calibration(), found))
    assert after <= before + 1e-6 * max(1, before)


@pytest.mark.parametrize(
    ("logits", "unheld"),
    [(torch.eye(3) * 5, (0.05, 0.5)), (-torch.eye(3) * 5, (19, 20)), (torch.zeros(3, 3), (1, 1))],
    ids=["all right", "all wrong", "nothing said"],
)
def test_extremes_stay_within_bounds(logits: Tensor, unheld: tuple[float, float]) -> None:
    assert unheld[0] <= fit_calibration(logits, torch.arange(3), temperature_sd=math.inf).temperature <= unheld[1]
    assert 0.5 < fit_calibration(logits, torch.arange(3)).temperature < 4


def test_nothing_to_fit_on() -> None:
    with pytest.raises(ValueError, match="at least one photo"):
        fit_calibration(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))


def test_the_logits_are_left_alone() -> None:
    logits, classes = simulated(2.0, photos=50)
    before = logits.clone()
    fit_calibration(logits, classes)
    assert torch.equal(logits, before)
    assert not logits.requires_grad
