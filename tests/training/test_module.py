"""One training step, by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_run import tiny_settings
from torch import Tensor, nn

from bintally.domain.classes import CountClasses
from bintally.models.checkpoint import build_network
from bintally.settings import OptimiserSettings
from bintally.training.module import CountModule, lr_factor, make_optimiser, soft_targets

CLASSES = CountClasses(low=0, high=3, open_ended=True)


def small_module(*changes: str) -> tuple[CountModule, dict[str, float]]:
    """A module of the course recipe (its head is a linear layer) and what it logs."""
    torch.manual_seed(0)
    settings = tiny_settings("model.pretrained=false", *changes, recipe="course")
    module = CountModule(build_network(settings, CLASSES), CLASSES, settings)
    logged: dict[str, float] = {}

    def log(name: str, value: Tensor | float, **_: object) -> None:
        logged[name] = float(value.detach() if isinstance(value, Tensor) else value)

    module.log = log  # type: ignore[method-assign,assignment]
    module.log_dict = lambda values, **_: [log(name, value) for name, value in values.items()]  # type: ignore[method-assign,assignment]
    return module.train(), logged


def batch() -> tuple[Tensor, Tensor]:
    photos = torch.randint(0, 256, (5, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return photos, torch.tensor([0, 1, 3, 3, 2])


def log_softmax(row: list[float]) -> list[float]:
    largest = max(row)
    norm = largest + math.log(sum(math.exp(value - largest) for value in row))
    return [value - norm for value in row]


def test_the_loss_is_the_cross_entropy_computed_by_hand() -> None:
    module, logged = small_module()
    photos, classes = batch()
    logits = module(photos).tolist()
    by_hand = -sum(log_softmax(row)[label] for row, label in zip(logits, classes.tolist(), strict=True)) / 5
    assert module.training_step((photos, classes), 0).item() == pytest.approx(by_hand, rel=1e-5)
    assert logged["loss"] == pytest.approx(by_hand, rel=1e-5)
    module.on_validation_epoch_end()
    assert logged["train_loss"] == pytest.approx(by_hand, rel=1e-5)
    hits = sum(row.index(max(row)) == label for row, label in zip(logits, classes.tolist(), strict=True))
    assert logged["train_accuracy"] == pytest.approx(hits / 5)


def test_soft_labels_change_the_loss_but_not_the_curves() -> None:
    module, logged = small_module("label_softness=0.8")
    photos, classes = batch()
    logits = module(photos).tolist()
    targets = soft_targets(classes, 4, 0.8).tolist()
    by_hand = 0.0
    for row, target in zip(logits, targets, strict=True):
        by_hand -= sum(t * p for t, p in zip(target, log_softmax(row), strict=True)) / 5
    hard = -sum(log_softmax(row)[label] for row, label in zip(logits, classes.tolist(), strict=True)) / 5
    assert module.training_step((photos, classes), 0).item() == pytest.approx(by_hand, rel=1e-5)
    module.on_validation_epoch_end()
    assert logged["train_loss"] == pytest.approx(hard, rel=1e-5)
    assert by_hand != pytest.approx(hard, rel=1e-3)


def test_the_curves_are_over_all_photos_of_an_epoch_and_of_no_other() -> None:
    module, logged = small_module()
    photos, classes = batch()
    parts = [(photos[:2], classes[:2]), (photos[2:], classes[2:])]
    for part in parts:
        module.training_step(part, 0)
    module.on_validation_epoch_end()
    losses = [nn.functional.cross_entropy(module(each), label, reduction="sum").item() for each, label in parts]
    assert logged["train_loss"] == pytest.approx(sum(losses) / 5, rel=1e-5)
    module.on_train_epoch_start()
    module.training_step(parts[0], 0)
    module.on_validation_epoch_end()
    assert logged["train_loss"] == pytest.approx(losses[0] / 2, rel=1e-5)


def test_validation_logs_hard_loss_and_accuracy() -> None:
    module, logged = small_module("label_softness=0.8")
    module.eval()
    photos, classes = batch()
    module.validation_step((photos, classes), 0)
    logits = module(photos)
    assert logged["val_loss"] == pytest.approx(nn.functional.cross_entropy(logits, classes).item())
    assert logged["val_accuracy"] == pytest.approx((logits.argmax(1) == classes).float().mean().item())


def test_one_step_of_sgd_on_a_linear_head_by_hand() -> None:
    """dL/dlogits = (softmax - one-hot) / N; dL/dW = dL/dlogits' x features; W := W - lr dL/dW."""
    module, _ = small_module("optimiser.name='sgd'", "optimiser.lr=0.5")
    photos, classes = batch()
    network = module.network
    features: list[Tensor] = []
    network.backbone.register_forward_hook(lambda _, __, output: features.append(output))
    weight, bias = network.head.weight.detach().clone(), network.head.bias.detach().clone()
    optimiser = make_optimiser(network, module.settings.optimiser)
    module.training_step((photos, classes), 0).backward()
    optimiser.step()
    error = (torch.softmax(features[0] @ weight.T + bias, 1) - torch.eye(4)[classes]) / 5
    torch.testing.assert_close(network.head.weight.detach(), weight - 0.5 * error.T @ features[0])
    torch.testing.assert_close(network.head.bias.detach(), bias - 0.5 * error.sum(0))
    assert (network.head.weight != weight).any()


