"""Short trials after a run: its own way beside another one, in turns, on its own photos and a copy of its network.

What they give are ratios, for a machine that slows down slows both. Refuses to touch the run: its weights are copied,
and random numbers are put back to where they were.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import copy, deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import torch
from torch.nn import functional
from torch.utils.data import DataLoader

from bintally.data.images import encode
from bintally.data.prepare_settings import PrepareSettings
from bintally.errors import BintallyError
from bintally.models.checkpoint import Checkpoint
from bintally.models.dataset import Batch, PhotoDataset, loader
from bintally.models.preprocess import served
from bintally.settings import RunSettings
from bintally.training.module import make_optimiser, targets_of
from bintally.training.profile.phases import LOADING, Phase
from bintally.training.profile.result import Profile, Trial
from bintally.training.resume import random_state, set_random_state

OWN = "as it is"
_ROUNDS = 15
_BATCHES = (2, 4)  # times the batch
_WORTH_A_TRIAL = 0.05  # of the wall time
_PHOTOS = 48  # decoded in each round
Ways = dict[int | str, Callable[[], float]]
_OTHER = {"fp32": "bf16", "bf16": "fp32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How long trials may take.

    Attributes:
        seconds: of each kind.
        rounds: at least.
        steps: in each round with a loader.
    """

    seconds: float = 8.0
    rounds: int = 3
    steps: int = 6


@dataclass(slots=True, kw_only=True)
class Tried:
    """What came of the trials.

    Attributes:
        by_kind: for each kind and value, the trial.
        worker_start: seconds until loader processes had their first batch.
    """

    by_kind: dict[tuple[str, int | str], Trial] = field(default_factory=dict)
    worker_start: dict[int, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All of them."""
        return tuple(self.by_kind.values())

    def add(self, kind: str, seconds: Mapping[int | str, list[float]], names: Mapping[int | str, str]) -> None:
        """Seconds of each way by round; that of `OWN` is compared with the others."""
        own = seconds[OWN]
        for value, other in seconds.items():
            if value != OWN:
                self.by_kind[kind, value] = Trial(
                    what=names[value],
                    own_ms=1e3 * statistics.median(own),
                    other_ms=1e3 * statistics.median(other),
                    ratio=statistics.median(b / a for a, b in zip(own, other, strict=True)),
                    rounds=len(own),
                )


def try_out(
    checkpoint: Checkpoint, dataset: PhotoDataset, profile: Profile, device: torch.device, budget: Budget
) -> Tried:
    """All trials that can show a gain worth having."""
    tried = Tried()
    settings = checkpoint.facts.settings
    if profile.work.processes > 1:
        tried.notes.append("with several processes only what needs no trial of its own is advised")
        return tried
    with _random_numbers_kept():
        stepper = Stepper(checkpoint, device, profile.work.precision)
        batch = _batch_of(dataset, settings, device)
        _try_precision(tried, stepper, batch, profile, budget)
        _try_batches(tried, stepper, batch, profile, budget)
        try:
            _try_loading(tried, stepper, dataset, settings, profile, budget)
        except (
            BintallyError,
            OSError,
        ) as error:  # torch's, of a killed process; the run is saved
            tried.notes.append(f"loading could not be tried: {str(error).splitlines()[0]}")
    return tried


class Stepper:
    """Steps on a copy of the network: forward, backward, optimiser, average; nothing else."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, precision: str) -> None:
        settings = checkpoint.facts.settings
        self.network = deepcopy(checkpoint.network).to(device).to(memory_format=torch.channels_last).train()
        self._settings, self._device, self._precision = settings, device, precision
        self._optimiser = make_optimiser(self.network, settings.optimiser)
        self._decay = settings.optimiser.ema_decay
        self._average = [weights.detach().clone() for weights in self.network.parameters()] if self._decay else []

    def step(self, batch: Batch, precision: str | None = None) -> None:
        """One step, ended."""
        batch = tuple(each.to(self._device) for each in batch)
        low = (precision or self._precision) == "bf16"
        with torch.autocast(self._device.type, torch.bfloat16) if low else nullcontext():
            logits = self.network(batch[0])
        targets = targets_of(batch, logits.shape[1], self._settings)
        loss = functional.cross_entropy(logits.float(), targets)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        with torch.no_grad():
            for average, weights in zip(self._average, self.network.parameters(), strict=False):
                average.lerp_(weights, 1 - self._decay)
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, batch: Batch, precision: str | None = None) -> float:
        """How long one step takes."""
        begun = time.perf_counter()
        self.step(batch, precision)
        return time.perf_counter() - begun


