"""Units of the network that say nothing any more, and networks that could not learn from their first step on."""

import math
from dataclasses import dataclass
from typing import ClassVar

from bintally.evaluation.health import RuleName
from bintally.settings import RunSettings
from bintally.training.health.rule import OF_NETWORK, Saw, named, slower
from bintally.training.health.seen import LOOKS, Look, Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class PoorInitialisation:
    """Weights that no training starts from.

    SageMaker's PoorWeightInitialization compares variances between layers (ratio 10), gradients and losses of the
    first steps. Batch norms hide a layer's scale from what follows, and trained weights differ by more, so here:

    - a layer's gain (standard deviation of its weights times the root of its inputs; He et al., "Delving deep into
      rectifiers", 2015, start with 1.4) outside 0.001 to 1000; seen in weights that work: 0.13 to 31;
    - all units of a layer alike, so that they can only learn the same;
    - what layers put out differs in spread by more than 1000 times; seen: 35;
    - the first loss above three times that of knowing nothing, the logarithm of the number of classes
      (Karpathy, "A Recipe for Training Neural Networks", 2019); seen: 1.1 times.
    """

    name: ClassVar[RuleName] = RuleName.POOR_INITIALISATION
    explains: ClassVar[frozenset[RuleName]] = OF_NETWORK
    gains: tuple[float, float] = (1e-3, 1e3)
    spread_ratio: float = 1e3
    loss_ratio: float = 3.0

    def judge(self, seen: Seen, settings: RunSettings) -> Saw | None:
        """From the weights before the first step, then from the first look, if that was at the first step."""
        if seen.start is None:
            return None
        if seen.start.alike:
            return _found(f"all units of a layer have the same weights: {named(seen.start.alike)}", settings)
        if off := [layer for layer, gain in seen.start.gains.items() if not self.gains[0] <= gain <= self.gains[1]]:
            worst = seen.start.gains[off[0]]
            text = f"weights of {len(off)} of {len(seen.start.gains)} layers are too small or too large: {named(off)}"
            return _found(f"{text}, with a gain of {worst:.1e} where about 1 is usual", settings)
        if seen.first_look is None or seen.first_look.step > 0:
            return None
        return self._of_first_look(seen.first_look, len(seen.start.labels["train"].photos), settings)

    def _of_first_look(self, look: Look, classes: int, settings: RunSettings) -> Saw | None:
        nothing_known = math.log(classes)
        if look.loss > self.loss_ratio * nothing_known:
            text = f"the first loss is {look.loss:.3g}, but knowing nothing of {classes} classes costs"
            return _found(f"{text} {nothing_known:.2f}", settings)
        alive = {layer: spread for layer, spread in look.spreads.items() if spread > 0}  # none: dead, another rule's
        if not alive or max(alive.values()) <= self.spread_ratio * min(alive.values()):
            return None
        least, most = min(alive, key=alive.__getitem__), max(alive, key=alive.__getitem__)
        text = f"the spread of what layers put out goes from {alive[least]:.1e} ({least}) to {alive[most]:.1e} ({most})"
        return _found(text, settings)


def _found(text: str, settings: RunSettings) -> Saw:
    if settings.model.pretrained:
        return Saw(text=text, todo="see that --weights FILE is the backbone's own and undamaged")
    return Saw(
        text=text, todo="start from trained weights: --set model.pretrained=true, or choose another model.backbone"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadUnits:
    """Rectifiers that are always off, so that nothing flows back through them.

    SageMaker's DeadRelu: more than half of a layer's units active less than 1 % of the time. Here a unit is dead only
    if it was never on in all of the last looks: of the features that ImageNet taught, many are rare in photos of bins
    (up to a third of a layer off in a single look is healthy).
    """

    name: ClassVar[RuleName] = RuleName.DEAD_UNITS
    explains: ClassVar[frozenset[RuleName]] = OF_NETWORK
    share: float = 0.5

    def judge(self, seen: Seen, settings: RunSettings) -> Saw | None:
        """After `LOOKS` looks."""
        if len(seen.looks) < LOOKS:
            return None
        dead = seen.looks[-1].dead
        if not (layers := [layer for layer, share in dead.items() if share > self.share]):
            return None
        worst = max(layers, key=dead.__getitem__)
        text = f"{dead[worst]:.0%} of the units of {worst} are off in every photo of {LOOKS} looks"
        more = f", and more than half in {len(layers) - 1} other layers" if len(layers) > 1 else ""
        return Saw(text=text + more, todo=f"{slower(settings)} --set optimiser.warmup_share=0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class SaturatedOutputs:
    """Answers so sure that nothing flows back from them, though they are wrong; or units stuck at their function's end.

    SageMaker's SaturatedActivation: inputs where the gradient is below 1e-7 (a sigmoid's above 17), in more than half
    of the units. Of the output's softmax that is a lead of 17 of the largest logit, in more than half of the photos,
    while more than a tenth of the probability lies wrong: a network that is sure and right is not sick.
    """

    name: ClassVar[RuleName] = RuleName.SATURATED_OUTPUTS
    explains: ClassVar[frozenset[RuleName]] = OF_NETWORK
    share: float = 0.5
    error: float = 0.1

    def judge(self, seen: Seen, settings: RunSettings) -> Saw | None:
        """After `LOOKS` looks."""
        if len(seen.looks) < LOOKS:
            return None
        softer = "" if settings.label_softness else " --set label_softness=0.5"
        last = seen.looks[-1]
        if all(look.one_hot > self.share and look.error > self.error for look in seen.looks):
            text = f"{last.one_hot:.0%} of predictions are certain to seven digits, and {last.error:.0%} is wrong"
            return Saw(text=text, todo=slower(settings) + softer)
        stuck = [layer for layer, share in last.capped.items() if share > self.share]
        if not stuck:
            return None
        text = f"{last.capped[stuck[0]]:.0%} of the units of {named(stuck)} are stuck at their function's end"
        return Saw(text=text, todo=slower(settings) + softer)
