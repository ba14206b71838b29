"""What the watch has seen of a run so far: plain numbers, few enough to be judged at any time and kept in a checkpoint.

Refuses tensors: whoever looks at the network (`probes`) turns what it shows into numbers first.
"""

from math import fsum

from pydantic import BaseModel, ConfigDict, Field

WINDOW = 50
"""Steps whose mean loss is one figure."""
RECENT = 5
"""Gradient norms that are kept, the newest last."""
LOOKS = 3
"""Looks at the network that are kept: what is seen in all of them is no accident of one batch."""
TIMED = 100
"""Steps whose times are kept."""


class _Seen(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SplitLabels(_Seen):
    """The labels of one split.

    Attributes:
        photos: by class.
        groups: of sibling photos, which nearly share a label.
    """

    photos: list[int]
    groups: int

    @property
    def total(self) -> int:
        """All photos."""
        return sum(self.photos)


class Start(_Seen):
    """What is known before the first step.

    Attributes:
        lowest_count: that of the first class.
        open_ended: whether the last class means its count or more.
        labels: by split: train, val, calibration.
        prior_loss: the training loss of knowing only how frequent each count is, in nats; soft targets count as such.
        hard_prior_loss: the same for plain cross entropy.
        steps_per_epoch: optimiser steps in one pass.
        warmup_steps: steps in which the rate rises.
        photos_fit: decoded training photos are kept: after one epoch nothing is decoded any more.
        gains: by layer, the weights' standard deviation times the root of how many inputs a unit has.
        alike: layers of which all units have the same weights.
    """

    lowest_count: int
    open_ended: bool
    labels: dict[str, SplitLabels]
    prior_loss: float
    hard_prior_loss: float
    steps_per_epoch: int
    warmup_steps: int
    photos_fit: bool = True
    gains: dict[str, float] = Field(default_factory=dict)
    alike: list[str] = Field(default_factory=list)

    def count(self, label: int) -> str:
        """What a class means, in words."""
        is_last = label == len(next(iter(self.labels.values())).photos) - 1
        return f"{self.lowest_count + label} items" + (" or more" if is_last and self.open_ended else "")


class Look(_Seen):
    """One batch, looked at closely.

    Attributes:
        step: optimiser steps done before it.
        loss: of the batch.
        error: probability that lies wrong, on average: 0 where predictions are the targets, at most 1.
        one_hot: share of photos whose prediction is so sure that its gradient is lost.
        gradients: by weight, the mean absolute gradient.
        dead: by layer, the share of units that were off in this look and those before it, as many as `LOOKS` in all.
        capped: by layer, the share of units that stood at their function's ends likewise.
        spreads: by layer, the standard deviation of what it puts out.
    """

    step: int
    loss: float
    error: float
    one_hot: float
    gradients: dict[str, float]
    dead: dict[str, float]
    capped: dict[str, float]
    spreads: dict[str, float]


class EpochLosses(_Seen):
    """Plain cross entropies at the end of an epoch, and the standard error of the one on val."""

    train: float
    val: float
    val_error: float


class Times(_Seen):
    """Seconds of the last steps: waiting for the batch, and working on it."""

    waited: list[float] = Field(default_factory=list)
    worked: list[float] = Field(default_factory=list)

    def add(self, waited: float, worked: float) -> None:
        """One step's."""
        self.waited = [*self.waited[1 - TIMED :], waited]
        self.worked = [*self.worked[1 - TIMED :], worked]


class Seen(_Seen):
    """Everything seen; what grows with the run is one figure for `WINDOW` steps and three for an epoch.

    Attributes:
        step: optimiser steps done.
        first_norm: of the first step's gradients, all of them together.
        norms: of the last `RECENT` steps.
        windows: mean loss of each `WINDOW` steps.
        losses: of the steps since.
        looks: the last `LOOKS`.
        spoilt: a number was not finite: from there on nothing that the network shows means anything.
    """

    start: Start | None = None
    step: int = 0
    first_norm: float | None = None
    norms: list[float] = Field(default_factory=list)
    windows: list[float] = Field(default_factory=list)
    losses: list[float] = Field(default_factory=list)
    first_look: Look | None = None
    looks: list[Look] = Field(default_factory=list)
    epochs: list[EpochLosses] = Field(default_factory=list)
    times: Times = Field(default_factory=Times)
    spoilt: bool = False

    def add_loss(self, loss: float) -> None:
        """One step's."""
        self.losses.append(loss)
        if len(self.losses) == WINDOW:
            self.windows.append(fsum(self.losses) / WINDOW)
            self.losses = []

    def add_norm(self, norm: float) -> None:
        """One step's."""
        if self.first_norm is None:
            self.first_norm = norm
        self.norms = [*self.norms[1 - RECENT :], norm]

    def add_look(self, look: Look) -> None:
        """The newest."""
        self.first_look = self.first_look or look
        self.looks = [*self.looks[1 - LOOKS :], look]
