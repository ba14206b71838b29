"""`curves.csv`: one row for each epoch, written at once, so that a stopped run keeps what it had."""

import csv
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from bintally.data.files import whole_file

CURVES_NAME = "curves.csv"
CURVES_COLUMNS = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds")
_log = logging.getLogger(__name__)


class CurvesWriter(Callback):
    """Writes one row per epoch.

    Args:
        path: the file.
        clock: seconds that the run has taken so far.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path, self._clock = path, clock
        self.rows: list[dict[str, float]] = []

    @property
    def best(self) -> dict[str, float]:
        """Losses and accuracies of the epoch with the lowest validation loss."""
        row = min(self.rows, key=lambda row: row["val_loss"])
        return {name: row[name] for name in CURVES_COLUMNS[1:5]}

    @property
    def best_epoch(self) -> int:
        """That epoch, from 1."""
        return int(min(self.rows, key=lambda row: row["val_loss"])["epoch"])

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after these rows; what the file holds beyond them is trained again."""
        self.rows = state_dict["rows"]

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show the rows that a run goes on from."""
        if self.rows and trainer.is_global_zero:
            self._write()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Add the epoch's row."""
        metrics = trainer.callback_metrics
        row = {name: float(metrics[name]) for name in CURVES_COLUMNS[1:5]}
        row["lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        row["seconds"] = round(self._clock(), 1)
        self.rows.append({"epoch": float(trainer.current_epoch + 1), **row})
        if trainer.is_global_zero:
            self._write()
        _log.info("epoch %d: %s", trainer.current_epoch + 1, row)

    def _write(self) -> None:
        with whole_file(self._path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, CURVES_COLUMNS)
            writer.writeheader()
            writer.writerows([{**row, "epoch": int(row["epoch"])} for row in self.rows])
