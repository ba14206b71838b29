"""Gradients that are too small to learn from, or too large."""

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from bintally.evaluation.health import RuleName
from bintally.settings import RunSettings
from bintally.training.health.rule import OF_NETWORK, Saw, named, slower
from bintally.training.health.seen import LOOKS, RECENT, Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class VanishingGradient:
    """A layer that hardly hears of the error.

    SageMaker's VanishingGradient: mean absolute gradient below 1e-7. Here that is 1e-7 of the error at the output, so
    that a network that has learned everything, whose gradients are small for want of an error, raises nothing; and a
    layer must be so in every one of the last looks.
    """

    name: ClassVar[RuleName] = RuleName.VANISHING_GRADIENT
    explains: ClassVar[frozenset[RuleName]] = OF_NETWORK
    threshold: float = 1e-7

    def judge(self, seen: Seen, settings: RunSettings) -> Saw | None:
        """After `LOOKS` looks."""
        if len(seen.looks) < LOOKS:
            return None
        last = seen.looks[-1]
        faint = [
            layer
            for layer in last.gradients
            if all(look.gradients.get(layer, 1.0) < self.threshold * look.error for look in seen.looks)
        ]
        if not faint:
            return None
        least = min(last.gradients[layer] for layer in faint)
        text = (
            f"{len(faint)} of {len(last.gradients)} layers get a mean gradient of {least:.1e} or little more, below "
            f"{self.threshold:.0e} of the error of {last.error:.2f}: {named(faint)}"
        )
        return Saw(text=text, todo=_to_hear_more(settings))


def _to_hear_more(settings: RunSettings) -> str:
    if not settings.model.pretrained:
        return "start from trained weights (--set model.pretrained=true), or take a network with shortcuts (resnet50)"
    if settings.precision != "fp32":
        return "see whether it is rounding: --set precision=fp32; else " + slower(settings)
    return f"{slower(settings)}, or take a network with shortcuts: --set model.backbone=resnet50"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplodingGradient:
    """Gradients many times as long as at the start.

    SageMaker's ExplodingTensor waits for what is not finite; that is the rule `nan` here, and this one comes before
    it. 100 times the length at the first step: runs of our recipes on real photos stay below 2 times, and clipping is
    advised at ten times the usual (Pascanu et al., "On the difficulty of training recurrent neural networks", 2013).
    """

    name: ClassVar[RuleName] = RuleName.EXPLODING_GRADIENT
    explains: ClassVar[frozenset[RuleName]] = OF_NETWORK
    factor: float = 100.0
    least: float = 1.0

    def judge(self, seen: Seen, settings: RunSettings) -> Saw | None:
        """Whenever there are `RECENT` norms besides the first."""
        if seen.first_norm is None or len(seen.norms) < RECENT or seen.step <= RECENT:
            return None
        now, reference = median(seen.norms), max(seen.first_norm, self.least)
        if now < self.factor * reference:
            return None
        warmup = "" if settings.optimiser.warmup_share else " --set optimiser.warmup_share=0.1"
        text = f"gradients are {now:.3g} long (median of {RECENT} steps), {now / reference:,.0f} times as at the start"
        return Saw(text=text, todo=f"{slower(settings)}{warmup}")
