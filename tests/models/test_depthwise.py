"""Strided depthwise convolutions with a gradient of their own: the same numbers as PyTorch's."""

from collections.abc import Callable

import pytest
import timm
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from bintally.models.depthwise import StridedDepthwise, _Convolve, speed_up

Maker = Callable[[], nn.Conv2d]
LAYERS: dict[str, Maker] = {
    "TensorFlow's padding": lambda: Conv2dSame(6, 6, 3, stride=2, groups=6, bias=False),
    "padded by 1": lambda: nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6, bias=False),
    "5 wide": lambda: nn.Conv2d(6, 6, 5, stride=2, padding=2, groups=6, bias=False),
    "stride 3": lambda: nn.Conv2d(6, 6, 3, stride=3, groups=6, bias=False),
}


def gradients(layer: nn.Module, photos: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output, and gradients of photos and weights, from a made outgoing gradient; in bf16."""
    photos = photos.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(photos)
    (output.float() * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    assert photos.grad is not None
    (weight,) = layer.parameters()
    assert weight.grad is not None
    found = output, photos.grad, weight.grad.clone()
    weight.grad = None
    return found


@pytest.mark.parametrize("side", [8, 9, 10, 11])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_it_gives_what_the_layer_that_it_replaces_gives(make: Maker, side: int) -> None:
    torch.manual_seed(side)
    before = make()
    assert StridedDepthwise.fits(before)
    photos = torch.randn(3, 6, side, side + 1)
    expected = gradients(before, photos)
    after = StridedDepthwise(before)
    assert after.weight is before.weight
    for mine, theirs in zip(gradients(after, photos), expected, strict=True):
        torch.testing.assert_close(mine.float(), theirs.float(), rtol=0.02, atol=0.05)
    with torch.inference_mode():
        assert torch.equal(after(photos), before(photos))


@pytest.mark.parametrize("side", [7, 8, 9])
@pytest.mark.parametrize("stride", [2, 3])
def test_its_gradient_is_the_derivative(side: int, stride: int) -> None:
    torch.manual_seed(0)
    photos = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, w: _Convolve.apply(p, w, stride), (photos, weight))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False),
        nn.Conv2d(6, 12, 3, stride=2, groups=6, bias=False),
        nn.Conv2d(6, 6, 3, stride=2, groups=6),
        nn.Conv2d(6, 6, 3, stride=2, groups=3, bias=False),
        nn.Conv2d(6, 6, 3, stride=2, groups=6, bias=False, padding=1, padding_mode="reflect"),
        nn.Conv2d(6, 6, 3, stride=2, groups=6, bias=False, dilation=2),
        nn.Linear(6, 6),
    ],
    ids=["no stride", "widens", "bias", "groups of two", "reflects", "dilated", "linear"],
)
def test_others_are_left_alone(layer: nn.Module) -> None:
    assert not StridedDepthwise.fits(layer)


def test_in_a_network_names_and_answers_stay() -> None:
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv2_050", num_classes=4, pad_type="same").eval()
    photos = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = network(photos)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    speed_up(network)
    assert sum(isinstance(layer, StridedDepthwise) for layer in network.modules()) == 4
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    with torch.inference_mode():
        assert torch.equal(network(photos), expected)
