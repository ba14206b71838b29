"""`evaluate`: any `CountEstimator` over a manifest's splits, into an `Evaluation`.

Shapes: N photos; K the estimator's last count. Splits are measured one after the other; the last one (test, unless told
otherwise) is the one that is looked at in detail. Refuses to drop a photo silently: one that the estimator cannot read
is listed with its reason and is in no figure. Never imports torch.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from bintally.data.manifest import DEFAULT_EXCLUDED, Manifest, Split, parse_flags
from bintally.domain.counts import CountEstimator
from bintally.domain.verdicts import Policy
from bintally.errors import ManifestError, PhotoError
from bintally.evaluation.bootstrap import DEFAULT_RESAMPLES, Array, GroupBootstrap, ratio
from bintally.evaluation.health import Health
from bintally.evaluation.metrics import (
    METRIC,
    SCOPE,
    SCOPES,
    Counts,
    MetricName,
    Scope,
    ScopeName,
    calibration_bins,
    measure,
    score,
)
from bintally.evaluation.results import (
    CountResult,
    Curves,
    Evaluation,
    Prediction,
    Provenance,
    ReliabilityBin,
    ScopeResult,
    SplitResult,
    UnreadablePhoto,
)
from bintally.evaluation.verification import verification

Progress = Callable[[Split, int, int], None]
"""Called with a split, how many of its photos are done, and how many there are."""

DEFAULT_SPLITS = (Split.TRAIN, Split.VAL, Split.TEST)
_DECIMALS = 8  # of stored probabilities; every figure is taken from the stored ones, so the file can be checked
_SUM_TOLERANCE = 1e-3

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """One split's photos that could be counted, with probabilities float64[N,K+1]."""

    rows: pl.DataFrame
    probabilities: Array
    unreadable: tuple[UnreadablePhoto, ...]

    @property
    def counts(self) -> Counts:
        return self.rows["count"].to_numpy().astype(np.int64)

    @property
    def groups(self) -> list[str]:
        return self.rows["group"].to_list()


