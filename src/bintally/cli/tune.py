"""`bintally tune`: a dataset and a recipe in, its best settings and a report out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.extras import extra
from bintally.cli.train import choose_settings
from bintally.errors import SettingsError

if TYPE_CHECKING:
    from bintally.tuning.results import Results
    from bintally.tuning.study import Trial
    from bintally.tuning.tune import OnProgress

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
    with _bar(budget, orders.until, workers, shown=progress) as on_progress:
        results = run(orders, on_progress=on_progress)
    _summarise(results, data)


@contextmanager
def _bar(budget: int | None, until: float | None, workers: int, *, shown: bool) -> "Iterator[OnProgress]":
    """How far the study is, the best so far and the time left, on standard error."""
    from rich import progress
    from rich.console import Console

    from bintally.tuning.study import State, best_of

    console = Console(stderr=True)
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=20),
        progress.TextColumn("{task.fields[said]}"),
        progress.TimeElapsedColumn(),
        progress.TextColumn("{task.fields[left]}"),
    )
    begun, over_before = time.time(), -1
    with progress.Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task("trials", total=budget, said="starting", left="")

        def on_progress(trials: "list[Trial]") -> None:
            nonlocal over_before
            states = [trial.state for trial in trials]
            over = sum(state in (State.DONE, State.PRUNED, State.FAILED) for state in states)
            over_before = over if over_before < 0 else over_before
            best = best_of(trials)
            said = [f"{over} of {budget}" if budget else f"{over}"]
            said += [f"{states.count(each)} {each}" for each in (State.PRUNED, State.FAILED) if each in states]
            said += [f"best {_described(best)}"] if best is not None else []
            left = _left(over - over_before, (budget or 0) - over, time.time() - begun, until)
            bar.update(task, completed=over, said=" · ".join(said), left=left)

        yield on_progress


def _described(trial: "Trial") -> str:
    from bintally.tuning.space import shown

    params = ", ".join(f"{key.rpartition('.')[2]} {shown(value)}" for key, value in trial.params.items())
    return f"{trial.value:.4f} ({params})"


def _left(done: int, to_do: int, seconds: float, until: float | None) -> str:
    """About how long it will take, from how long it took so far.

    >>> _left(2, 4, 60.0, None), _left(0, 4, 60.0, None)
    ('about 2 min left', '')
    """
    known = [seconds / done * max(0, to_do)] if done and to_do > 0 else []
    known += [max(0.0, until - time.time())] if until is not None else []
    if not known:
        return ""
    left = min(known)
    return f"about {left / 3600:.1f} h left" if left >= 5400 else f"about {max(1, round(left / 60))} min left"  # noqa: PLR2004


def _summarise(results: "Results", data: Path) -> None:
    from bintally.tuning.study import State

    best = results.best
    if best is None:
        raise SettingsError("no trial came to its end")
    states = [trial.state for trial in results.trials]
    parts = ", ".join(f"{states.count(state)} {state.value}" for state in State if state in states)
    typer.echo(f"{len(states)} trials: {parts}")
    typer.echo(f"Best: trial {best.number}, validation loss {_described(best)}")
    typer.echo(f"Report: {results.report}. Every trial: {results.table}")
    typer.echo(f"Next: bintally train {data} --config {results.settings}")
