"""What an evaluation found, as frozen models that become `evaluation.json` and come back equal.

Shapes: K is the estimator's last count; probabilities are over 0..K, the last entry meaning K or more.
Refuses files of another format version.
"""

import csv
import math
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from bintally.data.files import whole_file
from bintally.data.manifest import Split
from bintally.errors import CheckpointError
from bintally.evaluation.bootstrap import Figure
from bintally.evaluation.health import Health
from bintally.evaluation.metrics import MetricName, ScopeName

FORMAT_VERSION: Literal[1] = 1
FILE_NAME = "evaluation.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Provenance(_Frozen):
    """Which photos in which splits: figures compare only where the hashes agree, and outside test also the flags."""

    source: str
    salt: str
    split_hash: str
    content_hash: str
    excluded_flags: tuple[str, ...] = ("total-mismatch",)  # that alone before recipes said so


class Curves(_Frozen):
    """A run's curves, one entry per epoch; losses are cross entropies in nats."""

    epoch: tuple[int, ...]
    train_loss: tuple[float, ...]
    train_accuracy: tuple[float, ...]
    val_loss: tuple[float, ...]
    val_accuracy: tuple[float, ...]


class ScopeResult(_Frozen):
    """Every metric over one scope of one split.

    Attributes:
        photos_at_floor: photos whose true count was given (almost) no probability, so that the floor bounds their loss.
    """

    scope: ScopeName
    photos: int
    groups: int
    photos_at_floor: int
    metrics: dict[MetricName, Figure]


class UnreadablePhoto(_Frozen):
    """A photo that could not be counted, and why: it is in no figure."""

    photo_id: str
    problem: str


class SplitResult(_Frozen):
    """One split, over every scope that has photos and that the estimator can tell apart."""

    split: Split
    photos: int
    groups: int
    scopes: tuple[ScopeResult, ...]
    unreadable: tuple[UnreadablePhoto, ...] = ()

    def scope(self, name: ScopeName) -> ScopeResult | None:
        """The result over one scope; None where it was not measured."""
        return next((result for result in self.scopes if result.scope is name), None)


class CountResult(_Frozen):
    """The photos of one true count; `count` = K stands for K or more. Predictions are unrestricted."""

    count: int
    photos: int
    accuracy: Figure
    within_one: Figure
    mean_predicted: float


class ReliabilityBin(_Frozen):
    """Predictions of about equal confidence: how sure they were and how often they were right."""

    photos: int
    confidence: float
    accuracy: float


class Prediction(_Frozen):
    """What was believed of one photo. `predicted` is the most probable count (K: K or more)."""

    photo_id: str
    photo_key: str
    group: str
    count: int
    predicted: int
    probabilities: tuple[float, ...]

    @property
    def confidence(self) -> float:
        """The prediction's probability."""
        return self.probabilities[self.predicted]

    @property
    def is_right(self) -> bool:
        """Whether the prediction is the true count, or both are K or more."""
        return self.predicted == min(self.count, len(self.probabilities) - 1)


class PopulationName(StrEnum):
    """What is wrong, or not, with the record that a photo is checked against."""

    RIGHT = "record right"
    OFF_BY_ONE = "record off by one"


class PopulationResult(_Frozen):
    """How checks against one kind of record ended.

    Attributes:
        pairs: how many (photo, expectation) pairs there were.
        cleared: share decided *match*; where the record is wrong, the missed mismatches.
        flagged: share decided *short* or *over*; where the record is right, the false alarms.
        coverage: share decided without a person: cleared or flagged.
    """

    population: PopulationName
    pairs: int
    cleared: Figure
    flagged: Figure
    coverage: Figure


class VerificationResult(_Frozen):
    """Checks of photos against right and wrong records, under one policy."""

    clear_at: float
    flag_at: float
    populations: tuple[PopulationResult, ...]

    def population(self, name: PopulationName) -> PopulationResult:
        """The checks against one kind of record."""
        return next(result for result in self.populations if result.population is name)

    @property
    def false_alarm(self) -> Figure:
        """P(flagged | record right)."""
        return self.population(PopulationName.RIGHT).flagged

    @property
    def missed_mismatch(self) -> Figure:
        """P(cleared | record off by one)."""
        return self.population(PopulationName.OFF_BY_ONE).cleared


