"""The network: a backbone by name, pooled, and a linear head with one logit per class.

Shapes: N photos uint8[N,S,S,3] in, logits float32[N,C] out. Normalising is part of the network, so it is exported
with it. Backbones come from timm, or are the small CNN below.
"""

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.layers import convert_sync_batchnorm
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn import functional

from bintally.errors import SettingsError, WeightsError
from bintally.models.depthwise import speed_up
from bintally.settings import ModelSettings

SMALL_CNN = "smallcnn"
_STAGES = (32, 64, 128, 256)
_GROUPS = 8
_CLASSIFIERS = ("classifier.", "fc.", "head.")


class SmallCNN(nn.Module):
    """A custom CNN: four stages of two 3x3 convolutions, each normed, each stage halving the side after a stem."""

    num_features = _STAGES[-1]

    def __init__(self, norm: str = "batch") -> None:
        """Norm "batch", or "group": 8 groups of channels, so that no photo of a batch depends on the others."""
        super().__init__()
        layers: list[nn.Module] = [*_conv(3, _STAGES[0], norm, stride=2)]
        channels = _STAGES[0]
        for width in _STAGES:
            layers += [*_conv(channels, width, norm), *_conv(width, width, norm), nn.MaxPool2d(2)]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, photos: Tensor) -> Tensor:
        """Features float32[N,256] of normalised photos float32[N,3,S,S]."""
        features: Tensor = self.pool(self.layers(photos)).flatten(1)
        return features


