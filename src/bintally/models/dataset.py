"""Manifest rows to batches.

An item is asked for by (epoch, index), so that augmentation is a function of (seed, epoch, photo) on any worker.
Batches are photos uint8[N,S,S,3], classes int64[N]; with a teacher also its probabilities float32[N,C].
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from bintally.domain.classes import CountClasses
from bintally.errors import ManifestError
from bintally.models.preprocess import augmented, served
from bintally.settings import AugmentSettings, RunSettings

Place = tuple[int, int]  # (epoch, index)
Batch = tuple[Tensor, ...]  # photos and classes; where there is a teacher, its probabilities too


class Stage(StrEnum):
    """What happens to a photo on its way into a batch."""

    READ = "read"
    DECODE = "decode"  # and squash
    AUGMENT = "augment"
    COLLATE = "collate"


StageClock = Callable[[Stage], AbstractContextManager[None]]
_NO_CLOCK = nullcontext()


def untimed(_stage: Stage) -> AbstractContextManager[None]:
    """The clock of a dataset that nobody measures."""
    return _NO_CLOCK


def fit_in_memory(photos: int, settings: RunSettings) -> bool:
    """Whether so many decoded photos may be kept; every process that loads keeps a copy of its own."""
    return max(1, settings.workers) * photos * settings.data.side_px**2 * 3 <= settings.cache_mib << 20


class PhotoDataset(Dataset[tuple[Tensor, ...]]):
    """Photos of a manifest with their classes; decoded once and kept while they fit in memory.

    Attributes:
        paths: of the photos.
        labels: their classes, int64[photos].
        beliefs: what a teacher thinks of them, probabilities float32[photos,C]; None: there is none.
        clock: is told each stage of the work, while it is done in this process.
    """

    def __init__(
        self,
        rows: pl.DataFrame,
        root: Path,
        *,
        classes: CountClasses,
        settings: RunSettings,
        augment: AugmentSettings | None,
    ) -> None:
        """Take the rows whose count is a class.

        Args:
            rows: labelled manifest rows.
            root: the dataset's folder.
            classes: which counts are classes.
            settings: the run's, for side, seed and cache.
            augment: what may change in a photo; None: nothing.

        Raises:
            ManifestError: if no row is left.
        """
        labels = classes.encode(rows["count"].to_numpy())
        kept = labels >= 0
        if not kept.any():
            raise ManifestError(
                f"{root}: none of {len(rows)} photos has a count from {classes.low} to {classes.high}; "
                "ingest others, or train with other --counts"
            )
        self.paths = [str(root / key) for key in rows["photo_key"].filter(pl.Series(kept))]
        self.labels = torch.from_numpy(labels[kept])
        self.beliefs: Tensor | None = None
        self._side, self._seed, self._augment = settings.data.side_px, settings.seed, augment
        fits = fit_in_memory(len(self.paths), settings)
        self._cache: list[npt.NDArray[np.uint8] | None] | None = [None] * len(self.paths) if fits else None
        self.clock: StageClock = untimed

    @property
    def keeps_photos(self) -> bool:
        """Whether decoded photos are kept: all of them fit."""
        return self._cache is not None

    def first(self, photos: int, *, keep: bool) -> "PhotoDataset":
        """The first photos as a dataset of their own, which keeps decoded photos or does not."""
        part = copy(self)
        part.clock = untimed
        part.paths, part.labels = self.paths[:photos], self.labels[:photos]
        part.beliefs = None if self.beliefs is None else self.beliefs[:photos]
        part._cache = (self._cache[:photos] if self._cache else [None] * len(part.paths)) if keep else None
        return part

    def unchanged(self) -> "PhotoDataset":
        """The same photos as they came, not augmented, as a dataset of their own that shares what is decoded."""
        plain = copy(self)
        plain.clock, plain._augment = untimed, None
        return plain

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: Place) -> tuple[Tensor, ...]:
        """(photo uint8[S,S,3], class int64[]) at (epoch, index); with a teacher, its probabilities float32[C] as well.

        Raises:
            PhotoError: naming the photo, if it cannot be decoded.
            ManifestError: if it is gone.
        """
        epoch, index = place
        photo = self._photo(index)
        if self._augment is not None:
            with self.clock(Stage.AUGMENT):
                photo = augmented(photo, self._augment, seed=(self._seed, epoch, index))
        item = torch.from_numpy(photo), self.labels[index]
        return item if self.beliefs is None else (*item, self.beliefs[index])

    def collate(self, items: list[tuple[Tensor, ...]]) -> Batch:
        """Items as one batch."""
        with self.clock(Stage.COLLATE):
            return tuple(default_collate(items))

    def _photo(self, index: int) -> npt.NDArray[np.uint8]:
        kept = self._cache[index] if self._cache is not None else None
        if kept is not None:
            return kept
        path = self.paths[index]
        try:
            with self.clock(Stage.READ):
                data = Path(path).read_bytes()
        except OSError as error:
            raise ManifestError(
                f"a photo of the manifest cannot be read ({error}). Ingest again: bintally ingest SOURCE DATA"
            ) from error
        with self.clock(Stage.DECODE):
            photo = served(data, self._side, name=path)
        if self._cache is not None:
            self._cache[index] = photo
        return photo


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which part of an epoch one process reads, and where it begins: a run that goes on begins within an epoch."""

    rank: int = 0
    ranks: int = 1
    epoch: int = 0
    batches: int = 0  # of that epoch that are done already


class EpochSampler(Sampler[Place]):
    """Indices in an order that is a function of (seed, epoch), each with its epoch; Lightning calls `set_epoch`.

    Several processes take turns in that order, and each gets equally many: what is left over waits for another epoch.
    The epoch that `share` names begins after its first `skip` indices, all others at their beginning.
    """

    def __init__(self, length: int, *, seed: int, shuffle: bool, share: Share = Share(), skip: int = 0) -> None:
        self._length, self._seed, self._shuffle, self._share = length, seed, shuffle, share
        self._epoch, self._skip = share.epoch, skip

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; the one under way goes on."""
        if epoch != self._epoch:
            self._epoch, self._skip = epoch, 0

    def __len__(self) -> int:
        """Of a whole epoch, wherever this one begins."""
        return self._length // self._share.ranks

    def __iter__(self) -> Iterator[Place]:
        rng = np.random.default_rng((self._seed, self._epoch))
        order = rng.permutation(self._length) if self._shuffle else np.arange(self._length)
        mine = order[self._share.rank :: self._share.ranks][: len(self)]
        epoch = self._epoch
        return ((epoch, int(index)) for index in mine[self._skip :])


def loader(dataset: PhotoDataset, settings: RunSettings, *, shuffle: bool, share: Share = Share()) -> DataLoader[Batch]:
    """Batches of `dataset`: for training shuffled and without an incomplete last one; otherwise in order and whole."""
    skip = share.batches * settings.batch_size
    sampler = EpochSampler(len(dataset), seed=settings.seed, shuffle=shuffle, share=share, skip=skip)
    return DataLoader(
        dataset,
        batch_size=settings.batch_size,
        sampler=sampler,
        collate_fn=dataset.collate,
        drop_last=shuffle and len(sampler) > settings.batch_size,
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
        # The parent has threads (polars, torch): forking it can hang.
        multiprocessing_context="spawn" if settings.workers else None,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_ignore_signals,
        # Its own, or each pass would draw from the numbers that dropout is drawn from.
        generator=torch.Generator().manual_seed(settings.seed),
    )


def _ignore_signals(_worker: int) -> None:
    """A signal to all processes at once is for the training one to answer, and it may still want photos."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)
