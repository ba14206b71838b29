"""What a rule is: a threshold with a source, and one question about what was seen of a run.

Most names and meanings are those of Amazon SageMaker Debugger's built-in rules
(https://docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html), "SageMaker" below; where a threshold is
another, its rule says why. Refuses to remember anything: rules are asked again and again of the same `Seen`.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from bintally.evaluation.health import RuleName
from bintally.settings import RunSettings
from bintally.training.health.seen import Seen

OF_NETWORK = frozenset(
    {
        RuleName.EXPLODING_GRADIENT,
        RuleName.DEAD_UNITS,
        RuleName.SATURATED_OUTPUTS,
        RuleName.VANISHING_GRADIENT,
        RuleName.LOSS_NOT_DECREASING,
        RuleName.OVERTRAINING,
    }
)
"""What follows where a network cannot learn: steps that are too large, say, leave dead units and saturated outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saw:
    """What a rule found.

    Attributes:
        text: what was seen, with figures.
        todo: what to do about it: a setting to change, by name.
        photos: keys of the photos concerned, where that can be told.
    """

    text: str
    todo: str
    photos: tuple[str, ...] = ()


class Rule(Protocol):
    """One thing that can be wrong with a run.

    Attributes:
        name: what it is called.
        explains: rules that are not asked any more once this one has raised an alarm: what they would see follows.
    """

    name: ClassVar[RuleName]
    explains: ClassVar[frozenset[RuleName]]

    def judge(self, seen: Seen, settings: RunSettings) -> Saw | None:
        """What is wrong; None: nothing, or it is too early to say."""


def slower(settings: RunSettings) -> str:
    """The change to a tenth of the rate, and to no more than rates usually are.

    >>> slower(RunSettings())
    '--set optimiser.lr=0.0001'
    """
    return f"--set optimiser.lr={min(settings.optimiser.lr / 10, 0.01):.3g}"


def named(layers: list[str]) -> str:
    """A few layers by name.

    >>> named(["a", "b", "c", "d"])
    'a, b and 2 more'
    """
    shown = 2
    return ", ".join(layers[:shown]) + (f" and {len(layers) - shown} more" if len(layers) > shown else "")
