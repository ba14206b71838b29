"""`bintally train`: a dataset and a recipe in, a run with a calibrated checkpoint out."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.evaluate import progress_bars
from bintally.cli.extras import extra
from bintally.cli.tracking import Experiment, Tracking, TrackingUri, recorded
from bintally.errors import SettingsError
from bintally.evaluation.health import RuleName, parse_rules
from bintally.settings import parse_counts, parse_settings, read_settings

if TYPE_CHECKING:
    from lightning import Callback, Trainer

    from bintally.data.manifest import Manifest
    from bintally.models.checkpoint import Checkpoint
    from bintally.settings import RunSettings
    from bintally.training.profile.watch import ProfileWatch

_CHATTY = ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric")  # advice and adverts


def train(
    data: Annotated[Path, typer.Argument(help="A dataset's folder, ingested and split.")],
    recipe: Annotated[str | None, typer.Option(help="A recipe by name; `bintally recipes` lists them.")] = None,
    config: Annotated[Path | None, typer.Option(help="A settings file of one's own instead of a recipe.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="The backbone's pretrained weights; without, timm's hub is asked.")
    ] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            help="A finished run whose answers it learns beside the recorded counts; may be repeated: their mean.",
            metavar="RUN",
        ),
    ] = None,
    counts: Annotated[str | None, typer.Option(help="Only photos with these counts, a class each: 1-5.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; by default runs/RECIPE-TIME.", show_default=False)
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change one setting: optimiser.lr=0.01; may be repeated.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Start of all random numbers.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many passes over the photos.")] = None,
    max_steps: Annotated[int, typer.Option(min=-1, help="At most so many optimiser steps; -1: no such limit.")] = -1,
    resume: Annotated[bool, typer.Option(help="Go on with an unfinished run in the run's folder.")] = True,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Save what a run needs to go on after so many steps; by default as often as takes 1 % of the time.",
            show_default=False,
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            help="What the model file says of its use; by default what ABID's photos demand.", show_default=False
        ),
    ] = None,
    watch: Annotated[bool, typer.Option(help="Watch the run's health; alarms are said at once.")] = True,
    stop_on: Annotated[
        list[str] | None,
        typer.Option(help="End the run when this rule, or any, raises an alarm; may be repeated.", metavar="RULE|any"),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Find where the time goes, and what would be faster: profile.html.")
    ] = False,
    track: Annotated[bool, typer.Option("--track", help="Record the run in MLflow.")] = False,
    tracking_uri: TrackingUri = None,
    experiment: Experiment = "bintally",
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Train a model and calibrate it.

    Learns from the train split, stops by val, calibrates on calibration; never reads test.
    """
    if stop_on and not watch:
        raise SettingsError("--stop-on needs a run that is watched; leave out --no-watch")
    stops = parse_rules(stop_on or [])
    settings = choose_settings(recipe, config, counts=counts, seed=seed, epochs=epochs, changes=change or [])
    run = out or Path("runs") / f"{settings.recipe}-{datetime.now():%Y%m%d-%H%M%S}"
    with extra("train", "bintally train"):
        from bintally.data.manifest import read_manifest
    train_run(
        read_manifest(data),
        settings,
        run,
        weights=weights,
        teachers=teacher or (),
        licence=licence,
        progress=progress,
        max_steps=max_steps,
        resume=resume,
        checkpoint_every=checkpoint_every,
        watch=watch,
        stop_on=stops,
        profile=profile,
        tracking=Tracking(uri=tracking_uri, experiment=experiment) if track or tracking_uri else None,
    )
    typer.echo(f"Next: bintally evaluate {run} --data {data}")


