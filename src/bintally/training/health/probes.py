"""What a network shows of itself while it trains, as numbers: through hooks, its gradients, and the loader's clock.

Shapes: N photos, C classes, logits float32[N,C]. Refuses to change anything: no weight, no random number, no order.
"""

import time
from collections.abc import Callable, Iterator

import torch
from lightning.pytorch.profilers import Profiler
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bintally.models.network import CountNetwork
from bintally.training.health.seen import LOOKS

_RECTIFIERS = {"ReLU", "ReLU6", "SiLU", "Swish", "GELU", "GELUTanh", "Hardswish", "HardSwish", "Mish"}
_ENDS = {"ReLU6": (None, 6.0), "Sigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0), "Hardsigmoid": (0.0, 1.0)}
_OFF = {"ReLU": 0.0, "ReLU6": 0.0}  # what a rectifier puts out that is off; smooth ones get near 0 only
_NEARLY_OFF = 1e-6
_AT_END = 1e-7  # SageMaker's distance from an activation's end
_LEAD = 17.0  # of the largest logit, from which a softmax's gradient is below 1e-7
_MOST_NUMBERS = 1_000_000  # of one layer's output that are looked at


class ActivationProbe:
    """Hooks on a network that look when they are asked to, and otherwise let everything pass.

    Attributes:
        logits: of the last forward pass, float32[N,C].
        spreads, dead, capped: of the last look, as `seen.Look` has them.
    """

    def __init__(self, network: CountNetwork) -> None:
        """Hook on; a frozen backbone is left alone, for nothing can be done about it."""
        self.logits: Tensor | None = None
        self.spreads: dict[str, float] = {}
        self.dead: dict[str, float] = {}
        self.capped: dict[str, float] = {}
        self._looking = False
        self._in_a_row: dict[tuple[str, str], Tensor] = {}  # looks in which a unit was off, or at its end
        self._handles: list[RemovableHandle] = [network.register_forward_hook(self._keep_logits)]
        for name, layer in () if network.frozen else network.backbone.named_modules():
            kind = type(layer).__name__
            if kind in _RECTIFIERS or kind in _ENDS:
                self._handles.append(layer.register_forward_hook(self._hook(f"backbone.{name}", kind)))

    def look(self) -> None:
        """Look at the next forward pass."""
        self._looking = True
        self.spreads, self.dead, self.capped = {}, {}, {}

    def close(self) -> None:
        """Unhook."""
        for handle in self._handles:
            handle.remove()

    def _keep_logits(self, _network: nn.Module, _photos: object, logits: Tensor) -> None:
        self.logits = logits.detach().float()
        self._looking = False

    def _hook(self, name: str, kind: str) -> Callable[[nn.Module, object, Tensor], None]:
        def see(_layer: nn.Module, _input: object, output: Tensor) -> None:
            if self._looking:
                self._see(name, kind, output.detach())

        return see

    def _see(self, name: str, kind: str, output: Tensor) -> None:
        photos = max(1, min(len(output), _MOST_NUMBERS // max(1, output[0].numel())))
        shown = output[:photos].float()  # float32[n,units,...]
        others = [axis for axis in range(shown.ndim) if axis != 1]
        if kind in _RECTIFIERS:
            self.spreads[name] = float(shown.std())
            self.dead[name] = self._share(name, "off", shown.abs().amax(others) <= _OFF.get(kind, _NEARLY_OFF))
        low, high = _ENDS.get(kind, (None, None))
        if high is not None:
            at_end = shown.amin(others) >= high - _AT_END
            if low is not None:
                at_end |= shown.amax(others) <= low + _AT_END
            self.capped[name] = self._share(name, "end", at_end)

    def _share(self, name: str, what: str, now: Tensor) -> float:
        """The share of units for which it was so in `LOOKS` looks in a row."""
        before = self._in_a_row.get((name, what), torch.zeros_like(now, dtype=torch.int64))
        self._in_a_row[name, what] = torch.where(now, before + 1, 0)
        return float((self._in_a_row[name, what] >= LOOKS).float().mean())


def gradients_of(network: nn.Module) -> list[Tensor]:
    """All gradients there are."""
    return [weights.grad for weights in network.parameters() if weights.grad is not None]


def mean_gradients(network: nn.Module) -> dict[str, float]:
    """By weight, the mean absolute gradient; biases and norms are left out, for many have none to speak of."""
    return {
        name: float(weights.grad.abs().mean())
        for name, weights in network.named_parameters()
        if weights.grad is not None and weights.ndim > 1
    }


def weighted_layers(network: CountNetwork) -> Iterator[tuple[str, Tensor]]:
    """Convolutions and linear layers that can learn, with their weights."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.requires_grad:
            yield name, layer.weight.detach()


def gains(network: CountNetwork) -> dict[str, float]:
    """By layer, the weights' standard deviation times the root of how many inputs a unit has."""
    return {name: float(w.std() * w[0].numel() ** 0.5) for name, w in weighted_layers(network) if w.numel() > 1}


def alike(network: CountNetwork) -> list[str]:
    """Layers of which all units have the same weights; a head may, for its targets differ."""
    return [name for name, w in weighted_layers(network) if len(w) > 1 and name != "head" and bool((w == w[:1]).all())]


def error_of(logits: Tensor, targets: Tensor) -> float:
    """The probability that lies wrong, on average: total variation between predictions and targets, both [N,C].

    >>> error_of(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    0.5
    """
    return float((logits.softmax(1) - targets).abs().sum(1).mean() / 2)


def one_hot_share(logits: Tensor) -> float:
    """The share of photos whose largest logit leads so far that its gradient is lost.

    >>> one_hot_share(torch.tensor([[0.0, 20.0], [0.0, 2.0]]))
    0.5
    """
    top = logits.topk(2, dim=1).values
    return float((top[:, 0] - top[:, 1] > _LEAD).float().mean())


class FetchClock(Profiler):
    """Measures how long each training batch is waited for; hands everything on to the profiler that was there.

    Attributes:
        waited: seconds, for the last batch.
        fetched_at: when it was there.
    """

    _ACTION = "train_dataloader_next"  # Lightning's name for it, after the loop's

    def __init__(self, inner: Profiler) -> None:
        super().__init__()
        self.inner = inner
        self.waited, self.fetched_at, self._asked_at = 0.0, 0.0, 0.0

    def start(self, action_name: str) -> None:
        """Begin."""
        if action_name.endswith(self._ACTION):
            self._asked_at = time.perf_counter()
        self.inner.start(action_name)

    def stop(self, action_name: str) -> None:
        """End."""
        self.inner.stop(action_name)
        if action_name.endswith(self._ACTION):
            self.fetched_at = time.perf_counter()
            self.waited = self.fetched_at - self._asked_at

    def summary(self) -> str:
        """The other profiler's."""
        return self.inner.summary()
