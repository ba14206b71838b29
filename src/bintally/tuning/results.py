"""What a study found, as files: the best settings, every trial, and a page for a person.

Refuses to call anything best that did not run to its end.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import tomli_w

from bintally.data.files import whole_file
from bintally.settings import RunSettings
from bintally.tuning.report import write_report
from bintally.tuning.space import Space, with_values
from bintally.tuning.storage import Place
from bintally.tuning.study import StudyFacts
from bintally.tuning.trials import Trial, best_of

BEST_NAME, TRIALS_NAME, REPORT_NAME = "best.toml", "trials.csv", "report.html"
_COLUMNS = (
    "trial",
    "state",
    "value",
    "epochs_run",
    "epochs_planned",
    "steps_run",
    "steps_planned",
    "seconds",
    "reason",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What was found, and where it stands.

    Attributes:
        trials: all of them.
        best: the one with the lowest validation loss; None if none came to its end.
        settings: its settings' file.
        table: every trial.
        report: the page.
    """

    trials: list[Trial]
    best: Trial | None
    settings: Path
    table: Path
    report: Path


def write_results(place: Place, facts: StudyFacts, space: Space, base: RunSettings, trials: list[Trial]) -> Results:
    """Write them into the study's folder, each whole or not at all."""
    best = best_of(trials)
    results = Results(
        trials=trials,
        best=best,
        settings=place.folder / BEST_NAME,
        table=place.folder / TRIALS_NAME,
        report=place.folder / REPORT_NAME,
    )
    if best is not None:
        _write(results.settings, best_toml(place, facts, base, best, len(trials)))
    _write(results.table, trials_csv(trials, space))
    write_report(results.report, place, facts, space, base, trials)
    return results


def best_toml(place: Place, facts: StudyFacts, base: RunSettings, best: Trial, trials: int) -> str:
    """The best trial's settings, whole, as `bintally train --config` takes them."""
    photos = "all" if facts.limit_photos is None else f"about {facts.limit_photos:,}"
    says = (
        f"Recipe {base.recipe}, tuned: trial {best.number} of {trials} of study {place.name}, validation loss "
        f"{best.value:.4f} with {photos} training photos."
    )
    changes: Mapping[str, object] = {**best.params, "recipe": f"{base.recipe}-tuned", "description": says}
    settings = with_values(base, changes, name=f"trial {best.number}")  # type: ignore[arg-type]
    return tomli_w.dumps(settings.model_dump(exclude_none=True))


def trials_csv(trials: list[Trial], space: Space) -> str:
    """Every trial as a row: what it was, what came of it and what it cost."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS[:3], *space.parameters, *_COLUMNS[3:]])
    for trial in trials:
        value = "" if trial.value is None else f"{trial.value:.5f}"
        cost = (len(trial.curve), trial.planned_epochs, trial.steps, trial.planned_steps, trial.seconds, trial.reason)
        params = (_plain(trial.params.get(key, "")) for key in space.parameters)
        writer.writerow([trial.number, trial.state.value, value, *params, *cost])
    return text.getvalue()


def _plain(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _write(path: Path, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
