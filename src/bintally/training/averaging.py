"""The moving average of a network's weights that is validated, calibrated and kept in their place.

With one decay from the first step on, a run that is short beside the average's memory would keep the weights that it
began with: after 180 steps at 0.998 seven tenths of them. So the memory grows with the run, up to what was asked for.
"""

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


def decay_after(steps: int, decay: float) -> float:
    """How much of the average stays when the weights after one more step come in: at first little.

    Args:
        steps: that it is an average of so far, from 1 on.
        decay: what it comes to in a long run.

    >>> [round(decay_after(steps, 0.998), 3) for steps in (1, 10, 100, 1000, 10_000)]
    [0.4, 0.786, 0.971, 0.997, 0.998]
    """
    return min(decay, (1 + steps) / (4 + steps))


class MovingAverage(WeightAveraging):
    """Averages weights and norms' statistics after each step; Lightning swaps them in to validate, and at the end."""

    def __init__(self, decay: float) -> None:
        """Begin at the weights after the first step.

        Args:
            decay: how much of the average stays at each step of a long run, 0 to below 1.
        """

        def update(average: list[Tensor], current: list[Tensor], steps: Tensor) -> None:
            get_ema_multi_avg_fn(decay_after(int(steps), decay))(average, current, steps)  # type: ignore[no-untyped-call]

        super().__init__(multi_avg_fn=update)