def test_the_second_step_of_sgd_has_momentum() -> None:
    line = nn.Linear(1, 1, bias=False)
    nn.init.constant_(line.weight, 1.0)
    optimiser = make_optimiser(line, OptimiserSettings(name="sgd", lr=0.1))
    for _ in range(2):
        optimiser.zero_grad()
        (2 * line.weight).sum().backward()  # the gradient is 2
        optimiser.step()
    assert line.weight.item() == pytest.approx(1 - 0.1 * 2 - 0.1 * (2 + 0.9 * 2))


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_the_optimiser_is_the_one_named_and_spares_biases_and_norms(
    name: str, kind: type[torch.optim.Optimizer]
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    net[2].weight.requires_grad_(False)
    optimiser = make_optimiser(net, OptimiserSettings(name=name, lr=0.3, weight_decay=0.1))  # type: ignore[arg-type]
    assert type(optimiser) is kind
    decayed, spared = optimiser.param_groups
    assert (decayed["lr"], decayed["weight_decay"]) == (0.3, 0.1)
    assert (spared["lr"], spared["weight_decay"]) == (0.3, 0.0)
    assert [id(p) for p in decayed["params"]] == [id(net[0].weight)]
    assert {id(p) for p in spared["params"]} == {id(net[0].bias), id(net[1].weight), id(net[1].bias), id(net[2].bias)}


def test_a_frozen_backbone_is_none_of_the_optimisers_business() -> None:
    module, _ = small_module()
    optimiser = make_optimiser(module.network, module.settings.optimiser)
    held = [p for group in optimiser.param_groups for p in group["params"]]
    assert [id(p) for p in held] == [id(module.network.head.weight), id(module.network.head.bias)]


@pytest.mark.parametrize(
    ("true", "size", "softness", "targets"),
    [
        (1, 3, 0.0, [0, 1, 0]),
        (0, 2, 1.0, [1 / (1 + math.exp(-0.5)), math.exp(-0.5) / (1 + math.exp(-0.5))]),
        (1, 3, 1.0, [0.274069, 0.451863, 0.274069]),
        (0, 3, 0.5, [0.880537, 0.119168, 0.000295]),
        (2, 5, 0.6, [0.002566, 0.165525, 0.663820, 0.165525, 0.002566]),
    ],
)
def test_soft_targets_by_hand(true: int, size: int, softness: float, targets: list[float]) -> None:
    assert soft_targets(torch.tensor([true]), size, softness)[0].tolist() == pytest.approx(targets, abs=2e-5)


@given(st.integers(2, 30), st.floats(0.05, 5), st.data())
def test_soft_targets_sum_to_one_peak_at_the_truth_and_are_symmetric(
    size: int, softness: float, data: st.DataObject
) -> None:
    true = data.draw(st.integers(0, size - 1))
    (row,) = soft_targets(torch.tensor([true]), size, softness)
    assert row.sum().item() == pytest.approx(1, abs=1e-5)
    assert row.argmax().item() == true
    mirrored = soft_targets(torch.tensor([size - 1 - true]), size, softness)[0].flip(0)
    assert torch.allclose(row, mirrored, atol=1e-6)
    for step in range(1, min(true, size - 1 - true) + 1):
        assert row[true - step].item() == pytest.approx(row[true + step].item(), abs=1e-6)


@given(st.integers(2, 30), st.data())
def test_without_softness_targets_are_one_hot(size: int, data: st.DataObject) -> None:
    true = data.draw(st.integers(0, size - 1))
    assert torch.equal(soft_targets(torch.tensor([true]), size, 0.0)[0], torch.eye(size)[true])


WARM = OptimiserSettings(schedule="cosine", warmup_share=0.1)


@pytest.mark.parametrize(
    ("step", "settings", "factor"),
    [
        (0, OptimiserSettings(), 1.0),
        (99, OptimiserSettings(), 1.0),
        (0, OptimiserSettings(warmup_share=0.1), 0.1),
        (9, OptimiserSettings(warmup_share=0.1), 1.0),
        (50, OptimiserSettings(warmup_share=0.1), 1.0),
        (0, OptimiserSettings(schedule="cosine"), 1.0),
        (25, OptimiserSettings(schedule="cosine"), 0.5 * (1 + math.sqrt(0.5))),
        (50, OptimiserSettings(schedule="cosine"), 0.5),
        (100, OptimiserSettings(schedule="cosine"), 0.0),
        (200, OptimiserSettings(schedule="cosine"), 0.0),
        (0, WARM, 0.1),
        (4, WARM, 0.5),
        (10, WARM, 1.0),
        (55, WARM, 0.5),
        (100, WARM, 0.0),
    ],
)
def test_the_learning_rate_of_a_hundred_steps(step: int, settings: OptimiserSettings, factor: float) -> None:
    assert lr_factor(step, 100, settings) == pytest.approx(factor, abs=1e-9)


@given(st.integers(1, 300), st.floats(0, 0.99), st.sampled_from(["constant", "cosine"]))
def test_the_learning_rate_stays_between_nothing_and_whole(steps: int, warmup: float, schedule: str) -> None:
    settings = OptimiserSettings(schedule=schedule, warmup_share=warmup)  # type: ignore[arg-type]
    factors = [lr_factor(step, steps, settings) for step in range(steps + 1)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert factors[0] > 0
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
