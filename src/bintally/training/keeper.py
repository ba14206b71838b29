"""Saves a run's state while it trains, keeps the best epoch's weights, and stops where it is told to.

A state is of a moment after a training step, before a validation, or at the end of an epoch. Refuses to go on with
another number of processes.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging
from torch import Tensor

from bintally.errors import CheckpointError, StoppedError
from bintally.training.module import CountModule
from bintally.training.resume import FORMAT_VERSION, STATE_KEY, STATE_NAME, Identity, random_state, set_random_state
from bintally.training.stopping import StopSignals

_COST_SHARE = 0.01  # of a run's time, for saving, where nobody says how often
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a state goes on: in this epoch (from 0), after so many batches; perhaps with its validation."""

    epoch: int
    batches: int = 0
    validation: bool = False


class Keeper(Checkpoint):
    """Saves, judges and stops. Lightning calls a `Checkpoint` after all others, so what they did is saved too.

    Args:
        run: the run's folder.
        identity: what must be the same for the run to go on.
        sitting: how many times the run was begun or taken up again.
        every: save after so many steps; None: as often as costs one percent of the time.
        clock: seconds that the run has taken so far.
        signals: whether the run is told to stop.
    """

    def __init__(
        self,
        run: Path,
        *,
        identity: Identity,
        sitting: int,
        every: int | None,
        clock: Callable[[], float],
        signals: StopSignals,
    ) -> None:
        self._run, self._identity, self._sitting = run, identity, sitting
        self._every, self._clock, self._signals = every, clock, signals
        self.best_loss = float("inf")
        self.best_weights: dict[str, Tensor] = {}
        self._place: _Place | None = None  # of the state that is being saved
        self._told = 0  # the signal that any process got
        self._random: dict[str, Any] | None = None  # to go on from
        self._ended = False
        self._saved_step, self._saved_at, self._cost = 0, 0.0, 0.0
        self._costs: list[float] = []

    # Going on

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up a state."""
        held = checkpoint[STATE_KEY]
        processes = held["processes"]
        if len(processes) != trainer.world_size:
            raise CheckpointError(
                f"{self._run}: the unfinished run was trained by {len(processes)} processes, now there are "
                f"{trainer.world_size}. Start as many again, or begin anew with --no-resume"
            )
        self._random = processes[trainer.global_rank]["random"]
        cast("CountModule", pl_module).trained = processes[trainer.global_rank]["trained"]
        self.best_loss, self.best_weights, self._ended = held["best_loss"], held["best_weights"], held["ended"]

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """A run that had ended, but for its calibration, does not train again."""
        trainer.should_stop = trainer.should_stop or self._ended

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Random numbers go on where they were; from here on there is something to save."""
        if self._random is not None:
            set_random_state(self._random)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        self._signals.listen()

    # Where a run can be broken off

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """After a step, unless validation follows."""
        if batch_idx + 1 < trainer.num_training_batches and not trainer.should_stop:
            self._pause(trainer, _Place(epoch=trainer.current_epoch, batches=batch_idx + 1))

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """After an epoch's last step. Not where training ends within an epoch: Lightning could not go on from there."""
        if not trainer.should_stop:
            self._pause(trainer, self._validation(trainer))

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A validation that is told to stop is left, and done anew from its beginning."""
        if not _any(trainer, self._signals.signum != 0) or trainer.should_stop:
            return
        for averaging in _averagings(trainer):
            averaging.on_validation_epoch_end(trainer, pl_module)  # puts the weights in training back in their place
        self._pause(trainer, self._validation(trainer))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """After an epoch was judged."""
        loss = float(trainer.callback_metrics["val_loss"])
        if loss < self.best_loss:
            self.best_loss, self.best_weights = loss, _judged(trainer, pl_module)
        self._pause(trainer, _Place(epoch=trainer.current_epoch + 1))

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """After the last epoch, where only calibration follows."""
        if _any(trainer, self._signals.signum != 0):
            trainer.should_stop = True
            self._pause(trainer, _Place(epoch=trainer.current_epoch))
        _log.info("saved %d times, %.2f s in all", len(self._costs), sum(self._costs))

    # Saving

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add to Lightning's state what is not in it."""
        if self._place is None:
            return
        if self._place.validation:
            _begin_with_validation(checkpoint["loops"]["fit_loop"])
        trained = cast("CountModule", pl_module).trained
        processes = _gather(trainer, {"random": random_state(), "trained": trained.cpu(), "told": self._signals.signum})
        self._told = max(each["told"] for each in processes)
        checkpoint[STATE_KEY] = {
            "version": FORMAT_VERSION,
            "identity": self._identity,
            "epoch": self._place.epoch,
            "batches": self._place.batches,
            "ended": trainer.should_stop,
            "seconds": self._clock(),
            "sittings": self._sitting,
            "best_loss": self.best_loss,
            "best_weights": self.best_weights,
            "processes": processes,
        }

    def _pause(self, trainer: lightning.Trainer, place: _Place) -> None:
        """Save, if it is time or the run is told to stop; then stop, if it is."""
        if not _any(trainer, self._signals.signum != 0 or self._due(trainer)):
            return
        self._save(trainer, place)
        if self._told:
            raise StoppedError(
                f"{self._run}: stopped after {trainer.global_step} steps, in epoch {trainer.current_epoch + 1}, and "
                f"saved. The same command goes on, with --out {self._run}",
                signum=self._told,
            )

    def _due(self, trainer: lightning.Trainer) -> bool:
        if self._every is not None:
            return trainer.global_step - self._saved_step >= self._every
        return time.monotonic() - self._saved_at >= self._cost / _COST_SHARE

    def _save(self, trainer: lightning.Trainer, place: _Place) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()  # what is still to be computed is no cost of saving
        begun = time.monotonic()
        self._place = place
        trainer.save_checkpoint(self._run / STATE_NAME, weights_only=False)
        self._place = None
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        self._cost = self._saved_at - begun
        self._costs.append(self._cost)

    @staticmethod
    def _validation(trainer: lightning.Trainer) -> _Place:
        return _Place(epoch=trainer.current_epoch, batches=int(trainer.num_training_batches), validation=True)


def _any(trainer: lightning.Trainer, here: bool) -> bool:
    """Whether it is so in any process; all of them must ask."""
    return trainer.strategy.reduce_boolean_decision(here, all=False)


def _gather(trainer: lightning.Trainer, mine: dict[str, Any]) -> list[dict[str, Any]]:
    """What each process has, by rank."""
    if trainer.world_size == 1:
        return [mine]
    every: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(every, mine)
    return every


def _averagings(trainer: lightning.Trainer) -> Iterator[WeightAveraging]:
    return (each for each in trainer.callbacks if isinstance(each, WeightAveraging))  # type: ignore[attr-defined]


def _judged(trainer: lightning.Trainer, module: lightning.LightningModule) -> dict[str, Tensor]:
    """A copy of the weights that validation saw: averaged ones, where there are any."""
    held: dict[str, Any] = {"state_dict": module.state_dict()}
    for averaging in _averagings(trainer):
        averaging.on_save_checkpoint(trainer, module, held)  # puts the averaged weights there
    return {name: each.detach().to("cpu", copy=True) for name, each in held["state_dict"].items()}


def _begin_with_validation(loops: dict[str, Any]) -> None:
    """Make Lightning go on with a whole validation: one whose first batch was begun it takes up again.

    Without this it would hold the epoch for validated: it saves in no such place itself.
    """
    begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    loops["epoch_loop.val_loop.batch_progress"] = {"total": {**begun}, "current": {**begun}, "is_last_batch": False}
