"""All rules, in the order in which they are asked, and how one explains another."""

from collections.abc import Collection, Iterator, Sequence

from bintally.evaluation.health import RuleName
from bintally.settings import RunSettings
from bintally.training.health.gradients import ExplodingGradient, VanishingGradient
from bintally.training.health.labels import ClassImbalance, SplitsDiffer
from bintally.training.health.loading import StarvedStep
from bintally.training.health.losses import LossNotDecreasing, Overfit, Overtraining
from bintally.training.health.rule import Rule, Saw
from bintally.training.health.seen import Seen
from bintally.training.health.units import DeadUnits, PoorInitialisation, SaturatedOutputs

RULES: Sequence[Rule] = (
    SplitsDiffer(),
    ClassImbalance(),
    PoorInitialisation(),
    ExplodingGradient(),
    DeadUnits(),
    SaturatedOutputs(),
    VanishingGradient(),
    LossNotDecreasing(),
    Overfit(),
    Overtraining(),
    StarvedStep(),
)
"""Besides these there is `nan`, which needs the batch: `nonfinite`."""

OF_DATA = frozenset({RuleName.SPLITS_DIFFER, RuleName.CLASS_IMBALANCE, RuleName.STARVED_STEP})
"""Rules that a number that is not finite does not explain."""


def judge(seen: Seen, settings: RunSettings, raised: Collection[RuleName]) -> Iterator[tuple[Rule, Saw]]:
    """What the rules have to say that is new.

    Args:
        seen: of the run.
        settings: of the run.
        raised: rules that raised an alarm before; they are not asked again, nor those they explain.
    """
    silent = set(raised).union(*(rule.explains for rule in RULES if rule.name in raised))
    for rule in RULES:
        if rule.name in silent or (seen.spoilt and rule.name not in OF_DATA):
            continue
        if (saw := rule.judge(seen, settings)) is not None:
            silent |= rule.explains
            yield rule, saw
