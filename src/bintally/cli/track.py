"""`bintally track`: runs into a tracking store, after the fact or once more."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.extras import extra
from bintally.cli.tracking import Experiment, Tracking, TrackingUri, how_to_look

if TYPE_CHECKING:
    from bintally.tracking.store import Store


def track(
    runs: Annotated[list[Path], typer.Argument(help="Runs' folders.", metavar="RUN...")],
    tracking_uri: TrackingUri = None,
    experiment: Experiment = "bintally",
    evaluation: Annotated[
        Path | None,
        typer.Option(help="Where the run was evaluated, if not in its own folder.", show_default=False),
    ] = None,
) -> None:
    """Record runs that are there already: all that their folders hold, evaluations too.

    What the store has is not sent again, so that a run can be sent as often as one likes.
    """
    store = Tracking(uri=tracking_uri, experiment=experiment).store(runs[0].resolve().parent, "bintally track")
    for run in runs:
        sent = send_run(store, run, evaluation=evaluation)
        typer.echo(f"{run}: {sent}")
    typer.echo(f"Recorded: {store.uri}, experiment {store.experiment!r}. To look at it: {how_to_look(store)}")


def send_run(store: "Store", run: Path, *, evaluation: Path | None = None) -> str:
    """Send one run's folder; says what was there to send.

    Raises:
        BintallyError: if there is no run, or the store cannot be used.
    """
    with extra("track", "bintally track"):
        from bintally.tracking.after import send_folder
    contents = send_folder(store, run, evaluation=evaluation)
    state = "finished" if contents.is_finished else "unfinished"
    return (
        f"{state}; {len(contents.params)} settings, {len(contents.points):,} points of curves, "
        f"{len(contents.figures)} figures, {len(contents.files)} files"
    )
