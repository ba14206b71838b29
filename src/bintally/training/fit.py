"""The recipe, read from top to bottom: manifest and settings in, a calibrated checkpoint in a run folder out.

Uses the train split to learn, val to stop and to choose the epoch, calibration to calibrate; never test.
A run folder holds `settings.toml`, `curves.csv`, `checkpoint.safetensors` and `checkpoint.json` (written last); while
it is unfinished also `resume.pt`, from which the same call goes on.
"""

import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import lightning
import tomli_w
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.nn import functional

from bintally import __version__
from bintally.data.manifest import Manifest, Split, parse_flags
from bintally.data.prepared import check_side, prepared_as
from bintally.domain.classes import CountClasses
from bintally.errors import CheckpointError, ManifestError, SettingsError
from bintally.models.calibration import fit_calibration
from bintally.models.checkpoint import (
    FACTS_NAME,
    Checkpoint,
    CheckpointFacts,
    build_network,
    save_checkpoint,
)
from bintally.models.dataset import PhotoDataset, Share, loader
from bintally.models.network import SMALL_CNN, CountNetwork, check_hub_weights, check_photos_fit, load_backbone
from bintally.models.provenance import Provenance
from bintally.settings import RunSettings
from bintally.training.allocator import keep_freed_memory
from bintally.training.averaging import MovingAverage
from bintally.training.curves import CURVES_NAME, CurvesWriter
from bintally.training.keeper import Keeper
from bintally.training.module import CountModule
from bintally.training.resume import BELIEFS_NAME, StateFile, Unfinished, forget, identity, read_state
from bintally.training.stopping import StopSignals
from bintally.training.teacher import Progress, beliefs, check_teachers, name_of

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
    teachers: Sequence[Checkpoint] = (),
    licence: str = DEFAULT_LICENCE,
    callbacks: tuple[Callback, ...] = (),
    progress: bool = True,
    max_steps: int = -1,
    resume: bool = True,
    checkpoint_every: int | None = None,
    say: Callable[[str], None] = _log.info,
    on_taught: Progress | None = None,
) -> Checkpoint:
    """Train, calibrate and save one model; or go on with what was broken off in `run`.

    Args:
        manifest: photos with splits.
        settings: the recipe.
        run: the run's folder; must not hold a finished run.
        weights: the backbone's ImageNet weights; None: timm's hub, if the recipe wants any.
        teachers: finished runs whose mean answer about each training photo it learns too; none: counts alone.
        licence: what stands in the model about its use.
        callbacks: Lightning callbacks to add; their `state_dict` is saved and given back when the run goes on.
        progress: show a progress bar.
        max_steps: stop after so many optimiser steps; -1: by epochs only.
        resume: go on with an unfinished run, where `run` holds one; otherwise begin anew.
        checkpoint_every: save after so many steps; None: as often as costs one percent of the time.
        say: is told where the run goes on.
        on_taught: is told the batches that the teachers have answered, and of how many: of calibration, then train.

    Raises:
        CannotWriteError: if the run's state cannot be saved.
        CheckpointError: if `run` holds a finished run, or an unfinished one of another kind; if a teacher learned
            another task, from another split or under another licence.
        ManifestError: if a split is missing or has no photo with a wanted count, a photo is gone, or the photos were
            prepared at another side.
        PhotoError: naming a photo that cannot be decoded.
        SettingsError: if the backbone or a flag is unknown, `max_steps` is 0, several CPUs are to sync batch norms,
            or the loss went to infinity.
        StoppedError: if it was told to stop by SIGTERM or Ctrl-C; its state is saved.
        WeightsError: if weights are missing or do not fit.
    """
    started = time.monotonic()
    parse_flags(settings.data.excluded_flags)
    if max_steps != -1 and max_steps < 1:
        raise SettingsError(f"--max-steps: expected 1 or more, or -1 for no limit, got {max_steps}")
    if weights is not None and not _wants_weights(settings):
        raise SettingsError(f"recipe {settings.recipe!r} trains from nothing, but --weights {weights} was given")
    if (run / FACTS_NAME).exists():
        forget(run)  # what a process killed just then left
        raise CheckpointError(f"{run}: holds a finished run already; choose another --out, or remove it first")
    check_side(manifest, settings.data.side_px, wanted_by=f"recipe {settings.recipe!r}", can_change=True)
    lightning.seed_everything(settings.seed, workers=True, verbose=False)
    if not torch.cuda.is_available():
        keep_freed_memory()

    classes = choose_classes(manifest, settings)
    check_teachers(teachers, manifest, classes, settings, licence=licence)
    taught_by = tuple(name_of(teacher) for teacher in teachers)
    same = identity(manifest, settings, weights, max_steps, taught_by)
    before = read_state(run, same) if resume else None
    network = _start_network(settings, classes, weights, anew=before is None)
    data = _datasets(manifest, settings, classes)
    kept_out = manifest.kept_out(settings.data.excluded_flags)
    _log.info("kept out of train, val and calibration: %s", {flag.value: photos for flag, photos in kept_out.items()})
    _start_folder(run, settings, before, say)
    if teachers:
        data.train.beliefs = beliefs(
            teachers,
            manifest,
            data.train,
            settings,
            kept=run / BELIEFS_NAME,
            forward=_low(settings),
            progress=on_taught,
        )

    def clock() -> float:
        return time.monotonic() - started + (before.seconds if before else 0)

    module = CountModule(network, classes, settings, max_steps=max_steps)
    curves = CurvesWriter(run / CURVES_NAME, clock)
    signals = StopSignals()
    sitting = before.sittings + 1 if before else 1
    keeper = Keeper(run, identity=same, sitting=sitting, every=checkpoint_every, clock=clock, signals=signals)
    watchers = [curves, EarlyStopping("val_loss", patience=settings.patience), StopAfter(max_steps), *callbacks, keeper]
    if settings.optimiser.ema_decay:
        watchers.append(MovingAverage(settings.optimiser.ema_decay))
    trainer = _trainer(settings, watchers, progress=progress, folder=run)
    with warnings.catch_warnings(), signals.restored():
        warnings.filterwarnings("ignore", module="lightning")  # its advice on loggers, workers and deprecations
        _learn(trainer, module, data, settings, before)
    if not math.isfinite(curves.best["val_loss"]):
        forget(run)
        raise SettingsError(f"{run}: the loss went to infinity; try a lower rate, such as --set optimiser.lr=0.0001")
    module.load_state_dict(keeper.best_weights)

    logits, labels = predict_logits(module, data.calibration, settings)
    calibration = fit_calibration(logits, labels)
    checkpoint = Checkpoint(
        network=network.cpu().eval(),
        facts=CheckpointFacts(
            name=run.name,
            settings=settings,
            low=classes.low,
            high=classes.high,
            open_ended=classes.open_ended,
            temperature=calibration.temperature,
            biases=calibration.biases,
            provenance=_provenance(manifest, settings, weights, taught_by, licence),
            epochs_run=len(curves.rows),
            best_epoch=curves.best_epoch,
            seconds=round(clock(), 1),
            sittings=sitting,
            metrics={**curves.best, "calibration_loss": _loss(calibration(logits), labels)},
        ),
    )
    if trainer.is_global_zero:
        save_checkpoint(run, checkpoint)
        forget(run)
    return checkpoint


