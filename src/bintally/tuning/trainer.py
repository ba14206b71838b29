"""How a trial is trained: `bintally.training.fit`, watched after every epoch. Refuses to show progress of its own."""

import csv
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from bintally.data.manifest import Manifest
from bintally.errors import CheckpointError
from bintally.models.checkpoint import FACTS_NAME
from bintally.settings import RunSettings
from bintally.training.curves import CURVES_NAME
from bintally.training.fit import fit
from bintally.tuning.objective import Progress

_CHATTY = ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric")  # advice and adverts


@dataclass(frozen=True, slots=True, kw_only=True)
class FitTrial:
    """Trains a trial on photos.

    Attributes:
        manifest: the photos.
        weights: the backbone's.
    """

    manifest: Manifest
    weights: Path | None = None

    def __call__(self, settings: RunSettings, run: Path, on_epoch: Callable[[Progress], None]) -> Progress:
        """As `bintally.tuning.objective.Train` says."""
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.ERROR)
        watcher = EpochWatcher(run, on_epoch)
        try:
            if not (run / FACTS_NAME).exists():  # else its worker died just when it was done
                self._fit(settings, run, watcher)
        finally:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # another worker may need it
        seconds = float(json.loads((run / FACTS_NAME).read_text(encoding="utf-8"))["seconds"])
        return watcher.progress(seconds)

    def _fit(self, settings: RunSettings, run: Path, watcher: "EpochWatcher") -> None:
        for resume in (True, False):
            try:
                fit(
                    self.manifest,
                    settings,
                    run,
                    weights=self.weights,
                    callbacks=(watcher,),
                    progress=False,
                    resume=resume,
                )
            except CheckpointError:  # what it was broken off with does not fit any more
                if not resume:
                    raise
            else:
                return


class EpochWatcher(Callback):
    """Tells of each epoch, once it stands in the run's curves."""

    def __init__(self, run: Path, on_epoch: Callable[[Progress], None]) -> None:
        self._run, self._on_epoch = run, on_epoch
        self._steps, self._steps_per_epoch = 0, 0

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Tell."""
        self._steps, self._steps_per_epoch = trainer.global_step, int(trainer.num_training_batches)
        self._on_epoch(self.progress())

    def progress(self, seconds: float | None = None) -> Progress:
        """How far the run is; steps are 0 if no epoch was trained here."""
        with (self._run / CURVES_NAME).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return Progress(
            losses=tuple(float(row["val_loss"]) for row in rows),
            steps=self._steps,
            steps_per_epoch=self._steps_per_epoch,
            seconds=float(rows[-1]["seconds"]) if seconds is None else seconds,
        )


def take_gpu(place: int) -> None:
    """Have this process see one GPU of several, before anything is put on one."""
    gpus = torch.cuda.device_count()
    if gpus > 1:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = seen[place % gpus]
