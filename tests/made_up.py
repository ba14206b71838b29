"""Trials without photos: losses made up from the settings, so that a study takes a second."""

import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bintally.errors import ManifestError, SettingsError
from bintally.settings import RunSettings, parse_settings
from bintally.training.recipes import recipe_text
from bintally.tuning.objective import Progress, Train
from bintally.tuning.space_file import parse_space
from bintally.tuning.storage import find_place
from bintally.tuning.study import StudyFacts, comparable
from bintally.tuning.worker import Orders

SPACE = """
[space]
optimiser.lr = { low = 0.001, high = 0.1, log = true }
batch_size = { choices = [8, 16, 32, 64] }
epochs = { low = 2, high = 10 }
"""
PHOTOS = 640


def losses_of(settings: RunSettings) -> list[float]:
    """Best at a rate of 0.004; the more epochs, the better."""
    floor = 1.9 + 0.3 * abs(math.log10(settings.optimiser.lr / 0.004)) + 0.001 * settings.batch_size
    return [round(floor + 1.0 / epoch, 5) for epoch in range(1, settings.epochs + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeUp:
    """What trains a trial: it sleeps, writes what a run writes, and tells.

    Attributes:
        seconds: of each epoch.
        fault: what goes wrong in every trial: `infinite`, `photo`, or nothing.
        dies_in: a file; whoever finds it removes it and is killed, after two epochs.
    """

    seconds: float = 0.0
    fault: str = ""
    dies_in: Path | None = None

    def __call__(self, place: int) -> Train:
        return self.train

    def train(self, settings: RunSettings, run: Path, on_epoch: Callable[[Progress], None]) -> Progress:
        run.mkdir(parents=True, exist_ok=True)
        with (run / "begun").open("a") as file:
            file.write(f"{settings.optimiser.lr!r} {settings.batch_size} {settings.epochs}\n")
        if self.fault == "infinite":
            raise SettingsError(f"{run}: the loss went to infinity; try a lower rate")
        if self.fault == "photo":
            raise ManifestError("a photo of the manifest cannot be read")
        losses, steps = losses_of(settings), PHOTOS // settings.batch_size
        progress = Progress(losses=(), steps=0, steps_per_epoch=steps, seconds=0.0)
        for epoch in range(1, settings.epochs + 1):
            time.sleep(self.seconds)
            progress = Progress(
                losses=tuple(losses[:epoch]), steps=steps * epoch, steps_per_epoch=steps, seconds=0.5 * epoch
            )
            on_epoch(progress)
            if epoch == 2 and self.dies_in is not None and self.dies_in.exists():
                self.dies_in.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        for name in ("checkpoint.json", "checkpoint.safetensors", "resume.pt"):
            (run / name).write_text("{}")
        return progress


def orders_for(study: str | Path, *, budget: int | None = 6, **changes: object) -> Orders:
    """What workers are told; `changes` to any of it."""
    base = parse_settings(recipe_text("smallcnn"), name="smallcnn")
    space = parse_space(SPACE, name="default")
    facts = StudyFacts(
        recipe=base.recipe,
        settings=comparable(base, space.parameters),
        space=space.to_plain(),
        manifest_hash="m",
        split_hash="s",
        limit_photos=None,
        weights="",
    )
    wanted: dict[str, object] = {
        "place": find_place(str(study), name="made-up"),
        "facts": facts,
        "space": space,
        "base": base,
        "make_train": MadeUp(),
        "budget": budget,
        "until": None,
        "prune": True,
    }
    return Orders(**{**wanted, **changes})  # type: ignore[arg-type]
