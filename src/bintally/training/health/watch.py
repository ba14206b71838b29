"""Watches a run: gathers what is cheap to see and has the rules judge it.

Looks closely at one step in `every`; otherwise it sees loss, length of gradients and times. Its state is saved with the
run's, so that a run that goes on is watched as if it had never been broken off. Refuses to change what is learned.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import get_total_norm
from torch.utils.data import DataLoader

from bintally.data.manifest import Manifest
from bintally.evaluation.health import Health, RuleName
from bintally.models.dataset import Batch
from bintally.settings import RunSettings
from bintally.training.health import nonfinite
from bintally.training.health.alarms import Alarms
from bintally.training.health.probes import (
    ActivationProbe,
    FetchClock,
    error_of,
    gradients_of,
    mean_gradients,
    one_hot_share,
)
from bintally.training.health.rule import Saw
from bintally.training.health.rules import judge
from bintally.training.health.seen import EpochLosses, Look, Seen
from bintally.training.health.start import look_at_start
from bintally.training.module import CountModule, targets_of

EVERY = 20


class HealthWatch(Callback):
    """Watches one run, in every process of it; the first one speaks and writes.

    Args:
        run: the run's folder; gets `health.json`, and the batch that made a number not finite.
        manifest: what the run learns from.
        settings: the run's.
        say: is told each alarm, in one line.
        stop_on: rules whose alarm ends the run.
        every: how many steps from one close look to the next.
    """

    def __init__(
        self,
        run: Path,
        manifest: Manifest,
        settings: RunSettings,
        *,
        say: Callable[[str], None],
        stop_on: frozenset[RuleName] = frozenset(),
        every: int = EVERY,
    ) -> None:
        self._run, self._manifest, self._settings, self._every = run, manifest, settings, every
        self._seen = Seen()
        self._alarms = Alarms(run, say=say, stop_on=stop_on)
        self._probe: ActivationProbe | None = None
        self._clock: FetchClock | None = None
        self._loss = math.nan
        self._looking = False
        self._decoded = False  # every training photo, once, in this process
        self._batch: Batch | None = None
        self._number = 0  # of the batch, from 0 since its loader was begun
        self._val: list[Tensor] = []  # losses of photos

    @property
    def health(self) -> Health:
        """As far as the run was watched."""
        return self._alarms.health

    # Begin and end

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take down what is known before the first step, and have it judged."""
        module = cast("CountModule", pl_module)
        self._alarms.speaks = trainer.is_global_zero
        self._seen.start = look_at_start(trainer, module, self._manifest)
        self._probe = ActivationProbe(module.network)
        self._clock = FetchClock(trainer.profiler)  # type: ignore[attr-defined]
        trainer.profiler = self._clock  # type: ignore[attr-defined]
        self._alarms.write()
        self._judge()
        if self._alarms.stopped_by is not None and self._seen.step == 0:
            self._alarms.refuse()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Let go of network and trainer."""
        self._close(trainer)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Likewise."""
        self._close(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Plain values, to be saved with the run's own state."""
        return {"seen": self._seen.model_dump(exclude={"start", "times"}), "alarms": self._alarms.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the run was."""
        self._seen = Seen.model_validate(state_dict["seen"])
        self._alarms.restore(state_dict["alarms"])

    # A step of training, in the order in which Lightning calls

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """See whether this step is to be looked at."""
        self._batch, self._alarms.epoch = batch, trainer.current_epoch + 1
        self._looking = trainer.global_step % self._every == 0
        if self._looking and self._probe is not None:
            self._probe.look()

    def on_before_backward(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, loss: Tensor
    ) -> None:
        """The loss, before anything is spoilt by it."""
        self._loss = float(loss.detach())
        if not math.isfinite(self._loss):
            self._not_finite(trainer, pl_module, "the loss")

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """The gradients, before anything is spoilt by them."""
        if self._seen.spoilt:
            return
        module = cast("CountModule", pl_module)
        gradients = gradients_of(module.network)
        norm = float(get_total_norm(gradients))
        if not math.isfinite(norm) and not all(map(nonfinite.is_finite, gradients)):
            self._not_finite(trainer, pl_module, "a gradient")
            return
        self._seen.add_norm(norm)
        if self._looking:
            self._seen.add_look(self._look(trainer.global_step, module))

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """The step is done."""
        self._seen.step = self._alarms.step = trainer.global_step
        if not self._seen.spoilt:
            self._seen.add_loss(self._loss)
        self._take_time()
        self._number += 1
        if self._looking:
            self._judge()
        self._stop(trainer)

    # Validation, and the end of an epoch

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Each photo's loss."""
        if self._probe is None or self._probe.logits is None or self._seen.spoilt:
            return
        logits = self._probe.logits
        if nonfinite.is_finite(logits):
            self._val.append(functional.cross_entropy(logits, batch[1], reduction="none").cpu())
            return
        self._batch = batch
        self._not_finite(trainer, pl_module, "the validation loss", number=batch_idx)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep the epoch's losses, and have everything judged."""
        metrics = trainer.callback_metrics
        train, val = (float(metrics.get(name, math.nan)) for name in ("train_loss", "val_loss"))
        if math.isfinite(train) and math.isfinite(val) and self._val:
            photos = torch.cat(self._val)
            error = float(photos.std(correction=0)) / math.sqrt(len(photos))
            self._seen.epochs.append(EpochLosses(train=train, val=val, val_error=error))
        self._val, self._number, self._decoded = [], 0, True
        self._judge()
        self._alarms.write()
        self._stop(trainer)

    # What they share

    def _look(self, step: int, module: CountModule) -> Look:
        probe, batch = cast("ActivationProbe", self._probe), cast("Batch", self._batch)
        logits = cast("Tensor", probe.logits)
        targets = targets_of(batch, logits.shape[1], self._settings)
        return Look(
            step=step,
            loss=self._loss,
            error=error_of(logits, targets),
            one_hot=one_hot_share(logits),
            gradients=mean_gradients(module.network),
            dead=probe.dead,
            capped=probe.capped,
            spreads=probe.spreads,
        )

    def _take_time(self) -> None:
        """Not of an epoch in which photos are decoded once and for all, nor of the first batch of any."""
        start, clock = self._seen.start, self._clock
        if start is None or clock is None or self._number == 0 or (start.photos_fit and not self._decoded):
            return
        self._seen.times.add(clock.waited, time.perf_counter() - clock.fetched_at)

    def _not_finite(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, what: str, *, number: int | None = None
    ) -> None:
        """Keep the batch and say where it came from; once, for all that follows is spoilt."""
        if self._seen.spoilt:
            return
        self._seen.spoilt = True
        batch, network = cast("Batch", self._batch), cast("CountModule", module).network
        loader = cast("DataLoader[Batch]", trainer.train_dataloader if number is None else trainer.val_dataloaders)
        keys = nonfinite.keys_of(loader, self._number if number is None else number, batch, self._manifest.root)
        rank = trainer.global_rank
        path = self._run / (f"{rank}-{nonfinite.FILE_NAME}" if rank else nonfinite.FILE_NAME)
        nonfinite.save_batch(path, batch, keys)
        context = trainer.precision_plugin.forward_context
        saw = nonfinite.trace(network, batch, keys, self._settings, what=what, forward=context)
        self._alarms.ring(
            RuleName.NAN, Saw(text=f"{saw.text}. The batch is kept in {path}", todo=saw.todo, photos=saw.photos)
        )

    def _judge(self) -> None:
        for rule, saw in judge(self._seen, self._settings, self._alarms.rules):
            self._alarms.ring(rule.name, saw)

    def _stop(self, trainer: lightning.Trainer) -> None:
        if self._alarms.can_stop:
            stops = trainer.strategy.reduce_boolean_decision(self._alarms.stopped_by is not None, all=False)
            trainer.should_stop = trainer.should_stop or stops

    def _close(self, trainer: lightning.Trainer) -> None:
        if self._probe is None or self._clock is None:
            return
        self._probe.close()
        trainer.profiler = self._clock.inner  # type: ignore[attr-defined]
        self._probe = self._clock = None
        self._alarms.write()
