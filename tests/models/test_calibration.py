"""Temperatures: found again where known, and never worse than none."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from bintally.models.calibration import fit_temperature


def simulated(temperature: float, photos: int = 20_000, classes: int = 6) -> tuple[Tensor, Tensor]:
    """Logits that are `temperature` times those which the true classes were drawn from."""
    random = torch.Generator().manual_seed(0)
    honest = torch.randn(photos, classes, generator=random) * 2
    drawn = torch.multinomial(torch.softmax(honest, dim=1), 1, generator=random).squeeze(1)
    return honest * temperature, drawn


def loss(logits: Tensor, classes: Tensor, temperature: float) -> float:
    return float(functional.cross_entropy(logits.double() / temperature, classes))


@pytest.mark.parametrize("temperature", [0.25, 0.7, 1.0, 1.5, 4.0, 12.0])
def test_a_known_temperature_is_found_again(temperature: float) -> None:
    assert fit_temperature(*simulated(temperature)) == pytest.approx(temperature, rel=0.03)


def test_two_classes_by_hand() -> None:
    """Three of four right with logits 4 and 0: sigmoid(4 / T) = 3/4, so T = 4 / ln 3."""
    found = fit_temperature(torch.tensor([[4.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1]))
    assert found == pytest.approx(4 / math.log(3), abs=1e-3)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 6), st.floats(-3, 4))
def test_the_loss_never_gets_worse(seed: int, photos: int, classes: int, log_scale: float) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(photos, classes, generator=random) * 10**log_scale
    labels = torch.randint(0, classes, (photos,), generator=random)
    temperature = fit_temperature(logits, labels)
    assert 0.05 <= temperature <= 20
    before, after = (loss(logits, labels, t) for t in (1.0, temperature))
    assert after <= before + 1e-6 * max(1, before)


@pytest.mark.parametrize(
    ("logits", "bounds"),
    [(torch.eye(3) * 5, (0.05, 0.5)), (-torch.eye(3) * 5, (19, 20)), (torch.zeros(3, 3), (0.05, 20))],
    ids=["all right", "all wrong", "nothing said"],
)
def test_extremes_stay_within_bounds(logits: Tensor, bounds: tuple[float, float]) -> None:
    assert bounds[0] <= fit_temperature(logits, torch.arange(3)) <= bounds[1]


def test_nothing_to_fit_on() -> None:
    with pytest.raises(ValueError, match="at least one photo"):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))


def test_the_logits_are_left_alone() -> None:
    logits, classes = simulated(2.0, photos=50)
    before = logits.clone()
    fit_temperature(logits, classes)
    assert torch.equal(logits, before)
    assert not logits.requires_grad
