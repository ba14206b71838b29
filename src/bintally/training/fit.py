"""The recipe, read from top to bottom: manifest and settings in, a calibrated checkpoint in a run folder out.

Uses the train split to learn, val to stop and to choose the epoch, calibration to fit the temperature; never test.
A run folder holds `settings.toml`, `curves.csv`, `checkpoint.safetensors` and `checkpoint.json` (written last).
"""

import csv
import logging
import math
import tempfile
import time
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import lightning
import tomli_w
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from torch import Tensor
from torch.nn import functional

from bintally import __version__
from bintally.data.files import whole_file
from bintally.data.manifest import Manifest, Split
from bintally.domain.classes import CountClasses
from bintally.errors import CheckpointError, ManifestError, SettingsError
from bintally.models.calibration import fit_temperature
from bintally.models.checkpoint import (
    FACTS_NAME,
    Checkpoint,
    CheckpointFacts,
    build_network,
    save_checkpoint,
)
from bintally.models.dataset import PhotoDataset, loader
from bintally.models.network import SMALL_CNN, CountNetwork, load_backbone
from bintally.models.provenance import Provenance
from bintally.settings import RunSettings
from bintally.training.module import CountModule

CURVES_NAME = "curves.csv"
CURVES_COLUMNS = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds")
SETTINGS_NAME = "settings.toml"
DEFAULT_LICENCE = "as the photos it was trained on; ABID: CC BY-NC-SA 3.0 US, non-commercial"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasets:
    """What a run learns from, stops by and is calibrated on."""

    train: PhotoDataset
    val: PhotoDataset
    calibration: PhotoDataset


def fit(
    manifest: Manifest,
    settings: RunSettings,
    run: Path,
    *,
    weights: Path | None = None,
    licence: str = DEFAULT_LICENCE,
    callbacks: tuple[Callback, ...] = (),
    progress: bool = True,
    max_steps: int = -1,
) -> Checkpoint:
    """Train, calibrate and save one model.

    Args:
        manifest: photos with splits.
        settings: the recipe.
        run: the run's folder; must not hold a finished run.
        weights: the backbone's ImageNet weights; None: timm's hub, if the recipe wants any.
        licence: what stands in the model about its use.
        callbacks: Lightning callbacks to add.
        progress: show a progress bar.
        max_steps: stop after so many optimiser steps; -1: by epochs only.

    Raises:
        CheckpointError: if `run` holds a finished run.
        ManifestError: if a split is missing or has no photo with a wanted count, or a photo is gone.
        PhotoError: naming a photo that cannot be decoded.
        SettingsError: if the backbone is unknown, `max_steps` is 0, or the loss went to infinity.
        WeightsError: if weights are missing or do not fit.
    """
    started = time.monotonic()
    if max_steps != -1 and max_steps < 1:
        raise SettingsError(f"--max-steps: expected 1 or more, or -1 for no limit, got {max_steps}")
    if (run / FACTS_NAME).exists():
        raise CheckpointError(f"{run}: holds a finished run already; choose another --out, or remove it first")
    lightning.seed_everything(settings.seed, workers=True, verbose=False)

    classes = choose_classes(manifest, settings)
    network = _start_network(settings, classes, weights)
    data = _datasets(manifest, settings, classes)
    _start_folder(run, settings)

    module = CountModule(network, classes, settings)
    with tempfile.TemporaryDirectory(dir=run, prefix=".best-") as scratch:
        # Lightning puts averaged weights into whole checkpoints only: weights alone would be the last step's.
        alone = not settings.optimiser.ema_decay
        best = ModelCheckpoint(dirpath=scratch, monitor="val_loss", save_weights_only=alone)
        curves = CurvesWriter(run / CURVES_NAME)
        early = EarlyStopping("val_loss", patience=settings.patience)
        watchers = [best, curves, early, StopAfter(max_steps), *callbacks]
        if settings.optimiser.ema_decay:
            watchers.append(EMAWeightAveraging(decay=settings.optimiser.ema_decay))
        trainer = _trainer(settings, watchers, progress=progress, max_steps=max_steps, folder=Path(scratch))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")  # its advice on loggers, workers and deprecations
            _learn(trainer, module, data, settings)
        if not math.isfinite(curves.best["val_loss"]):
            raise SettingsError(
                f"{run}: the loss went to infinity; try a lower rate, such as --set optimiser.lr=0.0001"
            )
        state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(state)

    logits, labels = predict_logits(module, data.calibration, settings)
    temperature = fit_temperature(logits, labels)
    checkpoint = Checkpoint(
        network=network.cpu().eval(),
        facts=CheckpointFacts(
            name=run.name,
            settings=settings,
            low=classes.low,
            high=classes.high,
            open_ended=classes.open_ended,
            temperature=temperature,
            provenance=_provenance(manifest, settings, weights, licence),
            epochs_run=len(curves.rows),
            best_epoch=curves.best_epoch,
            seconds=round(time.monotonic() - started, 1),
            metrics={**curves.best, "calibration_loss": _loss(logits / temperature, labels)},
        ),
    )
    save_checkpoint(run, checkpoint)
    return checkpoint


