"""What verbs that record share: the options that name a store, and a run's recorder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.extras import extra

if TYPE_CHECKING:
    from bintally.data.manifest import Manifest
    from bintally.settings import RunSettings
    from bintally.tracking.recorder import Recorder
    from bintally.tracking.store import Store

TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        help="Where runs are recorded: sqlite:///FILE or a server's address; by default $MLFLOW_TRACKING_URI, "
        "else mlflow.db beside the runs.",
        show_default=False,
    ),
]
Experiment = Annotated[str, typer.Option("--experiment", help="What the runs belong to in the store.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """What a command says of recording."""

    uri: str | None
    experiment: str

    def store(self, beside: Path, needed_for: str) -> "Store":
        """The store that is meant, a default one in the folder `beside`.

        Raises:
            MissingExtraError: if MLflow is not installed.
            SettingsError: if it cannot be meant.
        """
        with extra("track", needed_for):
            from bintally.tracking.store import LIVE_SECONDS, find_store, load_mlflow

            store = find_store(self.uri, self.experiment, beside=beside)
            load_mlflow(LIVE_SECONDS)
        return store


@contextmanager
def recorded(
    tracking: Tracking | None,
    run: Path,
    manifest: "Manifest",
    settings: "RunSettings",
    *,
    weights: Path | None,
    licence: str,
    resume: bool,
) -> "Iterator[tuple[Recorder, ...]]":
    """Around a training: the callbacks that record it; none where that is not asked for.

    Raises:
        BintallyError: if the store cannot be used.
    """
    if tracking is None:
        yield ()
        return
    store = tracking.store(run.parent, "bintally train --track")
    from bintally.tracking.record import Origin
    from bintally.tracking.recorder import Recorder
    from bintally.tracking.store import LIVE_SECONDS

    store.hurry(LIVE_SECONDS)
    origin = Origin.of_run(manifest, settings, weights=weights, licence=licence)
    recorder = Recorder(store, run, origin, say=warn, resume=resume)
    recorder.check()
    with recorder.recording():
        yield (recorder,)
    if recorder.is_whole:
        typer.echo(f"Recorded: {store.uri}, experiment {store.experiment!r}. To look at it: {how_to_look(store)}")


def how_to_look(store: "Store") -> str:
    """The command, or the address, that shows a store's pages."""
    if store.database is None:
        return store.uri
    return f"mlflow ui --backend-store-uri {store.uri}"


def warn(text: str) -> None:
    """Say it in yellow, on standard error."""
    typer.secho(text, err=True, fg=typer.colors.YELLOW)
