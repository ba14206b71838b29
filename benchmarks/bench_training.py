"""Photos per second of a training with `fit`, beside a plain fp32 PyTorch loop that decodes with PIL.

Both train the network of recipe `mobilenetv2`, with random weights, on the same photos in batches of the same size.
Rows, measured in turns in each round; a step counts with its loading:

    fit, first epoch    bf16 where the machine has it; photos are decoded and kept
    fit, later epochs   the kept photos
    plain, 0 workers    `Image.open().convert("RGB").resize()`, a tensor, normalised; `DataLoader`, fp32
    plain, 2 workers    the same, with two processes that decode

The plain loop does less: its light stays as it is, nothing is shrunk, weights are not averaged, nothing is watched. Its
first epoch is as fast as its later ones. Its processes have started before the clock does.

    python benchmarks/bench_training.py [--data FOLDER] [--steps 12] [--rounds 3] [--side 224]
"""

import argparse
import logging
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import timm
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from bintally.data.ingest import ingest
from bintally.data.manifest import Manifest, Split, read_manifest, write_manifest
from bintally.data.splits import split
from bintally.data.store import open_store
from bintally.data.synthetic import draw_bucket
from bintally.settings import RunSettings, parse_settings
from bintally.training.fit import choose_classes, fit
from bintally.training.recipes import recipe_text

WIDTH_PX, HEIGHT_PX = 520, 456  # as large as ABID's photos are
SETTLED = 2  # steps of each epoch that are not counted: buffers grow, and in the plain loop processes get ahead
VAL, CALIBRATION = 4, 2  # photos are kept of these splits: what is measured is training
PLAIN = {"plain, 0 workers": 0, "plain, 2 workers": 2}
FIRST, LATER = "fit, first epoch", "fit, later epochs"


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, help="a dataset with splits instead of drawn photos")
    arguments.add_argument("--steps", type=int, default=12, help="of each epoch")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--side", type=int, default=224)
    options = arguments.parse_args()
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    changes = [f"data.side_px={options.side}", "epochs=2", "model.pretrained=false"]
    settings = parse_settings(recipe_text("mobilenetv2"), name="mobilenetv2", overrides=changes)
    with tempfile.TemporaryDirectory() as scratch:
        photos = (options.steps + SETTLED) * settings.batch_size
        manifest = part_of(options.data or draw(Path(scratch), photos), photos)
        show(settings, measure(manifest, settings, Path(scratch), steps=options.steps, rounds=options.rounds))


def draw(folder: Path, photos: int) -> Path:
    """A dataset of drawn bins, large enough."""
    draw_bucket(folder / "bucket", photos=round(photos * 1.5), width_px=WIDTH_PX, height_px=HEIGHT_PX)
    report = ingest(open_store(str(folder / "bucket")), folder / "data")
    write_manifest(split(read_manifest(report.root), required_counts=()).manifest)
    return folder / "data"


def part_of(data: Path, photos: int) -> Manifest:
    """So many training photos, and a few of val and calibration."""
    manifest = read_manifest(data)
    sizes = {Split.TRAIN: photos, Split.VAL: VAL, Split.CALIBRATION: CALIBRATION}
    kept = [manifest.usable(each).head(size)["photo_id"] for each, size in sizes.items()]
    wanted = [name for names in kept for name in names]
    rows = manifest.frame.filter(manifest.frame["photo_id"].is_in(wanted))
    return type(manifest)(frame=rows, root=manifest.root, header=manifest.header)


def measure(
    manifest: Manifest, settings: RunSettings, folder: Path, *, steps: int, rounds: int
) -> dict[str, list[float]]:
    """Photos per second of each row in each round."""
    paths, labels = examples(manifest, settings)
    speeds: dict[str, list[float]] = {name: [] for name in (FIRST, LATER, *PLAIN)}
    for number in range(rounds):
        clock = StepClock(settings.batch_size)
        fit(manifest, settings, folder / f"run-{number}", callbacks=(clock,), progress=False)
        speeds[FIRST].append(clock.speed(0))
        speeds[LATER].append(clock.speed(1))
        for name, workers in PLAIN.items():
            speeds[name].append(apart(paths, labels, settings, workers, steps))
        Console(stderr=True).print(f"round {number + 1} of {rounds}")
    return speeds


