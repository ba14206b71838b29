"""Losses that do not fall, fall in training only, or have long stopped falling."""

import math
from dataclasses import dataclass
from typing import ClassVar

from bintally.evaluation.health import RuleName
from bintally.settings import RunSettings
from bintally.training.health.rule import Saw, slower
from bintally.training.health.seen import WINDOW, EpochLosses, Seen, Start


@dataclass(frozen=True, slots=True, kw_only=True)
class LossNotDecreasing:
    """The training loss is no better than guessing, or has risen.

    SageMaker's LossNotDecreasing compares the loss with that of ten steps before: less than 0.1 % lower, or 5 % higher.
    Losses of single batches scatter by more than that, so here means of 100 steps are compared: with what it costs to
    know only how frequent each count is, once two epochs or 1,000 steps are done after the warm-up (at least 100); and
    with the lowest such mean, which they may exceed by 5 % of that cost.
    """

    name: ClassVar[RuleName] = RuleName.LOSS_NOT_DECREASING
    explains: ClassVar[frozenset[RuleName]] = frozenset({RuleName.OVERTRAINING, RuleName.OVERFIT})
    least_gain: float = 0.001
    most_rise: float = 0.05
    least_steps: int = 100
    most_steps: int = 1000

    def judge(self, seen: Seen, settings: RunSettings) -> Saw | None:
        """Once enough steps are done."""
        start = seen.start
        if start is None or len(seen.windows) * WINDOW < self._ready_at(start):
            return None
        means = [(a + b) / 2 for a, b in zip(seen.windows, seen.windows[1:], strict=False)]
        now, best, first = means[-1], min(means), seen.windows[0]
        if now - best > self.most_rise * start.prior_loss:
            text = f"the training loss has risen from {best:.3f} to {now:.3f} (means of {2 * WINDOW} steps)"
            return Saw(text=text, todo=slower(settings))
        if now <= (1 - self.least_gain) * start.prior_loss:
            return None
        text = (
            f"the training loss is {now:.3f} (mean of {2 * WINDOW} steps), which is no better than guessing by "
            f"frequency alone ({start.prior_loss:.3f})"
        )
        return Saw(text=text, todo=self._remedy(now, first, settings))

    def _ready_at(self, start: Start) -> int:
        return start.warmup_steps + max(self.least_steps, min(2 * start.steps_per_epoch, self.most_steps))

    def _remedy(self, now: float, first: float, settings: RunSettings) -> str:
        if now > (1 - self.least_gain) * first:  # it has not moved at all
            return f"raise the rate: --set optimiser.lr={settings.optimiser.lr * 10:.3g}"
        return f"see that the labels belong to the photos (bintally audit DATA); if so, {slower(settings)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overfit:
    """Training goes on getting better while validation gets worse.

    SageMaker's Overfit: validation loss above training loss by 10 % of it. That ratio is 32 % in a healthy run of
    `mobilenetv2` on 8,315 photos, so here: for two epochs the validation loss has been above the best one by 3 % and
    its own standard error, and above the training loss by half of that; or it is twice the training loss, by three
    standard errors, and no longer falls. Only of a run that has learned more than how frequent each count is.
    """

    name: ClassVar[RuleName] = RuleName.OVERFIT
    explains: ClassVar[frozenset[RuleName]] = frozenset({RuleName.OVERTRAINING})
    rise: float = 0.03
    gap: float = 0.5
    large_gap: float = 1.0
    patience: int = 2
    least_steps: int = 100  # before, batch norms have not settled, and validation jumps

    def judge(self, seen: Seen, settings: RunSettings) -> Saw | None:
        """At the end of epochs."""
        if seen.start is None or len(seen.epochs) <= self.patience:
            return None
        if seen.step < self.least_steps or seen.epochs[-1].train >= seen.start.hard_prior_loss:
            return None
        place = min(range(len(seen.epochs)), key=lambda at: seen.epochs[at].val)
        best, since = seen.epochs[place], seen.epochs[place + 1 :]
        if len(since) < self.patience or not all(self._is_worse(each, best) for each in since[-self.patience :]):
            return None
        last = since[-1]
        text = (
            f"the validation loss has risen from {best.val:.3f} (epoch {place + 1}) to {last.val:.3f}, while the "
            f"training loss has fallen from {best.train:.3f} to {last.train:.3f}"
        )
        return Saw(text=text, todo=_to_generalise(settings))

    def _is_worse(self, epoch: EpochLosses, best: EpochLosses) -> bool:
        gap, rise = epoch.val - epoch.train, epoch.val - best.val
        if epoch.train >= best.train:
            return False
        has_turned = rise > max(self.rise * best.val, epoch.val_error) and gap > self.gap * epoch.train
        return has_turned or gap > max(self.large_gap * epoch.train, 3 * epoch.val_error)


def _to_generalise(settings: RunSettings) -> str:
    """What is not used yet of what holds a network back."""
    unused = [
        (settings.augment.shrink, "augment.shrink=0.2"),
        (settings.label_softness, "label_softness=0.8"),
        (settings.model.dropout, "model.dropout=0.3"),
        (settings.optimiser.weight_decay, "optimiser.weight_decay=0.05"),
    ]
    changes = " ".join(f"--set {change}" for value, change in unused if not value)
    return f"ingest more photos, or {changes or '--set model.frozen=true'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overtraining:
    """The run goes on though neither training nor validation gets any better.

    SageMaker's Overtraining: no improvement by 0.01 in training for 5 evaluations and in validation for 10; here 5 for
    both, for an evaluation is a whole epoch. Only of a run that has learned something, and whose training loss has not
    risen again.
    """

    name: ClassVar[RuleName] = RuleName.OVERTRAINING
    explains: ClassVar[frozenset[RuleName]] = frozenset()
    delta: float = 0.01
    patience: int = 5
    learned: float = 0.9
    most_rise: float = 0.05
    least_steps: int = 100

    def judge(self, seen: Seen, settings: RunSettings) -> Saw | None:
        """At the end of epochs."""
        if seen.start is None or seen.step < self.least_steps or len(seen.epochs) <= self.patience:
            return None
        train, val = self._optimum([e.train for e in seen.epochs]), self._optimum([e.val for e in seen.epochs])
        last = len(seen.epochs) - 1
        knows_nothing = seen.start.hard_prior_loss
        has_learned = seen.epochs[train].train <= self.learned * knows_nothing
        has_risen = seen.epochs[-1].train > seen.epochs[train].train + self.most_rise * knows_nothing
        if not has_learned or has_risen or last - max(train, val) < self.patience:
            return None
        best = min(range(last + 1), key=lambda at: seen.epochs[at].val)
        text = (
            f"neither loss has fallen by {self.delta} in {last - max(train, val)} epochs: validation is at "
            f"{seen.epochs[-1].val:.3f} after {seen.epochs[val].val:.3f} in epoch {val + 1}"
        )
        return Saw(text=text, todo=f"end sooner: --set epochs={best + 1}, or --set patience={self.patience - 2}")

    def _optimum(self, losses: list[float]) -> int:
        """Where the loss last improved by `delta`."""
        place, best = 0, math.inf
        for at, loss in enumerate(losses):
            if loss < best - self.delta:
                place, best = at, loss
        return place
