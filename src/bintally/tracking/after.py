"""A run's folder into a store when nothing trains there any more. Sends a finished run, or what there is of another."""

from pathlib import Path

from bintally.errors import CheckpointError
from bintally.tracking.folder import Contents, Status, curve_points, read_contents
from bintally.tracking.record import new_record, read_record, write_record
from bintally.tracking.send import find_run, send_contents
from bintally.tracking.store import Store


def send_folder(store: Store, run: Path, *, evaluation: Path | None = None) -> Contents:
    """Send all that the folder holds and the store has not; the folder keeps the run's key.

    Raises:
        CheckpointError: if there is no run, or nothing was trained yet.
        SettingsError: if the store cannot be meant.
        StoreError: if the store refuses or cannot be reached.
    """
    record = read_record(run)
    contents = read_contents(run, record, evaluation)
    if not contents.points and not contents.is_finished:
        raise CheckpointError(f"{run}: nothing was trained there yet")
    _ = store.experiment_id
    if record is None:
        first = min((point.time_ms for point in curve_points(run)), default=None)
        record = new_record(store.uri, store.experiment, contents.origin, begun_ms=first)
    record = record.model_copy(update={"uri": store.uri, "experiment": store.experiment})
    write_record(record, run)
    status = Status.FINISHED if contents.is_finished else Status.KILLED
    send_contents(store, find_run(store, record, contents.name), contents, status)
    return contents