def choose_classes(manifest: Manifest, settings: RunSettings) -> CountClasses:
    """Which counts are classes: those asked for, or 0..K with K the largest in training, at most `last_count`.

    Raises:
        ManifestError: if a count asked for has no training photo, or training has no two different counts.
    """
    counts = manifest.usable(Split.TRAIN, settings.data.excluded_flags)["count"].to_numpy()
    if settings.data.counts is None:
        largest = int(counts.max())
        if largest == counts.min():
            raise ManifestError(
                f"{manifest.root}: every training photo counts {largest}: there is nothing to tell apart; ingest others"
            )
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


@rank_zero_only
def _start_folder(run: Path, settings: RunSettings, before: Unfinished | None, say: Callable[[str], None]) -> None:
    run.mkdir(parents=True, exist_ok=True)
    if before is None:
        forget(run)
    else:
        say(
            f"{run}: goes on after {before.steps} steps, in epoch {before.epoch + 1}; "
            f"{before.seconds:.0f} s in {before.sittings} sittings so far"
        )
    (run / SETTINGS_NAME).write_text(tomli_w.dumps(settings.model_dump(exclude_none=True)), encoding="utf-8")


def _start_network(settings: RunSettings, classes: CountClasses, weights: Path | None, *, anew: bool) -> CountNetwork:
    """The network to begin with; one that goes on gets its weights from the state."""
    wanted = _wants_weights(settings)
    from_hub = wanted and weights is None
    if anew and from_hub:
        check_hub_weights(settings.model, settings.data.mean, settings.data.std)
    network = build_network(settings, classes, hub=anew and from_hub)
    if anew and weights is not None:
        load_backbone(network, weights)
    check_photos_fit(network, settings.data.side_px)
    return network.to(memory_format=torch.channels_last)


