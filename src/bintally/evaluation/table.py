"""The comparison as rich tables for the terminal. Refuses to compute: it writes what evaluations hold."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from bintally.data.manifest import Split
from bintally.evaluation.columns import METRIC_TITLES, SCOPE_TITLES, Cell, cells, difference_cell, ranked
from bintally.evaluation.compare import Comparison
from bintally.evaluation.metrics import MetricName, ScopeName
from bintally.evaluation.results import Evaluation

_SPLITS = (Split.TRAIN, Split.VAL, Split.TEST)
_SCORES = (
    ("accuracy\n1–5", ScopeName.FIVE_RESTRICTED, MetricName.ACCURACY),
    ("accuracy\n1–5 free", ScopeName.FIVE, MetricName.ACCURACY),
    ("accuracy\nall", ScopeName.ALL, MetricName.ACCURACY),
    ("within ±1\nall", ScopeName.ALL, MetricName.WITHIN_ONE),
    ("MAE\nall", ScopeName.ALL, MetricName.MAE),
    ("RMSE\nall", ScopeName.ALL, MetricName.RMSE),
)
_PAIRED = (
    (ScopeName.FIVE_RESTRICTED, MetricName.ACCURACY),
    (ScopeName.ALL, MetricName.ACCURACY),
    (ScopeName.ALL, MetricName.CROSS_ENTROPY),
)  # with their intervals these fit into 80 columns; the report has them all


def splits_table(evaluations: Sequence[Evaluation], scope: ScopeName = ScopeName.ALL) -> Table:
    """Loss and accuracy of train, val and test side by side, best estimator first."""
    in_order = ranked(evaluations)
    table = _table(f"{SCOPE_TITLES[scope]}: train, val and test")
    columns: list[list[Cell]] = []
    for metric in (MetricName.CROSS_ENTROPY, MetricName.ACCURACY):
        for split in _SPLITS:
            table.add_column(f"{METRIC_TITLES[metric].lower()}\n{split.value}", justify="right", overflow="fold")
            columns.append(cells(in_order, split, scope, metric))
    for row, evaluation in enumerate(in_order):
        table.add_row(evaluation.estimator, *(_value(column[row]) for column in columns))
    return table


def scores_table(evaluations: Sequence[Evaluation]) -> Table:
    """The detail split's scores with their 95 % intervals below them, best estimator first."""
    in_order = ranked(evaluations)
    split = in_order[0].detail_split if in_order else Split.TEST
    table = _table(f"{split.value} split, 95 % intervals by sibling group")
    columns = []
    for title, scope, metric in _SCORES:
        table.add_column(title, justify="right", overflow="fold")
        columns.append(cells(in_order, split, scope, metric))
    for row, evaluation in enumerate(in_order):
        table.add_row(evaluation.estimator, *(_in_full(column[row]) for column in columns))
    return table


def paired_table(comparisons: Sequence[Comparison]) -> Table:
    """Differences from the benchmark, estimator minus benchmark, with paired 95 % intervals."""
    benchmark = comparisons[0].benchmark if comparisons else "the benchmark"
    table = _table(f"Minus {benchmark}, on the same photos")
    for scope, metric in _PAIRED:
        title = f"{METRIC_TITLES[metric]}\n{SCOPE_TITLES[scope].lower()}"
        table.add_column(title, justify="right", overflow="fold")
    for comparison in comparisons:
        row = []
        for scope, metric in _PAIRED:
            row.append(_in_full(difference_cell(comparison.difference(scope, metric), metric)))
        table.add_row(comparison.estimator, *row)
    return table


def _table(title: str) -> Table:
    # Narrow enough that six figures with their intervals stand in 80 columns.
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("estimator", style="bold", overflow="fold")
    return table


def _value(shown: Cell) -> Text:
    return Text(shown.value, style="bold green" if shown.is_best else "")


def _in_full(shown: Cell) -> Text:
    below = "".join(f"\n{line}" for line in (shown.interval, shown.remark) if line)
    return _value(shown).append(below, style="dim not bold")
