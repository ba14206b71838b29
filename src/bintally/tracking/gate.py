"""The gate: may this model take the champion's place? A rule over a paired comparison, and what it found.

Refuses to be moved by a value alone: only intervals count (see docs/decisions/0009).
"""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from bintally.errors import SettingsError
from bintally.evaluation.bootstrap import Figure
from bintally.evaluation.columns import write_interval, write_value
from bintally.evaluation.compare import compare
from bintally.evaluation.metrics import METRIC, MetricName, ScopeName
from bintally.evaluation.results import Evaluation


class Outcome(StrEnum):
    """How the gate decides."""

    PROMOTED = "promoted"
    WORSE = "refused: worse"
    UNDECIDED = "refused: undecided"
    ALREADY = "the champion already"

    @property
    def is_refusal(self) -> bool:
        """Whether the champion stays."""
        return self in (Outcome.WORSE, Outcome.UNDECIDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """How much worse than the champion a model may be at the worse end of an interval.

    Attributes:
        accuracy: as a share of photos.
        cross_entropy: in nats.
    """

    accuracy: float = 0.01
    cross_entropy: float = 0.02

    def __post_init__(self) -> None:
        """Refuse margins that would let anything through, or nothing."""
        for name, value in (("--margin", 100 * self.accuracy), ("--margin-loss", self.cross_entropy)):
            if not value >= 0 or value == float("inf"):
                raise SettingsError(f"{name}: expected 0 or more, got {value:g}")

    def of(self, metric: MetricName) -> float:
        """A metric's."""
        return self.accuracy if metric is MetricName.ACCURACY else self.cross_entropy


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Check(_Frozen):
    """One metric over all counts of the test split.

    Attributes:
        candidate: the candidate's figure.
        other: the one it is compared with.
        difference: candidate minus other, on the same photos, with its paired 95 % interval.
        margin: how much worse the interval's worse end may be.
    """

    metric: MetricName
    candidate: Figure
    other: Figure
    difference: Figure
    margin: float

    @property
    def gain_ends(self) -> tuple[float, float]:
        """The interval, turned so that more is better: its worse end and its better one."""
        low, high = self.difference.low, self.difference.high
        return (low, high) if METRIC[self.metric].higher_is_better else (-high, -low)

    @property
    def is_worse(self) -> bool:
        """Whether the whole interval lies on the worse side."""
        return self.gain_ends[1] < 0

    @property
    def is_better(self) -> bool:
        """Whether the whole interval lies on the better side."""
        return self.gain_ends[0] > 0

    @property
    def is_within(self) -> bool:
        """Whether the worse end lies above minus the margin."""
        return self.gain_ends[0] > -self.margin

    @property
    def text(self) -> str:
        """In words."""
        change = write_value(self.metric, self.difference.value, signed=True)
        return f"{_NAMES[self.metric]} {change} ({write_interval(self.metric, self.difference, signed=True)})"


_NAMES = {MetricName.ACCURACY: "accuracy", MetricName.CROSS_ENTROPY: "loss"}


class Judgement(_Frozen):
    """What the gate decides, and why."""

    outcome: Outcome
    why: str
    photos: int
    groups: int
    checks: tuple[Check, ...]


def judge(candidate: Evaluation, champion: Evaluation, margins: Margins) -> Judgement:
    """Against the champion: not worse in accuracy and in cross entropy over all counts.

    Worse: an interval lies wholly on the worse side. Undecided: one reaches further than its margin.

    Raises:
        CheckpointError: if the two are not about the same photos.
    """
    checks, photos, groups = _checks(candidate, champion, margins)
    who = champion.estimator
    said = "; ".join(check.text for check in checks)
    if worse := [_NAMES[check.metric] for check in checks if check.is_worse]:
        outcome, why = Outcome.WORSE, f"worse than {who}, in {' and '.join(worse)}: {said}"
    elif wide := [check for check in checks if not check.is_within]:
        limits = " and ".join(f"{_limit(check)} in {_NAMES[check.metric]}" for check in wide)
        outcome = Outcome.UNDECIDED
        why = f"not shown to be as good as {who}: it may be worse by more than {limits}: {said}"
    else:
        outcome, why = Outcome.PROMOTED, f"not worse than {who}: {said}"
    return Judgement(outcome=outcome, why=why, photos=photos, groups=groups, checks=checks)


def judge_first(candidate: Evaluation, prior: Evaluation) -> Judgement:
    """Where there is no champion: better in cross entropy than the training frequencies, and not worse in accuracy.

    Raises:
        CheckpointError: if the two are not about the same photos.
    """
    checks, photos, groups = _checks(candidate, prior, Margins(accuracy=0.0, cross_entropy=0.0))
    accuracy, loss = checks
    said = "; ".join(check.text for check in checks)
    if loss.is_better and not accuracy.is_worse:
        outcome, why = Outcome.PROMOTED, f"the first champion, better than the baseline prior: {said}"
    else:
        outcome = Outcome.WORSE if loss.is_worse or accuracy.is_worse else Outcome.UNDECIDED
        why = f"no champion yet, and not shown to be better than the baseline prior: {said}"
    return Judgement(outcome=outcome, why=why, photos=photos, groups=groups, checks=checks)


def _checks(candidate: Evaluation, other: Evaluation, margins: Margins) -> tuple[tuple[Check, ...], int, int]:
    comparison = compare(candidate, other)
    checks = []
    for metric in (MetricName.ACCURACY, MetricName.CROSS_ENTROPY):
        figures = [each.figure(each.detail_split, ScopeName.ALL, metric) for each in (candidate, other)]
        found = comparison.difference(ScopeName.ALL, metric)
        if found is None or figures[0] is None or figures[1] is None:
            raise ValueError(f"{metric} over all counts is always measured")
        checks.append(
            Check(
                metric=metric,
                candidate=figures[0],
                other=figures[1],
                difference=found.difference,
                margin=margins.of(metric),
            )
        )
    return tuple(checks), comparison.photos, comparison.groups


def _limit(check: Check) -> str:
    return write_value(check.metric, check.margin, signed=True).lstrip("+")
