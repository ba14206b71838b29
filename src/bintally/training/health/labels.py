"""Labels that are nearly all alike, or are others in one split than in another; and where they are read from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import numpy as np

from bintally.data.manifest import Manifest, Split
from bintally.domain.classes import CountClasses
from bintally.evaluation.health import RuleName
from bintally.settings import RunSettings
from bintally.training.health.rule import Saw
from bintally.training.health.seen import Seen, SplitLabels

_SPLITS = (Split.TRAIN, Split.VAL, Split.CALIBRATION)


def read_labels(manifest: Manifest, classes: CountClasses, settings: RunSettings) -> dict[str, SplitLabels]:
    """How often each class occurs in the splits that a run reads."""
    found = {}
    for split in _SPLITS:
        rows = manifest.usable(split, settings.data.excluded_flags)
        labels = classes.encode(rows["count"].to_numpy())
        kept = labels >= 0
        groups = rows["group"].to_numpy()[kept]
        photos = np.bincount(labels[kept], minlength=classes.size)
        found[split.value] = SplitLabels(photos=photos.tolist(), groups=len(set(groups)))
    return found


def entropy(shares: Sequence[float]) -> float:
    """In nats.

    >>> round(entropy([0.5, 0.5]), 4)
    0.6931
    """
    total = sum(shares)
    return -sum(share / total * math.log(share / total) for share in shares if share > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassImbalance:
    """Nearly all photos have one count.

    SageMaker's ClassImbalance: ten times as many of the largest class as of the smallest. Counts have a long tail that
    no warehouse is without (66 times, in ABID), so here it is the evenness of the whole distribution, its entropy over
    the largest possible (Pielou, 1966): below 0.44, which is what ten to one comes to where there are two classes.
    ABID has 0.80. SageMaker's second question, mistakes by class, is left out: every run on ABID fails it in the tail.
    """

    name: ClassVar[RuleName] = RuleName.CLASS_IMBALANCE
    explains: ClassVar[frozenset[RuleName]] = frozenset({RuleName.LOSS_NOT_DECREASING, RuleName.OVERFIT})
    evenness: float = 0.44

    def judge(self, seen: Seen, settings: RunSettings) -> Saw | None:
        """Before the first step."""
        if seen.start is None:
            return None
        train = seen.start.labels[Split.TRAIN.value]
        evenness = entropy(train.photos) / math.log(len(train.photos))
        if evenness >= self.evenness:
            return None
        most = max(train.photos)
        count = seen.start.count(train.photos.index(most))
        text = (
            f"{most:,} of {train.total:,} training photos ({most / train.total:.0%}) have {count}; the evenness "
            f"of {len(train.photos)} classes is {evenness:.2f}"
        )
        return Saw(
            text=text, todo="ingest photos with other counts, or train on counts that have photos: --counts LOW-HIGH"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitsDiffer:
    """A split has other counts than the training split, so that it chooses and calibrates for other bins.

    The Kolmogorov-Smirnov distance between two splits: how far apart their shares of photos with up to so many items
    get. Above 0.15, and too far for chance at one in a thousand (Stephens, 1970), with groups of siblings as the
    sample, since photos of a group nearly share a count. ABID's splits: 0.05 at most.
    """

    name: ClassVar[RuleName] = RuleName.SPLITS_DIFFER
    explains: ClassVar[frozenset[RuleName]] = frozenset({RuleName.OVERFIT, RuleName.OVERTRAINING})
    distance: float = 0.15
    chance: float = 0.001

    def judge(self, seen: Seen, settings: RunSettings) -> Saw | None:
        """Before the first step."""
        if seen.start is None:
            return None
        train = seen.start.labels[Split.TRAIN.value]
        for split in (Split.VAL, Split.CALIBRATION):
            other = seen.start.labels[split.value]
            ours, theirs = _up_to(train), _up_to(other)
            place = max(range(len(ours)), key=lambda at: abs(ours[at] - theirs[at]))
            distance = abs(ours[place] - theirs[place])
            if distance > self.distance and chance_of(distance, train.groups, other.groups) < self.chance:
                text = (
                    f"{theirs[place]:.0%} of the {other.total:,} photos in {split.value} have up to "
                    f"{seen.start.count(place)}, but {ours[place]:.0%} of the {train.total:,} in train"
                )
                return Saw(text=text, todo="split anew: bintally split DATA --salt ANOTHER")
        return None


def _up_to(labels: SplitLabels) -> list[float]:
    """Shares of photos with a class up to each."""
    return [photos / labels.total for photos in accumulate(labels.photos)]


def chance_of(distance: float, one: int, other: int) -> float:
    """How often samples of these sizes from one distribution lie so far apart, or farther.

    Stephens, "Use of the Kolmogorov-Smirnov, Cramer-von Mises and related statistics without extensive tables" (1970).
    Of counts, which repeat, it is too high rather than too low.

    >>> round(chance_of(0.3, 100, 100), 4), chance_of(0.0, 10, 10)
    (0.0002, 1.0)
    """
    root = math.sqrt(one * other / (one + other))
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.2:  # noqa: PLR2004 - the series does not converge below, where the answer is 1
        return 1.0
    return min(1.0, 2.0 * math.fsum((-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101)))