def evaluate(
    estimator: CountEstimator,
    manifest: Manifest,
    *,
    splits: Sequence[Split] = DEFAULT_SPLITS,
    known_counts: tuple[int, int | None] = (0, None),
    policy: Policy | None = None,
    curves: Curves | None = None,
    health: Health | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    batch_size: int = 64,
    max_train_photos: int | None = None,
    excluded: Iterable[str] = DEFAULT_EXCLUDED,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure `estimator` on the labelled photos of `splits`.

    Args:
        estimator: a network, a baseline, an exported model.
        manifest: with splits made; photos are read from below its root.
        splits: what to measure; the last one in detail (per count, confusion, verification, every prediction).
        known_counts: (low, high) counts it was trained to tell apart, as `decide` takes them.
        policy: for the verification section; the default policy where none is given.
        curves: of the run that made it, kept beside the figures.
        health: likewise.
        resamples: of the bootstrap by sibling group.
        seed: of the bootstrap. Evaluations to be compared need the same one.
        batch_size: photos held in memory and given to the estimator at a time.
        max_train_photos: measure the training split on this many of its photos, evenly picked; every other split whole.
        excluded: flags that keep a photo out of every split but test, as `Manifest.usable` takes them. Evaluations to
            be compared need the same.
        progress: called after each batch.

    Raises:
        ManifestError: if there are no splits, a split has no labelled photo, or a photo is not where it should be.
        SettingsError: if a flag does not exist.
    """
    kept_out = tuple(flag.value for flag in parse_flags(excluded))
    if not splits:
        raise ValueError("expected at least one split to evaluate on")
    results = []
    for split in splits:
        rows = _rows(manifest, split, kept_out, max_train_photos)
        answers = _ask(estimator, manifest, rows, split, batch_size=batch_size, progress=progress)
        bootstrap = GroupBootstrap(answers.groups, resamples=resamples, seed=seed)
        results.append(_split_result(split, answers, bootstrap))

    # `answers` and `bootstrap` are now those of the last split, which is looked at in detail.
    overall = score(SCOPE[ScopeName.ALL], answers.probabilities, answers.counts)
    return Evaluation(
        estimator=estimator.name,
        last_count=estimator.last_count,
        known_counts=known_counts,
        provenance=Provenance(
            source=manifest.header.origin,
            salt=manifest.salt,
            split_hash=manifest.split_hash,
            content_hash=manifest.content_hash,
            excluded_flags=kept_out,
        ),
        resamples=resamples,
        seed=seed,
        splits=tuple(results),
        detail_split=splits[-1],
        per_count=_per_count(answers, bootstrap),
        confusion=_confusion(overall.truths, overall.predicted, estimator.last_count),
        reliability=_reliability(overall.confidence, overall.hits.astype(np.float64)),
        verification=verification(
            answers.probabilities, answers.counts, bootstrap, policy=policy or Policy(), known_counts=known_counts
        ),
        predictions=_predictions(answers, overall.predicted),
        curves=curves,
        health=health,
    )


def _rows(manifest: Manifest, split: Split, excluded: Iterable[str], max_train_photos: int | None) -> pl.DataFrame:
    """The photos to measure."""
    rows = manifest.usable(split, excluded).sort("photo_id")
    if split is Split.TRAIN and max_train_photos is not None and max_train_photos < rows.height:
        rows = rows[np.linspace(0, rows.height - 1, max_train_photos).round().astype(np.int64)]
    return rows


def _ask(
    estimator: CountEstimator,
    manifest: Manifest,
    rows: pl.DataFrame,
    split: Split,
    *,
    batch_size: int,
    progress: Progress | None,
) -> _Answers:
    """Have every photo counted, batch by batch."""
    beliefs: list[Array] = []
    unreadable: dict[int, UnreadablePhoto] = {}
    for start, photos in _batches(manifest, rows["photo_key"].to_list(), batch_size):
        try:
            beliefs.append(_predict(estimator, photos))
        except PhotoError:
            for offset, photo in enumerate(photos):
                try:
                    beliefs.append(_predict(estimator, [photo]))
                except PhotoError as error:
                    photo_id = rows["photo_id"][start + offset]
                    _logger.warning("%s: left out of the %s figures: %s", photo_id, split, error)
                    unreadable[start + offset] = UnreadablePhoto(photo_id=photo_id, problem=str(error))
        if progress is not None:
            progress(split, start + len(photos), rows.height)
    if len(unreadable) == rows.height:
        first = next(iter(unreadable.values()))
        raise ManifestError(f"no photo of the {split} split can be read; the first, {first.photo_id}: {first.problem}")
    readable = [row for row in range(rows.height) if row not in unreadable]
    return _Answers(
        rows=rows[readable],
        probabilities=np.asarray(np.round(np.concatenate(beliefs), _DECIMALS), dtype=np.float64),
        unreadable=tuple(unreadable.values()),
    )


def _batches(manifest: Manifest, keys: Sequence[str], batch_size: int) -> Iterator[tuple[int, list[bytes]]]:
    for start in range(0, len(keys), batch_size):
        yield start, [manifest.read_photo(key) for key in keys[start : start + batch_size]]


def _predict(estimator: CountEstimator, photos: Sequence[bytes]) -> Array:
    """Probabilities float64[N,K+1], checked and normalised."""
    answers = np.asarray(estimator.predict(photos), dtype=np.float64)
    expected = (len(photos), estimator.last_count + 1)
    if answers.shape != expected:
        raise ValueError(f"{estimator.name}: expected probabilities {expected}, got {answers.shape}")
    totals = answers.sum(axis=1, keepdims=True)
    if not np.isfinite(answers).all() or (answers < 0).any() or (np.abs(totals - 1) > _SUM_TOLERANCE).any():
        raise ValueError(f"{estimator.name}: expected rows of probabilities that sum to 1")
    return np.asarray(answers / totals, dtype=np.float64)


def _split_result(split: Split, answers: _Answers, bootstrap: GroupBootstrap) -> SplitResult:
    last_count = answers.probabilities.shape[1] - 1
    return SplitResult(
        split=split,
        photos=answers.rows.height,
        groups=bootstrap.group_count,
        scopes=tuple(
            _scope_result(scope, answers, bootstrap)
            for scope in SCOPES
            if scope.defined_for(last_count) and scope.holds(answers.counts).any()
        ),
        unreadable=answers.unreadable,
    )


def _scope_result(scope: Scope, answers: _Answers, bootstrap: GroupBootstrap) -> ScopeResult:
    held = scope.holds(answers.counts)
    return ScopeResult(
        scope=scope.name,
        photos=int(held.sum()),
        groups=answers.rows.filter(pl.Series(held))["group"].n_unique(),
        photos_at_floor=score(scope, answers.probabilities, answers.counts).photos_at_floor,
        metrics=measure(scope, answers.probabilities, answers.counts, bootstrap),
    )


def _per_count(answers: _Answers, bootstrap: GroupBootstrap) -> tuple[CountResult, ...]:
    """Accuracy and +-1 of each true count, K standing for K or more."""
    overall = score(SCOPE[ScopeName.ALL], answers.probabilities, answers.counts)
    hits, near = (METRIC[name].statistics(overall) for name in (MetricName.ACCURACY, MetricName.WITHIN_ONE))
    results = []
    for count in np.unique(overall.truths):
        of_count = (overall.truths == count)[:, np.newaxis]
        results.append(
            CountResult(
                count=int(count),
                photos=int(of_count.sum()),
                accuracy=bootstrap.figure(hits * of_count, ratio),
                within_one=bootstrap.figure(near * of_count, ratio),
                mean_predicted=float(overall.predicted[of_count[:, 0]].mean()),
            )
        )
    return tuple(results)


def _confusion(truths: Counts, predicted: Counts, last_count: int) -> tuple[tuple[int, ...], ...]:
    table = np.zeros((last_count + 1, last_count + 1), dtype=np.int64)
    np.add.at(table, (truths, predicted), 1)
    return tuple(tuple(int(cell) for cell in row) for row in table)


def _reliability(confidence: Array, hits: Array) -> tuple[ReliabilityBin, ...]:
    """The very bins of the calibration error, least confident first."""
    bins = calibration_bins(confidence)
    return tuple(
        ReliabilityBin(
            photos=int((bins == index).sum()),
            confidence=float(confidence[bins == index].mean()),
            accuracy=float(hits[bins == index].mean()),
        )
        for index in np.unique(bins)
    )


def _predictions(answers: _Answers, predicted: Counts) -> tuple[Prediction, ...]:
    columns = answers.rows.select("photo_id", "photo_key", "group", "count").rows()
    return tuple(
        Prediction(
            photo_id=photo_id,
            photo_key=photo_key,
            group=group,
            count=count,
            predicted=int(mode),
            probabilities=tuple(row.tolist()),
        )
        for (photo_id, photo_key, group, count), mode, row in zip(
            columns, predicted, answers.probabilities, strict=True
        )
    )