class Evaluation(_Frozen):
    """Everything measured of one estimator.

    Attributes:
        known_counts: (low, high) counts it was trained to tell apart; high None: no upper end.
        detail_split: the split that per_count, confusion, reliability, verification and predictions are about.
        confusion: photos by true count (rows) and predicted count (columns), both 0..K.
    """

    format_version: Literal[1] = FORMAT_VERSION
    estimator: str
    last_count: int
    known_counts: tuple[int, int | None]
    provenance: Provenance
    resamples: int
    seed: int
    splits: tuple[SplitResult, ...]
    detail_split: Split
    per_count: tuple[CountResult, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    verification: VerificationResult
    predictions: tuple[Prediction, ...]
    curves: Curves | None = None
    health: Health | None = None

    def split(self, split: Split) -> SplitResult | None:
        """The result over one split; None where it was not measured."""
        return next((result for result in self.splits if result.split is split), None)

    def figure(self, split: Split, scope: ScopeName, metric: MetricName) -> Figure | None:
        """One figure; None where it was not measured."""
        result = self.split(split)
        over = None if result is None else result.scope(scope)
        return None if over is None else over.metrics[metric]

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """The detail split's beliefs, float64[N,K+1]."""
        return np.array([row.probabilities for row in self.predictions], dtype=np.float64)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """The detail split's true counts, int64[N]."""
        return np.array([row.count for row in self.predictions], dtype=np.int64)

    @property
    def looks_at_photos(self) -> bool:
        """Whether it says different things of different photos; a constant baseline does not."""
        return len({row.probabilities for row in self.predictions}) > 1

    def most_confident_mistakes(self, limit: int) -> tuple[Prediction, ...]:
        """The wrong predictions, surest first."""
        wrong = [row for row in self.predictions if not row.is_right]
        return tuple(sorted(wrong, key=lambda row: (-row.confidence, row.photo_id))[:limit])


def write_evaluation(evaluation: Evaluation, path: Path) -> Path:
    """Write `evaluation` as JSON, whole or not at all; a folder gets `evaluation.json` in it."""
    target = path / FILE_NAME if path.is_dir() else path
    with whole_file(target) as part:
        part.write_text(_to_json(evaluation), encoding="utf-8")
    return target


def _to_json(evaluation: Evaluation) -> str:
    """Indented, but for the predictions: one line each."""
    head = evaluation.model_dump_json(indent=1, exclude={"predictions"}).removesuffix("\n}")
    rows = ",\n  ".join(row.model_dump_json() for row in evaluation.predictions)
    return f'{head},\n "predictions": [\n  {rows}\n ]\n}}\n'


def read_evaluation(path: Path) -> Evaluation:
    """Read what `write_evaluation` wrote; `path` may be the folder that holds `evaluation.json`.

    Raises:
        CheckpointError: if it is missing, of another version, or damaged.
    """
    source = path / FILE_NAME if path.is_dir() else path
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{source}: expected an evaluation, cannot read it ({error}). Make one: bintally evaluate"
        ) from error
    try:
        return Evaluation.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise CheckpointError(
            f"{source}: not an evaluation of format version {FORMAT_VERSION}: {place}: {fault['msg']}. "
            "Evaluate again: bintally evaluate"
        ) from error


def read_curves(path: Path) -> Curves:
    """Read a run's `curves.csv`: columns epoch, train_loss, train_accuracy, val_loss, val_accuracy.

    From the first epoch with a number that is not finite they are left out: there the run had diverged.

    Raises:
        CheckpointError: if it is missing, lacks a column, or holds what is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        curves = {name: tuple(float(row[name]) for row in rows) for name in Curves.model_fields if name != "epoch"}
        epochs = tuple(int(row["epoch"]) for row in rows)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: expected columns {', '.join(Curves.model_fields)} with a number in every row ({error!r})"
        ) from error
    finite = [all(math.isfinite(value) for value in row) for row in zip(*curves.values(), strict=True)]
    kept = finite.index(False) if False in finite else len(finite)  # what came after it has diverged
    return Curves(epoch=epochs[:kept], **{name: values[:kept] for name, values in curves.items()})
