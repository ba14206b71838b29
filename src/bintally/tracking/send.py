"""A run's folder into a store, as often as one likes: what is there already is not sent again.

The store is the truth about what it has; a run is found by its own key. Refuses to make two of one run.
"""

import getpass
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bintally.tracking.folder import Contents, Status
from bintally.tracking.journal import Point, is_same
from bintally.tracking.record import Origin, Record, now_ms
from bintally.tracking.store import Store, translated

KEY_TAG = "bintally.key"
_BATCH = 500  # of figures in one request; MLflow takes 1,000
_PARAMS = 100


def find_run(store: Store, record: Record, name: str, *, parent: str = "", tags: dict[str, str] | None = None) -> str:
    """The run's number in the store; it is made where it is missing.

    Args:
        store: where.
        record: whose key it has.
        name: what it is called, if it is made.
        parent: the number of the run that it stands below.
        tags: more of them, if it is made.

    Raises:
        SettingsError: if the experiment cannot be used, or no MLflow server answers.
        StoreError: if the store refuses or cannot be reached.
    """
    experiment, client = store.experiment_id, store.client
    with translated(store.uri):
        held = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{record.key}'", max_results=1)
        if held:
            return str(held[0].info.run_id)
        said = {KEY_TAG: record.key, "mlflow.source.name": "bintally", "mlflow.source.type": "LOCAL", **(tags or {})}
        said |= {"mlflow.parentRunId": parent} if parent else {}
        said |= {"mlflow.user": _user()}
        return str(client.create_run(experiment, record.begun_ms, tags=said, run_name=name).info.run_id)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown"


def send_contents(store: Store, run_id: str, contents: Contents, status: Status) -> None:
    """Everything of a run that the store has not.

    Raises:
        StoreError: if the store refuses or cannot be reached; what was sent before is there.
    """
    send_start(store, run_id, contents)
    send_points(store, run_id, missing(store, run_id, contents.points))
    send_figures(store, run_id, contents.figures)
    with translated(store.uri):
        client = store.client
        for path, folder in contents.files:
            client.log_artifact(run_id, str(path), folder or None)
        if client.get_run(run_id).info.status != status:
            client.set_terminated(run_id, status.value)


def send_figures(store: Store, run_id: str, figures: Mapping[str, float]) -> None:
    """Figures that a run has one of, where the store has none or another one.

    Raises:
        StoreError: if the store refuses or cannot be reached.
    """
    with translated(store.uri):
        latest = store.client.get_run(run_id).data.metrics
    fresh = {key: v for key, v in figures.items() if key not in latest or not is_same(latest[key], v)}
    send_points(store, run_id, [Point(now_ms(), 0, key, value) for key, value in fresh.items()])


def send_start(store: Store, run_id: str, contents: Contents) -> None:
    """What is known when a run begins: its settings, what it is made from, its dataset.

    Raises:
        StoreError: if the store refuses or cannot be reached.
    """
    from mlflow.entities import Param, RunTag  # noqa: PLC0415 - see store.py

    with translated(store.uri):
        held = store.client.get_run(run_id)
        tags = [RunTag(key, value) for key, value in contents.tags.items() if held.data.tags.get(key) != value]
        params = [Param(key, value) for key, value in contents.params.items() if key not in held.data.params]
        for start in range(0, max(len(params), 1), _PARAMS):
            part = params[start : start + _PARAMS]
            if part or tags:
                store.client.log_batch(run_id, params=part, tags=tags)
            tags = []
        if contents.origin.dataset_hash and not held.inputs.dataset_inputs:
            store.client.log_inputs(run_id, datasets=[_dataset(contents.origin)])


def _dataset(origin: Origin) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag  # noqa: PLC0415 - see store.py

    dataset = Dataset(
        name=(origin.source.rstrip("/").rpartition("/")[2] or "photos")[:500],
        digest=origin.dataset_hash,
        source_type="bintally",
        source=json.dumps({"uri": origin.source, "split_hash": origin.split_hash}),
    )
    return DatasetInput(dataset=dataset, tags=[InputTag("mlflow.data.context", "training")])


def send_points(store: Store, run_id: str, points: Iterable[Point]) -> None:
    """Figures, in few requests.

    Raises:
        StoreError: if the store refuses or cannot be reached.
    """
    from mlflow.entities import Metric  # noqa: PLC0415 - see store.py

    for part in _parts(list(points)):
        with translated(store.uri):
            metrics = [Metric(point.key, point.value, point.time_ms, point.step) for point in part]
            store.client.log_batch(run_id, metrics=metrics)


def _parts(points: list[Point]) -> Iterator[list[Point]]:
    for start in range(0, len(points), _BATCH):
        yield points[start : start + _BATCH]


def missing(store: Store, run_id: str, points: Iterable[Point]) -> list[Point]:
    """Those that the store has no figure for at their step.

    Raises:
        StoreError: if the store cannot be reached.
    """
    with translated(store.uri):
        known = store.client.get_run(run_id).data.metrics
        held = {key: {each.step for each in store.client.get_metric_history(run_id, key)} for key in known}
    return [point for point in points if point.step not in held.get(point.key, ())]