def _conv(channels: int, width: int, norm: str, *, stride: int = 1) -> Sequence[nn.Module]:
    return (
        nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(_GROUPS, width) if norm == "group" else nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


class CountNetwork(nn.Module):
    """Photos to logits over count classes."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, settings: ModelSettings, *, classes: int, mean: Sequence[float], std: Sequence[float], hub: bool = False
    ) -> None:
        """Build the network.

        Args:
            settings: which backbone, and how.
            classes: C.
            mean: per channel, on the 0-1 scale.
            std: per channel, on the 0-1 scale.
            hub: fetch the backbone's ImageNet weights from timm's hub.

        Raises:
            SettingsError: if no backbone has that name, or it cannot be built so.
            WeightsError: if the hub cannot be reached or has no weights for it.
        """
        super().__init__()
        self.backbone = _backbone(settings, hub=hub)
        speed_up(self.backbone)
        self.enlarged_px = settings.enlarged_px
        self.frozen = settings.frozen
        self.norms_frozen = settings.frozen_norms
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(_features(self.backbone), classes)
        self.register_buffer("mean", torch.tensor(mean).mul(255).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).mul(255).view(1, 3, 1, 1), persistent=False)
        if self.frozen:
            self.backbone.requires_grad_(False)
        elif settings.frozen_stages:
            _freeze_stages(self.backbone, settings)

    def forward(self, photos: Tensor) -> Tensor:
        """Logits float32[N,C] of photos uint8[N,S,S,3]."""
        pixels = (photos.permute(0, 3, 1, 2).float() - self.mean) / self.std
        if self.enlarged_px:
            pixels = functional.interpolate(pixels, size=(self.enlarged_px, self.enlarged_px), mode="bilinear")
        if self.frozen:
            with torch.no_grad():
                features = self.backbone(pixels)
        else:
            features = self.backbone(pixels)
        logits: Tensor = self.head(self.dropout(features))
        return logits

    def sync_norms(self) -> None:
        """Let batch norms norm over the photos of all processes; timm's way, for some of its norms hold activations."""
        self.backbone = convert_sync_batchnorm(self.backbone)

    def train(self, mode: bool = True) -> "CountNetwork":
        """Switch between training and inference; frozen backbone, stages and norms stay in inference."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
            return self
        for layer in self.backbone.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and (
                self.norms_frozen or not (layer.affine and layer.weight.requires_grad)
            ):
                layer.train(False)
        return self


def check_hub_weights(settings: ModelSettings, mean: Sequence[float], std: Sequence[float]) -> None:
    """See that a network is built and fed as the weights of timm's hub were trained.

    Raises:
        SettingsError: with the settings that suit them.
    """
    suits = timm.get_pretrained_cfg(settings.backbone) if timm.is_model(settings.backbone) else None
    if suits is None:
        return
    changes = []
    if settings.pad_type and not settings.backbone.startswith("tf_"):
        changes.append("--set model.pad_type=")
    for key, ours, theirs in (("data.mean", mean, suits.mean), ("data.std", std, suits.std)):
        if tuple(ours) != tuple(theirs):
            changes.append(f"--set {key}={list(theirs)}".replace(" [", "[").replace(", ", ","))
    if changes:
        raise SettingsError(
            f"model.backbone: these settings are not made for timm's weights of {settings.backbone!r}: pass those that "
            f"they are made for with --weights FILE, or take {' '.join(changes)}"
        )


def check_photos_fit(network: CountNetwork, side_px: int) -> None:
    """See that the network can look at photos of that side; some backbones are made for one only.

    Raises:
        SettingsError: with what it says.
    """
    training = network.training
    try:
        with torch.no_grad():
            network.train(False)(torch.zeros(1, side_px, side_px, 3, dtype=torch.uint8))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"model.backbone: it cannot look at photos of {network.enlarged_px or side_px} px ({_first_line(error)}); "
            "change data.side_px or model.enlarged_px, or choose another backbone"
        ) from error
    finally:
        network.train(training)


def _freeze_stages(backbone: nn.Module, settings: ModelSettings) -> None:
    """Let the first stages stay as they came; timm says which weights are whose."""
    if not hasattr(backbone, "group_matcher"):
        raise SettingsError(f"model.frozen_stages: {settings.backbone!r} has no stages that could be frozen")
    stages = group_parameters(backbone, backbone.group_matcher(coarse=True))  # type: ignore[operator]
    if settings.frozen_stages >= len(stages):
        raise SettingsError(
            f"model.frozen_stages: {settings.backbone!r} has {len(stages)} stages, of which one must learn; "
            f"got {settings.frozen_stages}. To train the head alone: model.frozen = true"
        )
    for stage in sorted(stages)[: settings.frozen_stages]:
        for name in stages[stage]:
            backbone.get_parameter(name).requires_grad_(False)


def _features(backbone: nn.Module) -> int:
    features = getattr(backbone, "head_hidden_size", backbone.num_features)  # some have a layer after pooling
    assert isinstance(features, int)  # noqa: S101 - timm's promise
    return features


def _backbone(settings: ModelSettings, *, hub: bool) -> nn.Module:
    if settings.backbone == SMALL_CNN:
        return SmallCNN(settings.norm)
    if settings.norm != "batch":
        raise SettingsError(f"model.norm: {settings.norm!r} is for 'smallcnn'; {settings.backbone!r} has its own norms")
    if not timm.is_model(settings.backbone):
        near = ", ".join(timm.list_models(f"*{settings.backbone[:6]}*")[:5]) or "resnet50, mobilenetv2_100"
        raise SettingsError(
            f"model.backbone: expected 'smallcnn' or a timm model, got {settings.backbone!r}. Near it: {near}"
        )
    extra: dict[str, Any] = {"pad_type": settings.pad_type} if settings.pad_type else {}
    try:
        backbone: nn.Module = timm.create_model(settings.backbone, pretrained=hub, num_classes=0, **extra)
    except TypeError as error:
        raise SettingsError(
            f"model: {settings.backbone!r} cannot be built with {extra} ({_first_line(error)})"
        ) from error
    except Exception as error:  # timm's errors and its hub client's share no base class
        if not hub:
            raise SettingsError(f"model.backbone: {settings.backbone!r}: {_first_line(error)}") from error
        raise WeightsError(
            f"ImageNet weights of {settings.backbone!r} could not be had from timm's hub ({_first_line(error)}). "
            "Where no hub can be reached, fetch them elsewhere and pass --weights FILE, "
            "or train from nothing with --set model.pretrained=false"
        ) from error
    return backbone


def load_backbone(network: CountNetwork, path: Path) -> None:
    """Fill the backbone from a weights file: safetensors, or a PyTorch state dict (loaded without pickle's code).

    A classifier in the file is left out; everything else must fit.

    Raises:
        WeightsError: naming the file and what is missing, unknown or of another shape.
    """
    wanted = network.backbone.state_dict()
    state = {k: v for k, v in _read_weights(path).items() if k in wanted or not k.startswith(_CLASSIFIERS)}
    missing = sorted(k for k in wanted if k not in state)
    unknown = sorted(k for k in state if k not in wanted)
    other = sorted(k for k in state if k in wanted and state[k].shape != wanted[k].shape)
    if missing or unknown or other:
        raise WeightsError(
            f"{path}: these weights are not this backbone's: {len(missing)} missing {missing[:2]}, "
            f"{len(unknown)} unknown {unknown[:2]}, {len(other)} of another shape {other[:2]}. "
            "Pass the file of the recipe's own backbone, or choose another with --set model.backbone=NAME"
        )
    network.backbone.load_state_dict(state)


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise WeightsError(f"{path}: expected safetensors or a plain state dict of tensors, got neither") from error
    except Exception as error:  # damaged bytes make the two readers stumble in many ways
        raise WeightsError(f"{path}: not a readable weights file ({_first_line(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path}: expected a state dict of tensors, got {type(state).__name__}")
    return state


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
