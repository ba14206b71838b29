"""`bintally tune`: a dataset and a recipe in, its best settings and a report out."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.extras import extra
from bintally.cli.tracking import Experiment, Tracking, TrackingUri
from bintally.cli.train import choose_settings
from bintally.cli.tune_progress import describe, study_bar
from bintally.cli.tune_tracked import recorded_study
from bintally.errors import SettingsError

if TYPE_CHECKING:
    from bintally.tuning.results import Results

_TRIALS = 20


def tune(
    data: Annotated[Path, typer.Argument(help="A dataset's folder, ingested and split.", file_okay=False)],
    recipe: Annotated[str | None, typer.Option(help="The recipe to tune; `bintally recipes` lists them.")] = None,
    config: Annotated[Path | None, typer.Option(help="A settings file of one's own instead of a recipe.")] = None,
    space: Annotated[
        str, typer.Option(help="What to try: default, resnet101-course, extended, or a file: mine.toml.")
    ] = "default",
    weights: Annotated[
        Path | None, typer.Option(help="The backbone's pretrained weights; without, timm's hub is asked.")
    ] = None,
    counts: Annotated[str | None, typer.Option(help="Only photos with these counts, a class each: 1-5.")] = None,
    study: Annotated[
        str | None,
        typer.Option(
            help="Where the study is: a folder, or postgresql://HOST/DATABASE#NAME; by default studies/RECIPE-SPACE.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help=f"So many trials in the whole study; {_TRIALS} without --hours.", show_default=False),
    ] = None,
    hours: Annotated[
        float | None, typer.Option(min=0, help="Begin no trial after so many hours from now.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train on this machine.")] = 1,
    limit_photos: Annotated[
        int | None, typer.Option(min=1, help="Learn from about so many of the training photos.", show_default=False)
    ] = None,
    prune: Annotated[bool, typer.Option(help="End trials early that are worse than most.")] = True,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change one setting: optimiser.name=sgd; may be repeated.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Start of all random numbers.")] = None,
    track: Annotated[bool, typer.Option("--track", help="Record the study and its trials in MLflow.")] = False,
    tracking_uri: TrackingUri = None,
    experiment: Experiment = "bintally",
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Search for a recipe's best settings.

    Each trial trains with other settings and is judged by its validation loss; test is never read. Whatever ended it,
    run the same command again to go on. Run it on other machines too, with the same study, to share the work.
    """
    with extra("train", "bintally tune"):
        from bintally.tuning.begin import Wish, begin
        from bintally.tuning.space_file import find_space
        from bintally.tuning.tune import tune as run
    what = find_space(space)
    if what.recipe is not None and config is None and recipe is None:
        recipe = what.recipe
    changes = change or []
    fixed = [each.partition("=")[0].strip() for each in changes] + ["seed"] * (seed is not None)
    base = choose_settings(recipe, config, counts=counts, seed=seed, changes=changes)
    budget = _TRIALS if trials is None and hours is None else trials
    orders = begin(
        Wish(
            data=data,
            space=what,
            base=base,
            fixed=tuple(fixed),
            weights=weights,
            study=study,
            limit_photos=limit_photos,
            budget=budget,
            until=None if hours is None else time.time() + hours * 3600,
            prune=prune,
            workers=workers,
        )
    )
    tracking = Tracking(uri=tracking_uri, experiment=experiment) if track or tracking_uri else None
    with (
        study_bar(budget, orders.until, shown=progress) as bar,
        recorded_study(tracking, orders, bar) as on_progress,
    ):
        results = run(orders, on_progress=on_progress)
    _summarise(results, data)


def _summarise(results: "Results", data: Path) -> None:
    from bintally.tuning.trials import State

    best = results.best
    if best is None:
        raise SettingsError("no trial came to its end")
    states = [trial.state for trial in results.trials]
    parts = ", ".join(f"{states.count(state)} {state.value}" for state in State if state in states)
    typer.echo(f"{len(states)} trials: {parts}")
    typer.echo(f"Best: trial {best.number}, validation loss {describe(best)}")
    typer.echo(f"Report: {results.report}. Every trial: {results.table}")
    typer.echo(f"Next: bintally train {data} --config {results.settings}")