def train_run(
    manifest: "Manifest",
    settings: "RunSettings",
    run: Path,
    *,
    weights: Path | None = None,
    teachers: Sequence[Path] = (),
    licence: str | None = None,
    progress: bool = True,
    max_steps: int = -1,
    resume: bool = True,
    checkpoint_every: int | None = None,
    watch: bool = True,
    stop_on: frozenset[RuleName] = frozenset(),
    profile: bool = False,
    tracking: Tracking | None = None,
) -> None:
    """Train into `run` and say how it went; see `bintally.training.fit.fit`."""
    with extra("train", "bintally train"):
        from bintally.models.checkpoint import load_checkpoint
        from bintally.training.fit import DEFAULT_LICENCE, fit
        from bintally.training.health.watch import HealthWatch
        from bintally.training.profile.watch import ProfileWatch
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    health = HealthWatch(run, manifest, settings, say=_warn, stop_on=stop_on) if watch else None
    profiler = ProfileWatch(run, manifest, settings) if profile else None
    watchers = [each for each in (health, profiler) if each is not None]
    use = licence or DEFAULT_LICENCE
    with (
        recorded(tracking, run, manifest, settings, weights=weights, licence=use, resume=resume) as recorders,
        _bar("asking the teachers", shown=progress) as teaching,
    ):
        checkpoint = fit(
            manifest,
            settings,
            run,
            weights=weights,
            teachers=[load_checkpoint(each) for each in teachers],
            licence=use,
            callbacks=(_saying_what_is_kept_out(manifest, settings), *watchers, *recorders),
            progress=progress,
            max_steps=max_steps,
            resume=resume,
            checkpoint_every=checkpoint_every,
            say=typer.echo,
            on_taught=teaching,
        )
    facts = checkpoint.facts
    typer.echo(
        f"{run}: best epoch {facts.best_epoch} of {facts.epochs_run}, validation loss {facts.metrics['val_loss']:.4f}, "
        f"accuracy {facts.metrics['val_accuracy']:.1%}, temperature {facts.temperature:.2f}, {facts.seconds:.0f} s"
    )
    if health:
        typer.echo(f"Health: {health.health.summary}")
    if profiler:
        _finish_profile(profiler, checkpoint, run)


def _finish_profile(profiler: "ProfileWatch", checkpoint: "Checkpoint", run: Path) -> None:
    from bintally.training.profile.result import PAGE_NAME

    typer.echo("Profile: trying what might be faster; the run itself is over and saved")
    if (found := profiler.finish(checkpoint)) is not None:
        typer.echo(f"Profile: {found.summary}. See {run / PAGE_NAME}")


@contextmanager
def _bar(description: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Progress bars, each gone when its work is done, so that others can follow: Lightning's, or the next of these."""
    with ExitStack() as stack:
        bars: list[Callable[[int, int], None]] = []

        def on_progress(done: int, total: int) -> None:
            if shown and not bars:
                bars.append(stack.enter_context(progress_bars())(description))
            if bars:
                bars[0](done, total)
            if done == total:
                stack.close()
                bars.clear()

        yield on_progress


def _warn(alarm: str) -> None:
    typer.secho(alarm, err=True, fg=typer.colors.YELLOW)


def _saying_what_is_kept_out(manifest: "Manifest", settings: "RunSettings") -> "Callback":
    """Says it, once, when everything is checked and the first step comes."""
    from lightning.pytorch.callbacks import LambdaCallback

    def say(trainer: "Trainer", _: object) -> None:
        if trainer.is_global_zero:
            _say_what_is_kept_out(manifest, settings)

    return LambdaCallback(on_fit_start=say)


def _say_what_is_kept_out(manifest: "Manifest", settings: "RunSettings") -> None:
    from bintally.data.audit import outdated
    from bintally.data.manifest import UNUSABLE

    found = manifest.kept_out(settings.data.excluded_flags)
    said = [f"{photos:,} {flag}" for flag, photos in found.items() if photos or flag not in UNUSABLE]
    typer.echo(f"Kept out of train, val and calibration: {', '.join(said) or 'nothing'}")
    if why := outdated(manifest):
        typer.echo(f"{why[0].upper()}{why[1:]}. First: bintally audit {manifest.root}")


def choose_settings(
    recipe: str | None,
    config: Path | None,
    *,
    counts: str | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    changes: list[str],
) -> "RunSettings":
    """The settings that the options mean together.

    Raises:
        SettingsError: if neither or both of recipe and config are given, or one holds what cannot be.
    """
    if (recipe is None) == (config is None):
        raise SettingsError("expected either --recipe NAME or --config FILE; `bintally recipes` lists the recipes")
    overrides = list(changes)
    if counts is not None:
        overrides.append(f"data.counts={list(parse_counts(counts))}")
    if seed is not None:
        overrides.append(f"seed={seed}")
    if epochs is not None:
        overrides.append(f"epochs={epochs}")
    if config is not None:
        return read_settings(config, overrides)
    from bintally.training.recipes import recipe_text

    name = str(recipe)
    return parse_settings(recipe_text(name), name=f"recipe {name}", overrides=overrides)
