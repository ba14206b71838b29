"""Which figures stand side by side, in the terminal and in the report, and how they are written.

Refuses to round differently in two places: every figure that a person reads is written here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bintally.data.manifest import Split
from bintally.evaluation.bootstrap import Figure
from bintally.evaluation.compare import Difference
from bintally.evaluation.metrics import METRIC, MetricName, ScopeName
from bintally.evaluation.results import Evaluation

_PERCENT = (MetricName.ACCURACY, MetricName.WITHIN_ONE, MetricName.ECE)

METRIC_TITLES = {
    MetricName.ACCURACY: "Accuracy",
    MetricName.WITHIN_ONE: "Within ±1",
    MetricName.MAE: "MAE",
    MetricName.RMSE: "RMSE",
    MetricName.CROSS_ENTROPY: "Loss",
    MetricName.RPS: "RPS",
    MetricName.ECE: "ECE",
}
SCOPE_TITLES = {
    ScopeName.FIVE_RESTRICTED: "Counts 1–5",
    ScopeName.FIVE: "Counts 1–5, free",
    ScopeName.ZERO_TO_FIVE_RESTRICTED: "Counts 0–5",
    ScopeName.ZERO_TO_FIVE: "Counts 0–5, free",
    ScopeName.ALL: "All counts",
}
SCOPE_NOTES = {
    ScopeName.FIVE_RESTRICTED: "photos with 1–5 items, prediction the most probable of 1–5: the published task",
    ScopeName.FIVE: "photos with 1–5 items, any count may be predicted",
    ScopeName.ZERO_TO_FIVE_RESTRICTED: "photos with 0–5 items, prediction the most probable of 0–5",
    ScopeName.ZERO_TO_FIVE: "photos with 0–5 items, any count may be predicted",
    ScopeName.ALL: "every photo; true counts above K lie in the class “K or more”, but MAE and RMSE see the true count",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A figure as text: its value, its interval, a remark. '–' and empty where nothing was measured."""

    value: str
    interval: str = ""
    remark: str = ""
    is_best: bool = False


def write_value(metric: MetricName, value: float, *, signed: bool = False) -> str:
    """One value in its metric's manner; a difference is signed, and in percentage points where the metric is a share.

    >>> write_value(MetricName.ACCURACY, 0.4237), write_value(MetricName.MAE, 1.0, signed=True)
    ('42.4 %', '+1.000')
    >>> write_value(MetricName.ACCURACY, -0.051, signed=True)
    '-5.1 pts'
    """
    sign = "+" if signed else ""
    if metric in _PERCENT:
        return f"{100 * value:{sign}.1f} {'pts' if signed else '%'}"
    return f"{value:{sign}.3f}"


def write_interval(metric: MetricName, figure: Figure, *, signed: bool = False) -> str:
    """A figure's interval in its metric's manner; one digit less than the value has where it is no share or difference.

    >>> write_interval(MetricName.ACCURACY, Figure(0.42, 0.395, 0.451))
    '39.5–45.1'
    >>> write_interval(MetricName.MAE, Figure(1.0, 0.9, 1.1))
    '0.90–1.10'
    """
    if signed:
        low, high = (write_value(metric, end, signed=True).split(" ")[0] for end in (figure.low, figure.high))
        return f"{low} to {high}"
    if metric in _PERCENT:
        return f"{100 * figure.low:.1f}–{100 * figure.high:.1f}"
    return f"{figure.low:.2f}–{figure.high:.2f}"


def cell(metric: MetricName, figure: Figure | None, *, signed: bool = False) -> Cell:
    """A figure as text."""
    if figure is None:
        return Cell(value="–")
    return Cell(
        value=write_value(metric, figure.value, signed=signed), interval=write_interval(metric, figure, signed=signed)
    )


def cells(evaluations: Sequence[Evaluation], split: Split, scope: ScopeName, metric: MetricName) -> list[Cell]:
    """One figure of each evaluation; the best value is marked, unless all are equal."""
    figures = [evaluation.figure(split, scope, metric) for evaluation in evaluations]
    values = [figure.value for figure in figures if figure is not None]
    best = None
    if len(set(values)) > 1:
        best = max(values) if METRIC[metric].higher_is_better else min(values)
    written = []
    for figure in figures:
        plain = cell(metric, figure)
        is_best = figure is not None and figure.value == best
        written.append(Cell(value=plain.value, interval=plain.interval, is_best=is_best))
    return written


def difference_cell(found: Difference | None, metric: MetricName) -> Cell:
    """A paired difference as text; marked where its interval lies wholly on the better side."""
    if found is None:
        return Cell(value="–")
    plain = cell(metric, found.difference, signed=True)
    remark = f"better in {100 * found.better_share:.0f} %"
    return Cell(value=plain.value, interval=plain.interval, remark=remark, is_best=found.is_better is True)


def ranked(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Best first: by accuracy on counts 1-5 in the detail split; by accuracy over all counts where there is none."""

    def key(evaluation: Evaluation) -> float:
        for scope in (ScopeName.FIVE_RESTRICTED, ScopeName.ALL):
            figure = evaluation.figure(evaluation.detail_split, scope, MetricName.ACCURACY)
            if figure is not None:
                return figure.value
        return 0.0

    return sorted(evaluations, key=lambda evaluation: (-key(evaluation), evaluation.estimator))


def known_counts_note(evaluation: Evaluation) -> str:
    """Which counts it tells apart, in words.

    An open end is written with a plus: '0–20+' means that the last class is 20 or more.
    """
    low, high = evaluation.known_counts
    return f"{low}–{evaluation.last_count}+" if high is None else f"{low}–{high}"
