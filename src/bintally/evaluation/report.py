"""One self-contained HTML page: every estimator side by side, with plots, and the surest mistakes as pictures.

The page loads nothing: CSS, SVG and photos are in it. Refuses evaluations that are not about the manifest's photos and
splits, for figures of different splits do not compare.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from bintally.data.files import whole_file
from bintally.data.images import decode
from bintally.data.manifest import Manifest, Split
from bintally.errors import CheckpointError
from bintally.evaluation import plots
from bintally.evaluation.columns import (
    METRIC_TITLES,
    SCOPE_NOTES,
    SCOPE_TITLES,
    Cell,
    cell,
    cells,
    difference_cell,
    known_counts_note,
    ranked,
)
from bintally.evaluation.compare import COMPARED_METRICS, COMPARED_SCOPES, Comparison, check_comparable, compare
from bintally.evaluation.metrics import PROBABILITY_FLOOR, MetricName, ScopeName
from bintally.evaluation.results import Evaluation, PopulationName, Prediction
from bintally.pages.layout import PHOTO_NOTE, environment
from bintally.pages.pictures import thumbnail

_MISTAKES = 12
_SPLITS = (Split.TRAIN, Split.VAL, Split.TEST)
_SPLIT_SCOPES = (ScopeName.FIVE_RESTRICTED, ScopeName.ALL)
_DETAIL_METRICS = (
    (ScopeName.FIVE_RESTRICTED, MetricName.ACCURACY),
    (ScopeName.FIVE, MetricName.ACCURACY),
    (ScopeName.ZERO_TO_FIVE_RESTRICTED, MetricName.ACCURACY),
    (ScopeName.ZERO_TO_FIVE, MetricName.ACCURACY),
    (ScopeName.ALL, MetricName.ACCURACY),
    (ScopeName.FIVE_RESTRICTED, MetricName.WITHIN_ONE),
    (ScopeName.ALL, MetricName.WITHIN_ONE),
    (ScopeName.FIVE_RESTRICTED, MetricName.MAE),
    (ScopeName.ALL, MetricName.MAE),
    (ScopeName.FIVE_RESTRICTED, MetricName.RMSE),
    (ScopeName.ALL, MetricName.RMSE),
    (ScopeName.ALL, MetricName.RPS),
    (ScopeName.ALL, MetricName.ECE),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A table as text: rows are estimators. `groups` are the upper headings with how many columns each spans."""

    groups: tuple[tuple[str, int], ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mistake:
    """A wrong prediction with its picture."""

    photo_id: str
    picture: str
    truth: str
    predicted: str
    confidence: str
    p_true: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Detail:
    """What the page shows of one estimator alone."""

    name: str
    knows: str
    floor: str
    unreadable: tuple[tuple[str, str], ...]
    plots: tuple[tuple[str, str, Markup], ...]
    mistakes: tuple[_Mistake, ...]
    looks_at_photos: bool


def write_report(
    path: Path,
    evaluations: Sequence[Evaluation],
    manifest: Manifest,
    *,
    benchmark: str | None = None,
    photo_note: str = PHOTO_NOTE,
) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file.
        evaluations: of different estimators, on the same photos and splits.
        manifest: the one they were evaluated on; the pictures are read from below its root.
        benchmark: name of the evaluation that the others are compared with; none: the best one.
        photo_note: under which licence the photos are; stands on the page.

    Raises:
        CheckpointError: if the evaluations do not compare, are not about `manifest`, or `benchmark` is not among them.
        PhotoError, ManifestError: if a photo to be shown cannot be read.
    """
    page = render_report(evaluations, manifest, benchmark=benchmark, photo_note=photo_note)
    with whole_file(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def render_report(
    evaluations: Sequence[Evaluation], manifest: Manifest, *, benchmark: str | None, photo_note: str
) -> str:
    """The page as text; see `write_report`."""
    if not evaluations:
        raise CheckpointError("expected at least one evaluation to report on. Make one: bintally evaluate")
    check_comparable(evaluations)
    in_order = ranked(evaluations)
    first = in_order[0]
    for what, of_manifest in (("split_hash", manifest.split_hash), ("content_hash", manifest.content_hash)):
        if getattr(first.provenance, what) != of_manifest:
            raise CheckpointError(
                f"{first.estimator} was evaluated on {what} {getattr(first.provenance, what)}, but the manifest in "
                f"{manifest.root} has {of_manifest}. Evaluate again on this manifest"
            )
    against = _benchmark(in_order, benchmark)
    template = environment("bintally.evaluation").get_template("report.html.j2")
    return template.render(
        best=first,
        detail_split=first.detail_split,
        photos=len(first.predictions),
        groups=len({row.group for row in first.predictions}),
        tiles=_tiles(first),
        ranking=_ranking(in_order),
        split_tables=[
            (SCOPE_TITLES[scope], SCOPE_NOTES[scope], _split_table(in_order, scope)) for scope in _SPLIT_SCOPES
        ],
        scores=_scores_table(in_order),
        scope_notes=[(SCOPE_TITLES[scope], note) for scope, note in SCOPE_NOTES.items()],
        benchmark=against.estimator,
        paired=_paired_table([compare(e, against) for e in in_order if e is not against]),
        verification=_verification_table(in_order),
        healths=[(e.estimator, e.health) for e in in_order if e.health is not None],
        policy=first.verification,
        details=[_detail(evaluation, manifest) for evaluation in in_order],
        floor=f"{PROBABILITY_FLOOR:.7f}",
        photo_note=photo_note,
    )


def _benchmark(evaluations: Sequence[Evaluation], name: str | None) -> Evaluation:
    if name is None:
        return evaluations[0]
    for evaluation in evaluations:
        if evaluation.estimator == name:
            return evaluation
    raise CheckpointError(
        f"expected a benchmark among {[evaluation.estimator for evaluation in evaluations]}, got {name!r}"
    )


def _tiles(best: Evaluation) -> list[tuple[str, Cell]]:
    """The best estimator's figures that a reader looks for first."""
    wanted = (
        (ScopeName.FIVE_RESTRICTED, MetricName.ACCURACY),
        (ScopeName.ALL, MetricName.ACCURACY),
        (ScopeName.ALL, MetricName.WITHIN_ONE),
        (ScopeName.ALL, MetricName.MAE),
    )
    return [
        (f"{METRIC_TITLES[metric]}, {SCOPE_TITLES[scope].lower()}", cell(metric, figure))
        for scope, metric in wanted
        if (figure := best.figure(best.detail_split, scope, metric)) is not None
    ]


def _ranking(evaluations: Sequence[Evaluation]) -> tuple[str, Markup]:
    """Accuracy of all, drawn: over counts 1-5 where all have it."""
    for scope in _SPLIT_SCOPES:
        figures = [e.figure(e.detail_split, scope, MetricName.ACCURACY) for e in evaluations]
        known = [figure for figure in figures if figure is not None]
        if len(known) == len(evaluations):
            title = f"Accuracy, {SCOPE_TITLES[scope].lower()}"
            return title, Markup(plots.ranking_svg([e.estimator for e in evaluations], known, label=title))  # noqa: S704
    return "", Markup("")


def _rows(
    evaluations: Sequence[Evaluation], columns: Sequence[Sequence[Cell]]
) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    """Columns of cells turned into rows that begin with the estimator's name."""
    return tuple(
        (evaluation.estimator, tuple(column[row] for column in columns)) for row, evaluation in enumerate(evaluations)
    )


def _split_table(evaluations: Sequence[Evaluation], scope: ScopeName) -> _Table:
    """Loss and accuracy of train, val and test side by side."""
    metrics = (MetricName.CROSS_ENTROPY, MetricName.ACCURACY)
    return _Table(
        groups=tuple((METRIC_TITLES[metric], len(_SPLITS)) for metric in metrics),
        heads=tuple(split.value for _ in metrics for split in _SPLITS),
        rows=_rows(evaluations, [cells(evaluations, split, scope, metric) for metric in metrics for split in _SPLITS]),
    )


def _scores_table(evaluations: Sequence[Evaluation]) -> _Table:
    """Every other figure of the detail split."""
    split = evaluations[0].detail_split
    groups: list[tuple[str, int]] = []
    for _, metric in _DETAIL_METRICS:
        title = METRIC_TITLES[metric]
        if groups and groups[-1][0] == title:
            groups[-1] = (title, groups[-1][1] + 1)
        else:
            groups.append((title, 1))
    return _Table(
        groups=tuple(groups),
        heads=tuple(SCOPE_TITLES[scope] for scope, _ in _DETAIL_METRICS),
        rows=_rows(evaluations, [cells(evaluations, split, scope, metric) for scope, metric in _DETAIL_METRICS]),
    )


def _paired_table(comparisons: Sequence[Comparison]) -> _Table:
    """Estimator minus benchmark; a difference whose interval leaves out 0 in the estimator's favour is marked."""
    rows = []
    for comparison in comparisons:
        row = []
        for scope in COMPARED_SCOPES:
            for metric in COMPARED_METRICS:
                row.append(difference_cell(comparison.difference(scope, metric), metric))
        rows.append((comparison.estimator, tuple(row)))
    return _Table(
        groups=tuple((SCOPE_TITLES[scope], len(COMPARED_METRICS)) for scope in COMPARED_SCOPES),
        heads=tuple(METRIC_TITLES[metric] for _ in COMPARED_SCOPES for metric in COMPARED_METRICS),
        rows=tuple(rows),
    )


def _verification_table(evaluations: Sequence[Evaluation]) -> _Table:
    """Checks against right and wrong records."""
    share = MetricName.ACCURACY  # written as a percentage
    rows = []
    for evaluation in evaluations:
        right = evaluation.verification.population(PopulationName.RIGHT)
        wrong = evaluation.verification.population(PopulationName.OFF_BY_ONE)
        figures = (right.flagged, right.cleared, right.coverage, wrong.cleared, wrong.flagged, wrong.coverage)
        rows.append((evaluation.estimator, tuple(cell(share, figure) for figure in figures)))
    return _Table(
        groups=(("Record right", 3), ("Record off by one", 3)),
        heads=("false alarm", "cleared", "coverage", "missed mismatch", "flagged", "coverage"),
        rows=tuple(rows),
    )


def _detail(evaluation: Evaluation, manifest: Manifest) -> _Detail:
    overall = evaluation.split(evaluation.detail_split)
    at_floor = overall.scope(ScopeName.ALL) if overall else None
    looks = evaluation.looks_at_photos
    mistakes = evaluation.most_confident_mistakes(_MISTAKES) if looks else ()
    return _Detail(
        name=evaluation.estimator,
        knows=known_counts_note(evaluation),
        floor=f"{at_floor.photos_at_floor} of {at_floor.photos}" if at_floor else "",
        unreadable=tuple((p.photo_id, p.problem) for split in evaluation.splits for p in split.unreadable),
        plots=_plots(evaluation),
        mistakes=tuple(_mistake(row, evaluation.last_count, manifest) for row in mistakes),
        looks_at_photos=looks,
    )


def _plots(evaluation: Evaluation) -> tuple[tuple[str, str, Markup], ...]:
    """(title, explanation, SVG) of one estimator's plots."""
    name, drawn = evaluation.estimator, []
    if evaluation.curves is not None:
        drawn.append(
            (
                "Training",
                "By epoch, as training measured them.",
                plots.curves_svg(evaluation.curves, label=f"{name}: curves"),
            )
        )
    drawn += [
        (
            "Accuracy per count",
            "Any count may be predicted.",
            plots.per_count_svg(
                evaluation.per_count, last_count=evaluation.last_count, label=f"{name}: accuracy per count"
            ),
        ),
        (
            "Confusion",
            "Photos by true and predicted count; darker is a larger share of the row.",
            plots.confusion_svg(evaluation.confusion, label=f"{name}: confusion"),
        ),
        (
            "Reliability",
            "Predictions in up to 15 bins of equal size, least sure first; below the line: too sure of itself.",
            plots.reliability_svg(evaluation.reliability, label=f"{name}: reliability"),
        ),
    ]
    return tuple((title, note, Markup(svg)) for title, note, svg in drawn)  # noqa: S704 - our own SVG, labels escaped


def _mistake(row: Prediction, last_count: int, manifest: Manifest) -> _Mistake:
    return _Mistake(
        photo_id=row.photo_id,
        picture=thumbnail(decode(manifest.read_photo(row.photo_key), name=row.photo_key)),
        truth=str(row.count),
        predicted=f"{row.predicted}{'+' if row.predicted == last_count else ''}",
        confidence=f"{100 * row.confidence:.0f} %",
        p_true=f"{100 * row.probabilities[min(row.count, last_count)]:.1f} %",
    )
