"""The LightningModule: one training step, one validation step, the optimiser and its schedule.

Shapes: photos uint8[N,S,S,3], classes int64[N], a teacher's probabilities float32[N,C], logits float32[N,C].
"""

import math

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional

from bintally.domain.classes import CountClasses
from bintally.models.dataset import Batch
from bintally.models.network import CountNetwork
from bintally.settings import OptimiserSettings, RunSettings


def soft_targets(classes: Tensor, size: int, softness: float) -> Tensor:
    """Targets float32[N,C] that fall off around the true class: nearer counts are less wrong.

    A normal density with standard deviation `softness` (in items), cut off at the ends; one-hot at 0. The ordinal
    label smoothing of Diaz & Marathe, "Soft Labels for Ordinal Regression" (2019), with a squared distance.

    >>> soft_targets(torch.tensor([0]), 3, 0.0)
    tensor([[1., 0., 0.]])
    """
    if softness == 0:
        return functional.one_hot(classes, size).float()
    distance = torch.arange(size, device=classes.device) - classes[:, None]
    return torch.softmax(-(distance**2) / (2 * softness**2), dim=1)


def targets_of(batch: Batch, size: int, settings: RunSettings) -> Tensor:
    """What the network is to answer to a batch, float32[N,C]: the recorded counts, and what the teacher thinks.

    Their mean with weights 1 - `teacher_weight` and `teacher_weight`: Hinton, Vinyals & Dean, "Distilling the Knowledge
    in a Neural Network" (2015), at temperature 1, since these probabilities are soft as they are.
    """
    _, classes, *believed = batch
    recorded = soft_targets(classes, size, settings.label_softness)
    return recorded.lerp(believed[0], settings.teacher_weight) if believed else recorded


class CountModule(lightning.LightningModule):
    """Trains a `CountNetwork` with cross entropy."""

    def __init__(
        self, network: CountNetwork, classes: CountClasses, settings: RunSettings, *, max_steps: int = -1
    ) -> None:
        """Take the network, and how many steps there are at most; -1: as many as epochs make."""
        super().__init__()
        self.network = network
        self.classes = classes
        self.settings = settings
        self.max_steps = max_steps
        self.trained = torch.zeros(3)  # loss and hits summed over this epoch's photos, and how many those are

    def forward(self, photos: Tensor) -> Tensor:
        """Logits of photos."""
        logits: Tensor = self.network(photos)
        return logits

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """The loss of one batch."""
        photos, classes = batch[:2]
        logits = self(photos).float()
        loss = functional.cross_entropy(logits, targets_of(batch, self.classes.size, self.settings))
        with torch.no_grad():  # what the curves show compares with validation: hard labels
            hard = functional.cross_entropy(logits, classes, reduction="sum")
            hits = (logits.argmax(1) == classes).sum()
            self.trained = self.trained.to(hard) + torch.stack((hard, hits, torch.full_like(hard, len(classes))))
        self.log("loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def on_fit_start(self) -> None:
        """Give each process a dropout of its own."""
        if self.global_rank:
            torch.manual_seed(self.settings.seed + self.global_rank)

    def on_train_epoch_start(self) -> None:
        """Sum anew; Lightning leaves this out for an epoch that goes on."""
        self.trained = torch.zeros(3)

    def on_validation_epoch_end(self) -> None:
        """Loss and accuracy of the epoch's training; here, because Lightning's own sums do not survive a stop."""
        loss, hits, photos = self.trained.tolist()
        values = {"train_loss": loss / photos, "train_accuracy": hits / photos}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=int(photos), sync_dist=True)

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Loss and accuracy of one batch, hard labels."""
        photos, classes = batch[:2]
        logits = self(photos).float()
        accuracy = (logits.argmax(1) == classes).float().mean()
        values = {"val_loss": functional.cross_entropy(logits, classes), "val_accuracy": accuracy}
        self.log_dict(values, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(classes), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser over what is not frozen, and its schedule by step."""
        settings = self.settings.optimiser
        optimiser = make_optimiser(self.network, settings)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        if self.max_steps > 0:
            steps = min(steps, self.max_steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: lr_factor(step, steps, settings))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_optimiser(network: torch.nn.Module, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """The optimiser that `settings` name; biases and norms are not decayed."""
    weights = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9)
    if settings.name == "adam":
        return torch.optim.Adam(groups, lr=settings.lr)
    return torch.optim.AdamW(groups, lr=settings.lr)


def lr_factor(step: int, steps: int, settings: OptimiserSettings) -> float:
    """What the learning rate is multiplied with at `step` of `steps`: rises linearly, then stays or falls as a cosine.

    >>> lr_factor(0, 100, OptimiserSettings())
    1.0
    >>> round(lr_factor(100, 100, OptimiserSettings(schedule="cosine")), 6)
    0.0
    """
    warmup = round(settings.warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    if settings.schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
