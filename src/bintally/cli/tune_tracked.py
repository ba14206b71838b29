"""A study's trials into a tracking store, each as soon as it is over."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from bintally.cli.tracking import Tracking, how_to_look, warn
from bintally.errors import StoppedError

if TYPE_CHECKING:
    from bintally.tracking.folder import Status
    from bintally.tracking.group import Member
    from bintally.tuning.trials import Trial
    from bintally.tuning.tune import OnProgress
    from bintally.tuning.worker import Orders


@contextmanager
def recorded_study(tracking: Tracking | None, orders: "Orders", on_progress: "OnProgress") -> "Iterator[OnProgress]":
    """Around a study: gives what is told of its trials, and records them.

    Raises:
        BintallyError: if the store cannot be used.
    """
    if tracking is None:
        yield on_progress
        return
    store = tracking.store(orders.place.folder.resolve().parent, "bintally tune --track")
    from bintally.tracking.folder import FINAL, Status
    from bintally.tracking.group import GroupSender
    from bintally.tracking.record import Origin
    from bintally.tracking.store import LIVE_SECONDS
    from bintally.tuning.alive import is_here
    from bintally.tuning.results import BEST_NAME, REPORT_NAME, TRIALS_NAME
    from bintally.tuning.trials import best_of

    store.hurry(LIVE_SECONDS)
    facts = orders.facts
    origin = Origin(dataset_hash=facts.manifest_hash, split_hash=facts.split_hash, weights=facts.weights)
    group = GroupSender(store, orders.place.folder, orders.place.name, origin, say=warn)
    group.check()
    trials: list[Trial] = []

    def note(found: "list[Trial]") -> None:
        if not group.is_alive():
            group.begin()  # the study is joined, so its folder is its own
        trials[:] = found
        over = [trial for trial in found if trial.is_over and is_here(trial.worker)]  # others send theirs
        group.update(tuple(_member(trial, orders) for trial in over))
        on_progress(found)

    def end(status: "Status") -> None:
        if not group.is_alive():
            return  # it never began
        group.update(tuple(_member(trial, orders) for trial in trials if trial.is_over))
        best = best_of(trials)
        figures = {FINAL + "trials": float(len(trials))}
        figures |= {FINAL + "val_loss": best.value, FINAL + "best_trial": best.number} if best and best.value else {}
        files = tuple(orders.place.folder / name for name in (BEST_NAME, TRIALS_NAME, REPORT_NAME))
        if not group.end(status, figures, files):
            warn(f"Not all of {orders.place} is recorded in {store.uri}. The same command, run again, sends the rest")
            return
        typer.echo(f"Recorded: {store.uri}, experiment {store.experiment!r}. To look at it: {how_to_look(store)}")

    try:
        yield note
    except (StoppedError, KeyboardInterrupt):
        end(Status.KILLED)
        raise
    except BaseException:
        end(Status.FAILED)
        raise
    end(Status.FINISHED)


def _member(trial: "Trial", orders: "Orders") -> "Member":
    from bintally.tracking.folder import FINAL, Status
    from bintally.tracking.group import Member
    from bintally.tuning.objective import folder_of
    from bintally.tuning.trials import State

    statuses = {State.DONE: Status.FINISHED, State.PRUNED: Status.KILLED}
    figures = {FINAL + "val_loss": trial.lowest} if trial.curve else {}
    tags = {"bintally.trial": str(trial.number), "bintally.state": trial.state.value, "bintally.reason": trial.reason}
    return Member(
        number=trial.number,
        folder=folder_of(orders.trials, trial.number),
        status=statuses.get(trial.state, Status.FAILED),
        params={key: str(value) for key, value in trial.params.items()},
        tags={key: value for key, value in tags.items() if value},
        figures={**figures, FINAL + "seconds": trial.seconds, FINAL + "steps": float(trial.steps)},
    )
