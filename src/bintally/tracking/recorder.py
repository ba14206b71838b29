"""Records a run while it trains: a callback that notes figures in the run's folder, which a thread sends to a store.

Refuses to change what is learned: it draws no random numbers, and no store's fault reaches training.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from bintally.errors import StoppedError, StoreUnavailableError
from bintally.tracking.folder import CURVES, Status, curve_points
from bintally.tracking.journal import Journal, Point
from bintally.tracking.record import Origin, Record, new_record, now_ms, read_record, write_record
from bintally.tracking.sender import Sender, remedy
from bintally.tracking.store import Store
from bintally.tracking.system import PREFIX, MachineWatch

EVERY_STEPS = 20
BATCH_LOSS = f"{CURVES}batch_loss"


class Recorder(Callback):
    """Records one run, in the first of its processes.

    Args:
        store: where to.
        run: the run's folder.
        origin: what the run is made from.
        say: is told what a person should know.
        resume: whether an unfinished run there goes on.
        every: optimiser steps from one batch's loss to the next that is noted.

    Attributes:
        is_whole: all of a run that has ended is in the store.
    """

    def __init__(
        self,
        store: Store,
        run: Path,
        origin: Origin,
        *,
        say: Callable[[str], None],
        resume: bool = True,
        every: int = EVERY_STEPS,
    ) -> None:
        self._store, self._run, self._origin, self._say = store, run, origin, say
        self._resume, self._every = resume, every
        self._is_first, self._is_down = getattr(rank_zero_only, "rank", 0) == 0, False
        self.is_whole = False
        self._journal: Journal | None = None
        self._sender: Sender | None = None
        self._machine: MachineWatch | None = None

    def check(self) -> None:
        """See that the store can be used, before anything is trained.

        Raises:
            SettingsError: if it cannot be meant.
            StoreError: if it refuses; where it cannot be reached, that is only said.
        """
        if not self._is_first:
            return
        try:
            _ = self._store.experiment_id
        except StoreUnavailableError as error:
            if self._store.database is not None:
                raise
            self._is_down = True
            self._say(
                f"{error}. Training goes on; its figures are kept in {self._run} and sent as soon as the server "
                f"answers. {remedy(self._run, self._store)}"
            )

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Around the whole run: how it ends is recorded, too."""
        try:
            yield
        except (StoppedError, KeyboardInterrupt):
            self._end(Status.KILLED)
            raise
        except BaseException:
            self._end(Status.FAILED)
            raise
        self._begin(goes_on=True)  # where only calibration was left of a run
        self._end(Status.FINISHED)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Begin, or go on."""
        self._begin(goes_on=trainer.global_step > 0)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Now and then, note the loss."""
        if self._journal is not None and trainer.global_step % self._every == 0:
            self._note([Point(now_ms(), trainer.global_step, BATCH_LOSS, float(outputs["loss"]))])

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note what the run's curves say of the epoch."""
        if self._journal is not None:
            now, epoch = now_ms(), trainer.current_epoch + 1
            rows = [point for point in curve_points(self._run) if point.step == epoch]
            self._note([Point(now, epoch, point.key, point.value) for point in rows])

    def _begin(self, *, goes_on: bool) -> None:
        if self._journal is not None or not self._is_first:
            return
        record = self._take_up(goes_on=goes_on)
        self._journal = Journal(self._run)
        if record is None:
            self._journal.clear()
            record = new_record(self._store.uri, self._store.experiment, self._origin)
        record = record.model_copy(update={"uri": self._store.uri, "experiment": self._store.experiment})
        write_record(record, self._run)
        self._sender = Sender(self._store, self._run, record, self._journal, say=self._say, is_down=self._is_down)
        self._machine = MachineWatch(self._note, first=self._journal.next_step(PREFIX))
        self._sender.start()
        self._machine.start()

    def _take_up(self, *, goes_on: bool) -> Record | None:
        """The record of the same run, if this is one: gone on with, or begun again before its first state was saved."""
        record = read_record(self._run) if self._resume else None
        return record if record is not None and (goes_on or record.origin == self._origin) else None

    def _note(self, points: list[Point]) -> None:
        if self._journal is None:
            return
        try:
            self._journal.add(points)
        except OSError as error:
            self._journal = None
            self._say(f"{self._run}: figures cannot be written ({error}); training goes on, they are not recorded")

    def _end(self, status: Status) -> None:
        if self._machine is not None:
            self._machine.end()
        if self._sender is None:
            return
        self._sender.end(status)
        self.is_whole = self._sender.is_whole
        if not self.is_whole:
            self._say(f"Not all of {self._run} is recorded in {self._store.uri}. {remedy(self._run, self._store)}")
        self._sender = self._machine = None