def _wants_weights(settings: RunSettings) -> bool:
    return settings.model.pretrained and settings.model.backbone != SMALL_CNN


def _datasets(manifest: Manifest, settings: RunSettings, classes: CountClasses) -> Datasets:
    def dataset(split: Split) -> PhotoDataset:
        return PhotoDataset(
            manifest.usable(split, settings.data.excluded_flags),
            manifest.root,
            classes=classes,
            settings=settings,
            augment=settings.augment if split is Split.TRAIN else None,
        )

    return Datasets(train=dataset(Split.TRAIN), val=dataset(Split.VAL), calibration=dataset(Split.CALIBRATION))


def _trainer(settings: RunSettings, callbacks: list[Callback], *, progress: bool, folder: Path) -> lightning.Trainer:
    torchrun = os.environ if "TORCHELASTIC_RUN_ID" in os.environ else {}
    trainer = lightning.Trainer(
        devices=int(torchrun["LOCAL_WORLD_SIZE"]) if torchrun else "auto",
        num_nodes=int(torchrun["GROUP_WORLD_SIZE"]) if torchrun else 1,
        max_epochs=settings.epochs,
        precision="bf16-mixed" if _use_bf16(settings) else "32-true",
        callbacks=callbacks,
        plugins=[StateFile()],
        logger=False,
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        use_distributed_sampler=False,  # ours knows of processes, and where it begins
    )
    if settings.sync_batch_norm and trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu":
        raise SettingsError(
            "sync_batch_norm: CPUs cannot norm over the photos of several processes; take --set sync_batch_norm=false, "
            "or for smallcnn --set model.norm=group, which needs none"
        )
    return trainer


def _learn(
    trainer: lightning.Trainer,
    module: CountModule,
    data: Datasets,
    settings: RunSettings,
    before: Unfinished | None,
) -> None:
    share = Share(rank=trainer.global_rank, ranks=trainer.world_size)
    if before is not None:
        share = replace(share, epoch=before.epoch, batches=before.batches)
    train = loader(data.train, settings, shuffle=True, share=share)
    val = loader(data.val, settings, shuffle=False)  # all of it in each process: they find the same
    if settings.sync_batch_norm and trainer.world_size > 1:
        module.network.sync_norms()
    try:
        trainer.fit(module, train, val, ckpt_path=before.path if before else None, weights_only=True)
    except SystemExit as stop:  # what Lightning makes of an interrupt
        raise KeyboardInterrupt from stop
    module.to(trainer.strategy.root_device)  # back from the CPU, where Lightning leaves it


def _use_bf16(settings: RunSettings) -> bool:
    if settings.precision != "auto":
        return settings.precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def _low(settings: RunSettings) -> Callable[[], AbstractContextManager[object]]:
    """The context in which networks are run outside of Lightning."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    return (lambda: torch.autocast(kind, torch.bfloat16)) if _use_bf16(settings) else nullcontext


def _provenance(
    manifest: Manifest, settings: RunSettings, weights: Path | None, teachers: tuple[str, ...], licence: str
) -> Provenance:
    prepared = prepared_as(manifest.header)
    return Provenance(
        bintally_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        source=manifest.header.origin,
        prepared=prepared.hash if prepared else "",
        excluded_flags=settings.data.excluded_flags,
        manifest_hash=manifest.content_hash,
        split_hash=manifest.split_hash,
        settings_hash=settings.content_hash,
        weights=weights.name if weights else ("timm's hub" if _wants_weights(settings) else "none"),
        teachers=teachers,
        licence=licence,
    )


def _loss(logits: Tensor, labels: Tensor) -> float:
    return round(float(functional.cross_entropy(logits, labels)), 5)
