"""Temperature scaling: one number that makes a network's probabilities match frequencies.

Guo et al., "On Calibration of Modern Neural Networks" (2017), section 4.2. Fitted on the calibration split only.
"""

import torch
from torch import Tensor
from torch.nn import functional

_LOWEST, _HIGHEST = 0.05, 20.0


def fit_temperature(logits: Tensor, classes: Tensor) -> float:
    """The temperature T > 0 for which softmax(logits / T) has the lowest cross entropy.

    Args:
        logits: float[N,C].
        classes: int64[N], the true ones.

    Raises:
        ValueError: if there are no photos to fit on.

    >>> logits, classes = torch.tensor([[4.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])
    >>> round(fit_temperature(logits, classes), 2)  # 75 % right: 4 / T = ln 3
    3.64
    """
    if not len(logits):
        raise ValueError("expected at least one photo to fit the temperature on")
    logits = logits.double()
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = functional.cross_entropy(logits / log_temperature.exp(), classes)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return round(float(log_temperature.detach().exp().clamp(_LOWEST, _HIGHEST)), 4)
