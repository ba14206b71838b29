"""One self-contained HTML page of a study: what was tried, what came of it, what it cost, and what pruning spared.

The page loads nothing; a few lines of script in it sort the table. Refuses to hide that only a part was learned from.
"""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import optuna
from markupsafe import Markup

from bintally.data.files import whole_file
from bintally.pages.layout import environment
from bintally.settings import RunSettings
from bintally.tuning import plots
from bintally.tuning.space import Choices, Range, Space, flatten, setting_type, shown
from bintally.tuning.storage import Place
from bintally.tuning.study import StudyFacts, passing_study
from bintally.tuning.trials import State, Trial, best_of

_NO_PHOTOS = "There are no photos on this page."
_LOSS = "lowest loss"
_ENOUGH = 8  # finished trials, before importances mean anything
_MINUTES, _HOURS = 120, 5400  # from so many seconds on


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """One cell: what it says, and what it is sorted by."""

    text: str
    key: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """What pruning spared.

    Attributes:
        pruned: trials that were ended early.
        planned: their optimiser steps, had they run to their last epoch.
        run: the steps they ran.
        of_all: planned steps of all trials that were begun.
    """

    pruned: int
    planned: int
    run: int
    of_all: int

    @property
    def share(self) -> float:
        """Of all planned steps."""
        return (self.planned - self.run) / self.of_all if self.of_all else 0.0


def savings_of(trials: list[Trial]) -> Savings:
    """What pruning spared in these trials; what early stopping spares counts as neither."""
    pruned = [trial for trial in trials if trial.state is State.PRUNED]
    over = [trial for trial in trials if trial.state in (State.PRUNED, State.DONE)]
    return Savings(
        pruned=len(pruned),
        planned=sum(trial.planned_steps for trial in pruned),
        run=sum(trial.steps for trial in pruned),
        of_all=sum(trial.planned_steps for trial in over),
    )


def importances_of(space: Space, trials: list[Trial]) -> dict[str, float]:
    """How much of the spread of the loss each setting explains: fANOVA (Hutter et al., 2014); empty where unknown."""
    study = passing_study()
    distributions = {key: distribution_of(key, values) for key, values in space.parameters.items()}
    for trial in trials:
        if trial.value is not None:
            study.add_trial(
                optuna.create_trial(value=trial.value, params=dict(trial.params), distributions=distributions)
            )
    if len(study.trials) < _ENOUGH or len({trial.value for trial in study.trials}) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
        )


def distribution_of(key: str, values: Range | Choices) -> optuna.distributions.BaseDistribution:
    """A setting's values as Optuna has them."""
    if isinstance(values, Choices):
        return optuna.distributions.CategoricalDistribution(values.choices)
    if setting_type(key) is int:
        return optuna.distributions.IntDistribution(int(values.low), int(values.high), log=values.log)
    return optuna.distributions.FloatDistribution(values.low, values.high, log=values.log)


def write_report(
    path: Path, place: Place, facts: StudyFacts, space: Space, base: RunSettings, trials: list[Trial]
) -> None:
    """Write the page, whole or not at all."""
    page = render_report(place, facts, space, base, trials)
    with whole_file(path) as part:
        part.write_text(page, encoding="utf-8")


def render_report(place: Place, facts: StudyFacts, space: Space, base: RunSettings, trials: list[Trial]) -> str:
    """The page as text."""
    best = best_of(trials)
    return (
        environment("bintally.tuning")
        .get_template("tune.html.j2")
        .render(
            name=place.name,
            facts=facts,
            space=space,
            trials=trials,
            best=best,
            counts={state.value: sum(trial.state is state for trial in trials) for state in State},
            duration=duration(sum(trial.seconds for trial in trials)),
            savings=savings_of(trials),
            plots=_plots(space, trials),
            slices=_slices(space, trials),
            enough=_ENOUGH,
            settings=_settings(space, base, best),
            heads=["trial", "state", _LOSS, *space.parameters, "epochs run", "steps", "seconds", "why it failed"],
            rows=[_row(trial, space, is_best=trial is best) for trial in trials],
            photo_note=_NO_PHOTOS,
        )
    )


def _plots(space: Space, trials: list[Trial]) -> dict[str, Markup]:
    """By name; empty where there is nothing to draw."""
    drawn = dict.fromkeys(("history", "curves", "parallel", "importances"), "")
    if any(trial.curve for trial in trials):
        drawn |= {"history": plots.history_svg(trials), "curves": plots.curves_svg(trials)}
    if best_of(trials):
        drawn["parallel"] = plots.parallel_svg(space, trials)
    if importances := importances_of(space, trials):
        drawn["importances"] = plots.importances_svg(importances)
    return {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704 - our own SVG


def _slices(space: Space, trials: list[Trial]) -> list[tuple[str, str, Markup]]:
    if not any(trial.curve for trial in trials):
        return []
    return [
        (key, str(values), Markup(plots.slice_svg(key, values, trials)))  # noqa: S704 - our own SVG
        for key, values in space.parameters.items()
    ]


def _settings(space: Space, base: RunSettings, best: Trial | None) -> list[tuple[str, str, str, str]]:
    """Of each setting that was tried: what, between which ends, the recipe's own value, the best one."""
    own = flatten(base)
    found = best.params if best else {}
    return [(key, str(values), shown(own[key]), shown(found.get(key, "-"))) for key, values in space.parameters.items()]


def _row(trial: Trial, space: Space, *, is_best: bool) -> tuple[str, list[_Cell]]:
    """A trial as a row of the table, with its kind."""
    reached = trial.lowest
    loss = f"{reached:.4f}" if math.isfinite(reached) else "-"
    cells = [
        _Cell(text=str(trial.number), key=trial.number),
        _Cell(text=trial.state.value, key=trial.state.value),
        _Cell(text=loss, key=reached if math.isfinite(reached) else 1e9),
    ]
    values = [trial.params.get(key, "") for key in space.parameters]
    cells += [_Cell(text=shown(value), key=value) for value in values]
    cells += [
        _Cell(text=f"{len(trial.curve)} of {trial.planned_epochs}", key=len(trial.curve)),
        _Cell(text=f"{trial.steps:,}" if trial.steps else "-", key=trial.steps),
        _Cell(text=f"{trial.seconds:,.0f}", key=trial.seconds),
        _Cell(text=trial.reason, key=trial.reason),
    ]
    return "best" if is_best else trial.state.value, cells


def duration(seconds: float) -> str:
    """For a person.

    >>> duration(42), duration(1500), duration(9000)
    ('42 s', '25 min', '2.5 h')
    """
    if seconds < _MINUTES:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < _HOURS else f"{seconds / 3600:.1f} h"
