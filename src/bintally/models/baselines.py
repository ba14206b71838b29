"""Baselines: what can be had without looking at a bin's contents. The same protocol as the networks; never torch.

Shapes: N photos; C classes of a task (`CountClasses`); K its last count.
They decode every photo although two of them ignore it, so that a file no network could count is refused by all alike.
Refuses to see what is in a photo: the cues are its file's size, its sides and its brightness as a whole.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bintally.data.images import decode
from bintally.data.manifest import DEFAULT_EXCLUDED, Manifest, Split
from bintally.domain.classes import CountClasses
from bintally.domain.counts import CountEstimator
from bintally.errors import PhotoError, SplitError

_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
_FEWEST_PHOTOS = 10  # of a class, for the booster to learn it: its early stopping sets a tenth of each class aside

Progress = Callable[[int, int], None]
"""Called with how many training photos are read, and how many there are."""

_logger = logging.getLogger(__name__)


class ConstantBaseline:
    """Says the same of every photo; what it says is fitted by its subclasses."""

    def __init__(self, name: str, probabilities: npt.NDArray[np.floating], classes: CountClasses) -> None:
        """Keep class probabilities float[C], under `name`."""
        self._name = name
        self._row = classes.expand(probabilities[np.newaxis])[0]

    @property
    def name(self) -> str:
        """What tables call it."""
        return self._name

    @property
    def last_count(self) -> int:
        """K of its distributions."""
        return len(self._row) - 1

    def predict(self, photos: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """The same distribution for each of N photos: float32[N,K+1].

        Raises:
            PhotoError: if a photo cannot be decoded.
        """
        for photo in photos:
            decode(photo)
        return np.tile(self._row, (len(photos), 1))


class MajorityBaseline(ConstantBaseline):
    """Always the most frequent training count.

    Its probability is the share it had in training; the rest is spread evenly over the other classes, so that its
    cross entropy is finite.
    """

    @classmethod
    def fit(cls, labels: Sequence[int], classes: CountClasses) -> Self:
        """Fit to training counts; those outside `classes` are left out.

        Raises:
            SplitError: if none is inside.

        >>> five = CountClasses(low=1, high=5, open_ended=False)
        >>> MajorityBaseline.fit([3, 3, 3, 4, 5, 9], five).predict([]).shape
        (0, 7)
        """
        tally = _tally(labels, classes)
        # Where training has one class only, the others still keep a little: a loss must be finite there too.
        share = min(tally.max() / tally.sum(), 1 - 1 / (tally.sum() + classes.size))
        probabilities = np.full(classes.size, (1 - share) / (classes.size - 1))
        probabilities[tally.argmax()] = share
        return cls("majority", probabilities, classes)


class PriorBaseline(ConstantBaseline):
    """Always the training frequencies, each class counted once more than it occurred (Laplace's rule)."""

    @classmethod
    def fit(cls, labels: Sequence[int], classes: CountClasses) -> Self:
        """Fit to training counts; those outside `classes` are left out.

        Raises:
            SplitError: if none is inside.
        """
        return cls("prior", _smoothed(_tally(labels, classes)), classes)


class CuesBaseline:
    """Gradient-boosted trees on cues that need no look at the contents: what a network must beat to have seen items.

    Classes with fewer than ten training photos are not learned but keep their smoothed training share, so that no
    class is impossible. With fewer than two classes to learn it is the prior.
    """

    def __init__(
        self, booster: HistGradientBoostingClassifier | None, prior: npt.NDArray[np.float64], classes: CountClasses
    ) -> None:
        """Keep a fitted booster (None: nothing to learn) and the smoothed training shares float64[C]."""
        self._booster = booster
        self._prior = prior
        self._classes = classes

    @classmethod
    def fit(cls, photos: Iterable[bytes], labels: Sequence[int], classes: CountClasses, *, seed: int = 0) -> Self:
        """Fit to training photos with their counts; those outside `classes` are left out.

        Raises:
            SplitError: if none is inside.
            PhotoError: if a photo cannot be decoded.
        """
        return cls._fit(np.array([cues(photo) for photo in photos]), labels, classes, seed=seed)

    @classmethod
    def _fit(
        cls, features: npt.NDArray[np.float64], labels: Sequence[int], classes: CountClasses, *, seed: int
    ) -> Self:
        """Fit to cues float64[N,5]."""
        tally = _tally(labels, classes)
        prior = _smoothed(tally)
        encoded = classes.encode(np.asarray(labels, dtype=np.int64))
        learnable = np.flatnonzero(tally >= _FEWEST_PHOTOS)
        if len(learnable) < 2:  # noqa: PLR2004 - one class is nothing to tell apart
            return cls(None, prior, classes)
        rows = np.isin(encoded, learnable)
        booster = HistGradientBoostingClassifier(
            learning_rate=0.05,
            max_iter=200,
            max_leaf_nodes=15,
            early_stopping=True,
            validation_fraction=0.1,
            n_iter_no_change=10,
            random_state=seed,
        )
        with _one_thread():
            booster.fit(features[rows], encoded[rows])
        return cls(booster, prior, classes)

    @property
    def name(self) -> str:
        """What tables call it."""
        return "cues"

    @property
    def last_count(self) -> int:
        """K of its distributions."""
        return self._classes.last_count

    def predict(self, photos: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """What each photo's cues say: float32[N,K+1].

        Raises:
            PhotoError: if a photo cannot be decoded.
        """
        features = np.array([cues(photo) for photo in photos])
        probabilities = np.tile(self._prior, (len(photos), 1))
        if self._booster is not None and len(photos):
            learned = self._booster.classes_
            with _one_thread():
                believed = self._booster.predict_proba(features)
            probabilities[:, learned] = believed * self._prior[learned].sum()
        return self._classes.expand(probabilities)


def cues(photo: bytes) -> npt.NDArray[np.float64]:
    """What is known of a photo without a look at its contents: float64[5].

    Its file's size in bytes, width and height in pixels, mean and standard deviation of its brightness (0-255).

    Raises:
        PhotoError: if it cannot be decoded.
    """
    pixels = decode(photo)
    height_px, width_px, _ = pixels.shape
    brightness = pixels @ _GREY
    return np.array([len(photo), width_px, height_px, brightness.mean(), brightness.std()], dtype=np.float64)


def fit_baselines(
    manifest: Manifest,
    classes: CountClasses,
    *,
    excluded: Iterable[str] = DEFAULT_EXCLUDED,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[CountEstimator, ...]:
    """Majority, prior and cues, fitted to the training split of `manifest`; photos outside `classes` are left out.

    A training photo that cannot be decoded is named in the log and left out of the cues.

    Args:
        manifest: with splits made.
        classes: the counts that are told apart.
        excluded: flags that keep a photo out, as `Manifest.usable` takes them.
        seed: of the cues' trees.
        progress: called after each photo.

    Raises:
        SettingsError: if a flag does not exist.
        ManifestError: if there are no splits, or a photo is not where it should be.
        SplitError: if no training photo has a count inside `classes`.
    """
    rows = manifest.usable(Split.TRAIN, excluded).sort("photo_id")
    rows = rows.filter(classes.encode(rows["count"].to_numpy().astype(np.int64)) >= 0)
    labels: list[int] = rows["count"].to_list()
    constants = MajorityBaseline.fit(labels, classes), PriorBaseline.fit(labels, classes)
    features, seen = [], []
    for done, photo_key in enumerate(rows["photo_key"]):
        try:
            features.append(cues(manifest.read_photo(photo_key)))
            seen.append(labels[done])
        except PhotoError as error:
            _logger.warning("%s: left out of the cues baseline: %s", photo_key, error)
        if progress is not None:
            progress(done + 1, len(labels))
    return *constants, CuesBaseline._fit(np.array(features), seen, classes, seed=seed)


def _one_thread() -> threadpool_limits:
    """For work so small that threads spend their time waiting for each other (20 times slower on a busy machine)."""
    return threadpool_limits(limits=1, user_api="openmp")


def _tally(labels: Sequence[int], classes: CountClasses) -> npt.NDArray[np.int64]:
    """How many of the labels are in each class: int64[C]."""
    encoded = classes.encode(np.asarray(labels, dtype=np.int64))
    known = encoded[encoded >= 0]
    if not len(known):
        raise SplitError(
            f"expected training photos with counts {classes.low}-{classes.high}, but none of {len(labels)} has one"
        )
    return np.bincount(known, minlength=classes.size)


def _smoothed(tally: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Add-one smoothing of counts int64[C]: float64[C] that sums to 1 and is nowhere 0."""
    return np.asarray((tally + 1) / (tally.sum() + len(tally)), dtype=np.float64)
