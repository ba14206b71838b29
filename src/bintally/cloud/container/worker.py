"""One training process of a job: the very `fit` that `bintally train` runs, on what SageMaker put into the container.

The run's folder lies among the checkpoints, so that an interrupted job goes on from it. The first process of all leaves
the model and the reports; the others leave nothing.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback
from torch.distributed.elastic.multiprocessing.errors import record

from bintally.cloud.container.layout import Layout, channel, read_hyperparameters, read_layout
from bintally.cloud.contract import TRAIN_CHANNEL, WEIGHTS_CHANNEL
from bintally.cloud.hyperparameters import JobSettings, parse_hyperparameters
from bintally.cloud.metrics import BEST, epoch_line
from bintally.data.files import whole_file
from bintally.data.manifest import Manifest, read_manifest
from bintally.errors import CheckpointError, ManifestError, StoppedError, WeightsError
from bintally.export import export
from bintally.inference.find import FILE_NAME as MODEL_NAME
from bintally.models.checkpoint import FACTS_NAME, Checkpoint, load_checkpoint
from bintally.models.provenance import Provenance
from bintally.training.curves import CurvesWriter
from bintally.training.fit import DEFAULT_LICENCE, fit
from bintally.training.health.watch import HealthWatch
from bintally.training.profile.watch import ProfileWatch

_REPORTS = {".json", ".html", ".csv", ".toml", ".gz"}


class EpochLines(Callback):
    """Prints each epoch's row, once `CurvesWriter` has it; SageMaker reads its metrics from there."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Print."""
        for each in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(each, CurvesWriter):
                self._say(epoch_line({**each.rows[-1], BEST: each.best["val_loss"]}))


@record
def main() -> None:
    """Train; exits with 143 where the job was interrupted and its state saved."""
    layout = read_layout()
    try:
        train(layout, parse_hyperparameters(read_hyperparameters(layout)))
    except StoppedError as stop:
        _say(str(stop))
        sys.exit(128 + stop.signum)


def train(layout: Layout, job: JobSettings) -> None:
    """Train, export and leave what comes back; a run that a killed job had finished is not trained again.

    Raises:
        BintallyError: whatever `fit` or `export` raises.
        ManifestError: if the channel holds no dataset.
    """
    data = channel(layout, TRAIN_CHANNEL)
    if data is None:
        raise ManifestError(f"the job has no input channel {TRAIN_CHANNEL!r}; it must hold a dataset, split")
    manifest = read_manifest(data)
    run = _own_checkpoints(layout, job) / job.settings.recipe
    first = int(os.environ.get("RANK", "0")) == 0
    checkpoint = _finished(run, manifest, job)
    if checkpoint is None:
        checkpoint = _fit(manifest, job, run, weights=_weights(layout), say=_say if first else _silent)
    if first:
        _leave(layout, run, checkpoint)


def _own_checkpoints(layout: Layout, job: JobSettings) -> Path:
    """All jobs of a tuner share one checkpoint location: each keeps to a folder of its own there, by its name."""
    return layout.checkpoints / os.environ.get("TRAINING_JOB_NAME", "tuned") if job.tuned else layout.checkpoints


def _fit(
    manifest: Manifest, job: JobSettings, run: Path, *, weights: Path | None, say: Callable[[str], None]
) -> Checkpoint:
    health = HealthWatch(run, manifest, job.settings, say=say, stop_on=job.stop_on)
    profiler = ProfileWatch(run, manifest, job.settings) if job.profile else None
    checkpoint = fit(
        manifest,
        job.settings,
        run,
        weights=weights,
        licence=job.licence or DEFAULT_LICENCE,
        callbacks=(health, EpochLines(say), *([profiler] if profiler else [])),
        progress=False,
        max_steps=job.max_steps,
        checkpoint_every=job.checkpoint_every,
        say=say,
    )
    if profiler and (found := profiler.finish(checkpoint)) is not None:
        say(f"profile: {found.summary}")
    return checkpoint


def _finished(run: Path, manifest: Manifest, job: JobSettings) -> Checkpoint | None:
    """What this very job had trained before it was interrupted.

    Raises:
        CheckpointError: if another one's run lies there.
    """
    if not (run / FACTS_NAME).exists():
        return None
    checkpoint = load_checkpoint(run)
    made: Provenance = checkpoint.facts.provenance
    same = (manifest.content_hash, manifest.split_hash, job.settings.content_hash)
    if (made.manifest_hash, made.split_hash, made.settings_hash) != same:
        raise CheckpointError(
            f"{run}: the checkpoint location holds a finished run of other settings or photos; give the job another one"
        )
    return checkpoint


def _leave(layout: Layout, run: Path, checkpoint: Checkpoint) -> None:
    """The model with all that a run's folder holds; the reports once more beside it, for they are small."""
    export(checkpoint, run / MODEL_NAME)
    for folder in (layout.model, layout.reports):
        folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(run.iterdir()):
        if path.is_file():
            _copy(path, layout.model / path.name)
            if path.suffix in _REPORTS:
                _copy(path, layout.reports / path.name)
    facts = checkpoint.facts
    _say(f"best epoch {facts.best_epoch} of {facts.epochs_run}, in {facts.sittings} sittings, {facts.seconds:.0f} s")


def _copy(path: Path, destination: Path) -> None:
    with whole_file(destination) as part:
        shutil.copyfile(path, part)


def _weights(layout: Layout) -> Path | None:
    folder = channel(layout, WEIGHTS_CHANNEL)
    if folder is None:
        return None
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if len(files) != 1:
        raise WeightsError(f"channel {WEIGHTS_CHANNEL!r}: expected one weights file, got {len(files)}")
    return files[0]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _silent(_text: str) -> None:
    pass


if __name__ == "__main__":
    main()