def examples(manifest: Manifest, settings: RunSettings) -> tuple[list[Path], list[int]]:
    """Training photos with their classes."""
    rows = manifest.usable(Split.TRAIN, settings.data.excluded_flags)
    labels = choose_classes(manifest, settings).encode(rows["count"].to_numpy()).tolist()
    return [manifest.root / key for key in rows["photo_key"]], labels


class StepClock(Callback):
    """When each step of each epoch ended."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size, self._ends = batch_size, dict[int, list[float]]()

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Take the time."""
        self._ends.setdefault(trainer.current_epoch, []).append(time.perf_counter())

    def speed(self, epoch: int) -> float:
        """Photos per second in an epoch, from the end of its settled step to the end of its last."""
        ends = self._ends[epoch][SETTLED - 1 :]
        return (len(ends) - 1) * self._batch_size / (ends[-1] - ends[0])


class PlainPhotos(Dataset[tuple[torch.Tensor, int]]):
    """What a tutorial has."""

    def __init__(self, paths: list[Path], labels: list[int], settings: RunSettings) -> None:
        self.paths, self.labels, self.side = paths, labels, settings.data.side_px
        self.mean = torch.tensor(settings.data.mean)[:, None, None]
        self.std = torch.tensor(settings.data.std)[:, None, None]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.open(self.paths[index]).convert("RGB").resize((self.side, self.side))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        if torch.rand(()) < 0.5:  # noqa: PLR2004 - a fair coin
            pixels = pixels.flip(2)
        return (pixels - self.mean) / self.std, self.labels[index]


def apart(paths: list[Path], labels: list[int], settings: RunSettings, workers: int, steps: int) -> float:
    """`plain` in a process of its own: `fit` changes how memory is kept."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(plain, paths, labels, settings, workers, steps).result()


def plain(paths: list[Path], labels: list[int], settings: RunSettings, workers: int, steps: int) -> float:
    """Photos per second of a plain loop."""
    torch.manual_seed(0)
    network = timm.create_model(settings.model.backbone, num_classes=settings.data.last_count + 1, pad_type="same")
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.optimiser.lr)
    loss = torch.nn.CrossEntropyLoss()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device).train()
    loader = DataLoader(
        PlainPhotos(paths, labels, settings),
        batch_size=settings.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="spawn" if workers else None,
    )
    batches, begun = endless(loader), 0.0
    for step in range(SETTLED + 2 * workers + steps):  # first those that processes have ready
        if step == SETTLED + 2 * workers:
            begun = time.perf_counter()
        photos, classes = next(batches)
        optimiser.zero_grad()
        loss(network(photos.to(device)), classes.to(device)).backward()
        optimiser.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return steps * settings.batch_size / (time.perf_counter() - begun)


def endless(loader: DataLoader[tuple[torch.Tensor, int]]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Epoch after epoch."""
    while True:
        yield from loader


def show(settings: RunSettings, speeds: dict[str, list[float]]) -> None:
    """The table; ratios are to the better of the plain rows in each round."""
    best = [max(each) for each in zip(*(speeds[name] for name in PLAIN), strict=True)]
    title = (
        f"{settings.model.backbone}, {settings.data.side_px} px, batch {settings.batch_size}; {os.cpu_count()} cores, "
    )
    table = Table("way", "photos/s", "beside the better plain loop", title=title + platform.machine())
    for name, found in speeds.items():
        ratio = statistics.median(a / b for a, b in zip(found, best, strict=True))
        table.add_row(name, f"{statistics.median(found):.1f}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
