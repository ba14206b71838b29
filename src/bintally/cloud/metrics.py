"""The line that a training container prints after every epoch, and the expressions by which SageMaker reads it.

Both stand here, so that they cannot part: `epoch_line` writes, `metric_definitions` goes into the request, `read_line`
is for the terminal. The callback that prints lines lives in `container`, for it needs Lightning. A value that is no
number leaves no metric, for SageMaker has none for it.
"""

import math
import re
from collections.abc import Mapping

BEST = "best_val_loss"
"""The lowest validation loss so far: a tuner takes the last value that a job printed, a job keeps its best epoch."""
METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds", BEST)
"""As in `curves.csv`, the epoch left out, and the best."""
_BEGINNING = "metrics epoch="
_NUMBER = r"([-+]?[0-9]+(?:[.][0-9]+)?(?:e[-+]?[0-9]+)?)"


def epoch_line(row: Mapping[str, float]) -> str:
    """What is printed of one row of `curves.csv`.

    >>> epoch_line({"epoch": 3, "train_loss": 1.25, "val_loss": 1.5, "lr": 1e-05})
    'metrics epoch=3; train_loss=1.25; val_loss=1.5; lr=1e-05;'
    """
    figures = "".join(f" {name}={row[name]:.7g};" for name in METRICS if name in row)
    return f"{_BEGINNING}{int(row['epoch'])};{figures}"


def metric_definitions() -> list[dict[str, str]]:
    """What a request says under MetricDefinitions.

    >>> metric_definitions()[0]["Name"]
    'train_loss'
    """
    return [{"Name": name, "Regex": _expression(name)} for name in METRICS]


def read_line(line: str) -> dict[str, float]:
    """The metrics of a log line, with the epoch; empty where it holds none.

    >>> read_line("metrics epoch=3; train_loss=1.25; val_loss=nan;")
    {'epoch': 3.0, 'train_loss': 1.25}
    """
    if (epoch := re.match(rf"{_BEGINNING}(\d+);", line)) is None:
        return {}
    found = {name: re.search(_expression(name), line) for name in METRICS}
    read = {name: float(match[1]) for name, match in found.items() if match}
    return {"epoch": float(epoch[1]), **{name: value for name, value in read.items() if math.isfinite(value)}}


def _expression(name: str) -> str:
    return f"{_BEGINNING}[0-9]+;.* {name}={_NUMBER};"