def in_turns(ways: Ways, budget: Budget) -> dict[int | str, list[float]]:
    """What each way takes, round after round, in turns; a first round is not counted."""
    for way in ways.values():
        way()
    seconds: dict[int | str, list[float]] = {name: [] for name in ways}
    begun = time.perf_counter()
    for done in range(_ROUNDS):
        if done >= budget.rounds and time.perf_counter() - begun > budget.seconds:
            break
        for name, way in ways.items():
            seconds[name].append(way())
    return seconds


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)


def _batch_of(dataset: PhotoDataset, settings: RunSettings, device: torch.device) -> Batch:
    items = [dataset[0, index] for index in range(min(settings.batch_size, len(dataset)))]
    return tuple(each.to(device) for each in dataset.collate(items))


def _try_precision(tried: Tried, stepper: Stepper, batch: Batch, profile: Profile, budget: Budget) -> None:
    other = _OTHER[profile.work.precision]
    ways: Ways = {OWN: lambda: stepper.seconds(batch), other: lambda: stepper.seconds(batch, other)}
    tried.add("precision", in_turns(ways, budget), {other: f"steps in {other}"})


def _try_batches(tried: Tried, stepper: Stepper, batch: Batch, profile: Profile, budget: Budget) -> None:
    """For as many photos: the seconds of a larger batch are divided by how many times larger it is."""
    room = psutil.virtual_memory().available
    used = max(sample.rss_mib for sample in profile.memory) * 2**20
    times = [
        each for each in _BATCHES if each * len(batch[1]) <= profile.work.photos and (each - 1) * used < 0.8 * room
    ]
    larger = {each: tuple(torch.cat([part] * each) for part in batch) for each in times}

    def way(each: int) -> Callable[[], float]:
        return lambda: stepper.seconds(larger[each]) / each

    ways: Ways = {OWN: lambda: stepper.seconds(batch), **{each: way(each) for each in times}}
    try:
        seconds = in_turns(ways, budget)
    except torch.OutOfMemoryError:
        tried.notes.append("a larger batch does not fit into the GPU's memory")
        torch.cuda.empty_cache()
        return
    names: dict[int | str, str] = {
        each: f"steps of {each * len(batch[1])} photos, for {len(batch[1])} of them" for each in times
    }
    tried.add("batch", seconds, names)


def _try_loading(
    tried: Tried, stepper: Stepper, dataset: PhotoDataset, settings: RunSettings, profile: Profile, budget: Budget
) -> None:
    """Where loading is worth it: prepared photos, and steps with other loaders."""
    work = profile.work
    decoding = profile.share(Phase.READ, Phase.DECODE)
    if not work.prepared and (decoding >= _WORTH_A_TRIAL or work.workers):
        _try_prepared(tried, dataset, settings, budget)
    loading = profile.share(*LOADING)
    if work.keeps_photos:
        loading -= decoding  # not in later epochs
    if loading >= _WORTH_A_TRIAL or (work.workers and work.keeps_photos):
        _try_loaders(tried, stepper, dataset, settings, profile, budget)


