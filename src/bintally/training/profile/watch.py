"""The callback that profiles a run: a timeline from its first to its last moment, a trace of a few steps, memory.

Each process may have one; the first writes. Refuses to change what is learned: everything that is tried is tried after
the run is over and saved.
"""

import time
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from bintally.data.manifest import Manifest
from bintally.data.prepared import prepared_as
from bintally.models.checkpoint import Checkpoint
from bintally.models.dataset import Batch, PhotoDataset, untimed
from bintally.settings import RunSettings
from bintally.training.module import CountModule
from bintally.training.profile.account import Seen, account_for
from bintally.training.profile.advice import advise
from bintally.training.profile.clock import PhaseClock
from bintally.training.profile.memory import Sampler
from bintally.training.profile.phases import Phase
from bintally.training.profile.report import write_page
from bintally.training.profile.result import Profile, Work, write_profile
from bintally.training.profile.timeline import Kind, Timeline
from bintally.training.profile.trials import Budget, Tried, try_out
from bintally.training.profile.window import TRACE_NAME, TraceWindow, Window

_TRACED_AFTER = 20  # steps: by then nothing is built any more


class ProfileWatch(Callback):
    """Profiles one sitting of one run.

    Args:
        run: the run's folder; gets `profile.html`, `profile.json` and `trace.json.gz`.
        manifest: what the run learns from.
        settings: the run's.
        budget: how long trials may take.
    """

    def __init__(self, run: Path, manifest: Manifest, settings: RunSettings, *, budget: Budget | None = None) -> None:
        self._run, self._manifest, self._settings = run, manifest, settings
        self._budget = budget or Budget()
        self._speaks = True
        self._device = torch.device("cpu")
        self._timeline = Timeline()
        self._clock: PhaseClock | None = None
        self._sampler = Sampler(self._device)
        self._trace = TraceWindow(self._device)
        self._window: Window | None = None
        self._begun = self._wall = 0.0
        self._dataset: PhotoDataset | None = None
        self._steps_done = 0
        self._work: Work | None = None

    # Begin and end

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start all clocks."""
        self._speaks, self._device = trainer.is_global_zero, trainer.strategy.root_device
        self._sampler, self._trace = Sampler(self._device), TraceWindow(self._device)
        self._sampler.start()
        self._begun, self._timeline = time.monotonic(), Timeline()
        inner = trainer.profiler  # type: ignore[attr-defined]
        self._clock = PhaseClock(inner, self._timeline, self._device, lambda: trainer.current_epoch + 1)
        trainer.profiler = self._clock  # type: ignore[attr-defined]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take down what is trained; the dataset's stages are timed where they happen in this process."""
        loader = cast("DataLoader[Batch]", trainer.train_dataloader)
        self._dataset = cast("PhotoDataset", loader.dataset)
        if loader.num_workers == 0 and self._clock is not None:
            self._dataset.clock = self._clock.stage
        steps = int(trainer.num_training_batches)
        most = cast("CountModule", pl_module).max_steps
        left = int(trainer.estimated_stepping_batches) if most < 0 else most
        self._window = Window.within(min(steps, max(1, left - trainer.global_step)))
        settings = self._settings
        self._work = Work(
            recipe=settings.recipe,
            backbone=settings.model.backbone,
            photos=len(self._dataset),
            side_px=settings.data.side_px,
            batch_size=settings.batch_size,
            workers=settings.workers,
            precision="bf16" if trainer.precision == "bf16-mixed" else "fp32",
            cache_mib=settings.cache_mib,
            keeps_photos=self._dataset.keeps_photos,
            prepared=prepared_as(self._manifest.header) is not None,
            epochs=settings.epochs,
            steps_per_epoch=steps,
            processes=trainer.world_size,
        )

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop all clocks."""
        self._close(trainer)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Likewise; what was measured is kept."""
        self._close(trainer)
        if (profile := self._account()) is not None and self._speaks:
            self._write(profile)

    # Steps and validation

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Begin or end the trace where its place is."""
        self._steps_done += 1
        if self._trace.is_open:
            if self._trace.step():
                self._end_trace()
        elif self._window is not None and self._steps_done >= min(_TRACED_AFTER, self._window.after):
            left = int(trainer.num_training_batches) - batch_idx - 1
            if left > self._window.steps:  # validation is never traced: there is too much of it
                self._trace.begin(self._window)
                self._timeline.traced, self._window = True, None

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """From here on everything is validation."""
        self._end_trace()
        self._timeline.open(Kind.BETWEEN_EPOCHS, epoch=trainer.current_epoch + 1)
        self._timeline.rest(Phase.VALIDATION)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """To here."""
        self._timeline.rest(Phase.IDLE)

    # When the run is over

    def finish(self, checkpoint: Checkpoint) -> Profile | None:
        """Try out what might be faster, and write everything; None in all processes but the first.

        Random numbers stand afterwards where they stood, and the checkpoint is as it was.
        """
        profile = self._account()
        if profile is None or self._dataset is None or not self._speaks:
            return None
        self._write(profile)
        tried = try_out(checkpoint, self._dataset, profile, self._device, self._budget)
        profile = self._advised(profile, tried)
        self._write(profile)
        return profile

    def _advised(self, profile: Profile, tried: Tried) -> Profile:
        return profile.model_copy(
            update={
                "complete": True,
                "trials": tried.trials,
                "advice": advise(profile, tried),
                "notes": (*profile.notes, *tried.notes),
            }
        )

    def _account(self) -> Profile | None:
        """None: not one step was done."""
        if self._work is None or not self._timeline.has_steps:
            return None
        seen = Seen(
            timeline=self._timeline, wall_seconds=self._wall, sampler=self._sampler, operators=self._trace.operators
        )
        return account_for(self._run.name, self._work, self._device, seen)

    def _write(self, profile: Profile) -> None:
        write_profile(self._run, profile)
        write_page(self._run, profile)

    def _end_trace(self) -> None:
        self._trace.end(self._run / TRACE_NAME if self._speaks else None)
        self._timeline.traced = False

    def _close(self, trainer: lightning.Trainer) -> None:
        if self._clock is None:
            return
        self._end_trace()
        self._timeline.end()
        self._wall = time.monotonic() - self._begun
        self._sampler.stop()
        trainer.profiler, self._clock = self._clock.inner, None  # type: ignore[attr-defined]
        if self._dataset is not None:
            self._dataset.clock = untimed
