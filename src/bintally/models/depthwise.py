"""Strided depthwise convolutions whose gradient is fast in 16 bits on a CPU: the same function, the same weights.

oneDNN has no fast gradient for them there: of a training step of MobileNetV2 in bf16, four layers took 40 % of the
time (results/README.md). The gradient of a strided convolution is a plain one over the outgoing gradient with zeros
between its numbers (Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016, section 4.5), and
that one is fast. Refuses nothing: wherever it does not apply, PyTorch's own convolution answers.

Shapes: N photos, C channels, photos [N,C,H,W], weights [C,1,k,k].
"""

from typing import Any, cast

import torch
from timm.layers import pad_same
from torch import Tensor, nn
from torch.nn import functional


class StridedDepthwise(nn.Conv2d):
    """Takes the place of one depthwise convolution with a stride."""

    def __init__(self, replaced: nn.Conv2d) -> None:
        """Take over its weights and padding; TensorFlow's "same" if its class pads so."""
        side, stride, padding = replaced.kernel_size, replaced.stride, cast("tuple[int, int]", replaced.padding)
        channels = replaced.in_channels
        super().__init__(channels, channels, side, stride=stride, padding=padding, groups=channels, bias=False)  # type: ignore[arg-type]
        self.weight = replaced.weight
        self.pads_same = type(replaced).__name__ == "Conv2dSame"

    @staticmethod
    def fits(layer: nn.Module) -> bool:
        """Whether a layer is such a convolution."""
        return (
            isinstance(layer, nn.Conv2d)
            and type(layer).__name__ in {"Conv2d", "Conv2dSame"}
            and layer.groups == layer.in_channels == layer.out_channels > 1
            and layer.stride[0] == layer.stride[1] > 1
            and layer.dilation == (1, 1)
            and layer.bias is None
            and layer.padding_mode == "zeros"
            and not isinstance(layer.padding, str)
        )

    def forward(self, photos: Tensor) -> Tensor:
        """The convolution."""
        if self.pads_same:
            photos = pad_same(photos, list(self.kernel_size), list(self.stride))
        in_16_bits = photos.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if not (in_16_bits and torch.is_grad_enabled()):
            return functional.conv2d(photos, self.weight, None, self.stride, self.padding, 1, self.groups)
        narrow = torch.get_autocast_dtype("cpu")
        down, across = cast("tuple[int, int]", self.padding)
        padded = functional.pad(photos.to(narrow), (across, across, down, down))
        return cast("Tensor", _Convolve.apply(padded, self.weight.to(narrow), self.stride[0]))


class _Convolve(torch.autograd.Function):
    """A depthwise convolution without padding, with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, photos: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(photos, weight)
        ctx.stride = stride
        with torch.autocast("cpu", enabled=False):
            return functional.conv2d(photos, weight, None, stride, 0, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        photos, weight = ctx.saved_tensors
        stride, edge = ctx.stride, weight.shape[-1] - 1
        number, channels, height, width = photos.shape
        # Channels last, as oneDNN wants it: zeros between the gradient's numbers, and `edge` of them around.
        spread = gradient.new_zeros((number, height + edge, width + edge, channels)).permute(0, 3, 1, 2)
        rows, columns = (edge + stride * (side - 1) + 1 for side in gradient.shape[2:])
        spread[:, :, edge:rows:stride, edge:columns:stride] = gradient
        of_photos = functional.conv2d(spread, weight.flip(2, 3), None, 1, 0, 1, channels)
        of_weight = torch.ops.aten.convolution_backward(
            gradient, photos, weight, None, [stride] * 2, [0, 0], [1, 1], False, [0, 0], channels, [False, True, False]
        )[1]
        return of_photos, of_weight, None


def speed_up(network: nn.Module) -> None:
    """Replace every strided depthwise convolution in a network."""
    for module in list(network.modules()):
        for name, layer in list(module.named_children()):
            if StridedDepthwise.fits(layer):
                setattr(module, name, StridedDepthwise(cast("nn.Conv2d", layer)))
