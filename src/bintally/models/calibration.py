"""Calibration: a temperature and a bias for each class that make a network's probabilities match frequencies.

Temperature: Guo et al., "On Calibration of Modern Neural Networks" (2017), section 4.2. Biases: Alexandari, Kundaje &
Shrikumar, "Maximum Likelihood with Bias-Corrected Calibration" (2020): a temperature alone cannot mend that a count is
promised too often, as soft labels promise rare counts beside frequent ones. Fitted on the calibration split only; few
photos move either little, for a network that is right about each of a hundred would be made certain of everything.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_LOWEST, _HIGHEST = 0.05, 20.0
_BIAS_SD = 0.25  # chosen on val and calibration (results/README.md)
_TEMPERATURE_SD = 0.5  # of its logarithm; from 100 photos a true 2.5 is found as 2.4


@dataclass(frozen=True, slots=True)
class Calibration:
    """What logits go through before the softmax: divided by the temperature, biases added.

    Attributes:
        temperature: above 0.
        biases: one for each class, in logits; empty: none.
    """

    temperature: float = 1.0
    biases: tuple[float, ...] = ()

    def __call__(self, logits: Tensor) -> Tensor:
        """Calibrated logits, float[N,C]."""
        warm = logits / self.temperature
        return warm + logits.new_tensor(self.biases) if self.biases else warm


def fit_calibration(
    logits: Tensor, classes: Tensor, *, bias_sd: float = _BIAS_SD, temperature_sd: float = _TEMPERATURE_SD
) -> Calibration:
    """The temperature and biases with the lowest cross entropy, held near 1 and 0 by normal priors.

    Args:
        logits: float[N,C].
        classes: int64[N], the true ones.
        bias_sd: the prior's standard deviation, in logits; 0: no biases, the temperature alone.
        temperature_sd: the same of the temperature's natural logarithm; infinite: it goes where the photos say.

    Raises:
        ValueError: if there are no photos to fit on.

    >>> logits, classes = torch.tensor([[4.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])
    >>> round(fit_calibration(logits, classes, bias_sd=0, temperature_sd=float("inf")).temperature, 2)  # 4 / T = ln 3
    3.64
    """
    if not len(logits):
        raise ValueError("expected at least one photo to calibrate on")
    logits = logits.detach().double()
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    biases = torch.zeros(logits.shape[1], dtype=torch.float64, requires_grad=bias_sd > 0)
    fitted = [log_temperature, biases] if bias_sd > 0 else [log_temperature]
    optimiser = torch.optim.LBFGS(fitted, max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = functional.cross_entropy(logits / log_temperature.exp() + biases, classes)
        value = value + log_temperature.square() / (2 * temperature_sd**2 * len(logits))
        if bias_sd > 0:
            value = value + biases.square().sum() / (2 * bias_sd**2 * len(logits))
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return Calibration(
        temperature=round(float(log_temperature.detach().exp().clamp(_LOWEST, _HIGHEST)), 4),
        biases=tuple(round(each, 4) for each in biases.tolist()) if bias_sd > 0 else (),
    )