def _try_prepared(tried: Tried, dataset: PhotoDataset, settings: RunSettings, budget: Budget) -> None:
    """What it takes to read and decode photos as they are, and the same ones prepared."""
    with tempfile.TemporaryDirectory() as folder:
        paths = dataset.paths[:: max(1, len(dataset.paths) // _PHOTOS)][:_PHOTOS]
        small = _prepare(paths, Path(folder), settings)

        def seconds(some: list[str]) -> float:
            begun = time.perf_counter()
            for path in some:
                served(Path(path).read_bytes(), settings.data.side_px, name=path)
            return (time.perf_counter() - begun) / len(some)

        found = in_turns({OWN: lambda: seconds(paths), "prepared": lambda: seconds(small)}, budget)
    tried.add("prepared", found, {"prepared": "reading and decoding a prepared photo"})


def _prepare(paths: list[str], folder: Path, settings: RunSettings) -> list[str]:
    """The photos as `bintally prepare` would have them."""
    how = PrepareSettings(side_px=settings.data.side_px)
    small = []
    for number, path in enumerate(paths):
        photo = served(Path(path).read_bytes(), how.side_px, name=path)
        place = folder / f"{number}.jpg"
        place.write_bytes(encode(photo, how.format, quality=how.quality))
        small.append(str(place))
    return small


def _try_loaders(
    tried: Tried, stepper: Stepper, dataset: PhotoDataset, settings: RunSettings, profile: Profile, budget: Budget
) -> None:
    """Whole steps with photos from a loader, with other numbers of processes; and without any, photos kept."""
    work = profile.work
    photos = min(len(dataset), max(_PHOTOS, work.batch_size * budget.steps * 2))
    plain = dataset.first(photos, keep=work.keeps_photos)
    prepared_folder = tempfile.TemporaryDirectory() if work.workers and not work.prepared else None
    variants: dict[int | str, tuple[PhotoDataset, int]] = {OWN: (plain, work.workers)}
    for workers in _numbers_of_workers(work.workers, profile.machine.cores):
        variants[workers] = (plain, workers)
    if work.workers and not work.keeps_photos:
        variants["kept"] = (dataset.first(photos, keep=True), 0)
    try:
        if prepared_folder is not None:
            small = copy(plain)
            small.paths = _prepare(plain.paths, Path(prepared_folder.name), settings)
            variants["prepared"] = (small, work.workers)
        _time_loaders(tried, stepper, settings, variants, budget)
    finally:
        if prepared_folder is not None:
            prepared_folder.cleanup()


def _time_loaders(
    tried: Tried,
    stepper: Stepper,
    settings: RunSettings,
    variants: Mapping[int | str, tuple[PhotoDataset, int]],
    budget: Budget,
) -> None:
    """Each loader's processes sleep while it is not its turn: they have no more to fetch than a few batches."""
    streams = {}
    for name, (part, workers) in variants.items():
        streams[name] = _Stream(part, settings.model_copy(update={"workers": workers}), stepper)
        if isinstance(name, int) and workers:
            tried.worker_start[workers] = streams[name].start_seconds
    seconds = in_turns({name: partial(each.seconds, budget.steps) for name, each in streams.items()}, budget)
    names: dict[int | str, str] = {"kept": "steps with decoded photos kept, no loader processes"}
    names["prepared"] = "steps with prepared photos"
    names |= {each: f"steps with {each} loader processes" for each in variants if isinstance(each, int)}
    tried.add("loader", seconds, names)


class _Stream:
    """Batches without end from a loader, and steps on them.

    Attributes:
        start_seconds: until the first batch was there.
    """

    def __init__(self, dataset: PhotoDataset, settings: RunSettings, stepper: Stepper) -> None:
        self._loader, self._stepper = loader(dataset, settings, shuffle=True), stepper
        self._ahead = 2 * settings.workers  # batches that processes have ready when nobody asks
        begun = time.perf_counter()
        self._batches = _endless(self._loader)
        next(self._batches)
        self.start_seconds = time.perf_counter() - begun
        for _ in self._loader if dataset.keeps_photos and not settings.workers else ():
            pass  # keep them

    def seconds(self, steps: int) -> float:
        """A step's, after what was ready beforehand is used up."""
        for _ in range(self._ahead):
            self._stepper.step(next(self._batches))
        begun = time.perf_counter()
        for _ in range(steps):
            self._stepper.step(next(self._batches))
        return (time.perf_counter() - begun) / steps


def _endless(batches: DataLoader[Batch]) -> Iterator[Batch]:
    """No method of a stream: held by itself, it would keep its processes to the end of ours, which then waits for them.

    They do not heed the SIGTERM that Python sends them there.
    """
    while True:
        yield from batches


def _numbers_of_workers(own: int, cores: int) -> list[int]:
    """Worth a trial beside one's own.

    >>> _numbers_of_workers(0, 2), _numbers_of_workers(0, 16), _numbers_of_workers(4, 8)
    ([1, 2], [4, 15], [0, 2, 7])
    """
    wanted = {1, 2} if cores <= 2 else {max(2, cores // 4), cores - 1}  # noqa: PLR2004
    return sorted({each for each in ({0} | wanted if own else wanted) if each != own})[:3]