def choose_classes(manifest: Manifest, settings: RunSettings) -> CountClasses:
    """Which counts are classes: those asked for, or 0..K with K the largest in training, at most `last_count`.

    Raises:
        ManifestError: if a count asked for has no training photo, or training has no two different counts.
    """
    counts = manifest.usable(Split.TRAIN)["count"].to_numpy()
    if settings.data.counts is None:
        largest = int(counts.max())
        if largest < 1:
            raise ManifestError(f"{manifest.root}: every training photo is of an empty bin; ingest others")
        return CountClasses(low=0, high=min(largest, settings.data.last_count), open_ended=True)
    low, high = settings.data.counts
    absent = [count for count in range(low, high + 1) if not (counts == count).any()]
    if absent:
        raise ManifestError(
            f"{manifest.root}: no training photo has {absent} items; ingest more photos or choose other --counts"
        )
    return CountClasses(low=low, high=high, open_ended=False)


def predict_logits(module: CountModule, dataset: PhotoDataset, settings: RunSettings) -> tuple[Tensor, Tensor]:
    """Logits float32[N,C] and classes int64[N] of a dataset, in fp32, in order."""
    device = module.device
    module.eval()
    logits, labels = [], []
    with torch.inference_mode():
        for photos, classes in loader(dataset, settings, shuffle=False):
            logits.append(module(photos.to(device)).float().cpu())
            labels.append(classes)
    return torch.cat(logits), torch.cat(labels)


class StopAfter(Callback):
    """Ends training after so many optimiser steps, with the validation that `Trainer(max_steps=...)` leaves out."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Ask for the end."""
        if 0 < self._steps <= trainer.global_step:
            trainer.should_stop = True


class CurvesWriter(Callback):
    """Writes one row per epoch to `curves.csv`, at once, so that a stopped run keeps what it had."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: list[dict[str, float]] = []
        self._started = time.monotonic()

    @property
    def best(self) -> dict[str, float]:
        """Losses and accuracies of the epoch with the lowest validation loss."""
        row = min(self.rows, key=lambda row: row["val_loss"])
        return {name: row[name] for name in CURVES_COLUMNS[1:5]}

    @property
    def best_epoch(self) -> int:
        """That epoch, from 1."""
        return int(min(self.rows, key=lambda row: row["val_loss"])["epoch"])

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Add the epoch's row."""
        metrics = trainer.callback_metrics
        row = {name: float(metrics[name]) for name in CURVES_COLUMNS[1:5]}
        row["lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        row["seconds"] = round(time.monotonic() - self._started, 1)
        self.rows.append({"epoch": float(trainer.current_epoch + 1), **row})
        with whole_file(self._path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, CURVES_COLUMNS)
            writer.writeheader()
            writer.writerows([{**row, "epoch": int(row["epoch"])} for row in self.rows])
        _log.info("epoch %d: %s", trainer.current_epoch + 1, row)


def _start_folder(run: Path, settings: RunSettings) -> None:
    run.mkdir(parents=True, exist_ok=True)
    (run / SETTINGS_NAME).write_text(tomli_w.dumps(settings.model_dump(exclude_none=True)), encoding="utf-8")


def _start_network(settings: RunSettings, classes: CountClasses, weights: Path | None) -> CountNetwork:
    wanted = settings.model.pretrained and settings.model.backbone != SMALL_CNN
    if weights is not None and not wanted:
        raise SettingsError(f"recipe {settings.recipe!r} trains from nothing, but --weights {weights} was given")
    network = build_network(settings, classes, hub=wanted and weights is None)
    if weights is not None:
        load_backbone(network, weights)
    return network.to(memory_format=torch.channels_last)


def _datasets(manifest: Manifest, settings: RunSettings, classes: CountClasses) -> Datasets:
    def dataset(split: Split) -> PhotoDataset:
        return PhotoDataset(
            manifest.usable(split),
            manifest.root,
            classes=classes,
            settings=settings,
            augment=settings.augment if split is Split.TRAIN else None,
        )

    return Datasets(train=dataset(Split.TRAIN), val=dataset(Split.VAL), calibration=dataset(Split.CALIBRATION))


def _trainer(
    settings: RunSettings, callbacks: list[Callback], *, progress: bool, max_steps: int, folder: Path
) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=settings.epochs,
        max_steps=max_steps,
        precision="bf16-mixed" if _use_bf16(settings) else "32-true",
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )


def _learn(trainer: lightning.Trainer, module: CountModule, data: Datasets, settings: RunSettings) -> None:
    try:
        trainer.fit(module, loader(data.train, settings, shuffle=True), loader(data.val, settings, shuffle=False))
    except SystemExit as stop:  # what Lightning makes of an interrupt
        raise KeyboardInterrupt from stop


def _use_bf16(settings: RunSettings) -> bool:
    if settings.precision != "auto":
        return settings.precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def _provenance(manifest: Manifest, settings: RunSettings, weights: Path | None, licence: str) -> Provenance:
    hub = settings.model.pretrained and settings.model.backbone != SMALL_CNN
    return Provenance(
        bintally_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        source=manifest.source,
        manifest_hash=manifest.content_hash,
        split_hash=manifest.split_hash,
        settings_hash=settings.content_hash,
        weights=weights.name if weights else ("timm's hub" if hub else "none"),
        licence=licence,
    )


def _loss(logits: Tensor, labels: Tensor) -> float:
    return round(float(functional.cross_entropy(logits, labels)), 5)
