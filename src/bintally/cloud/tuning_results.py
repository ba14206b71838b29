"""What a tuning job found, as `bintally tune` writes it: best settings, every trial, one page.

Everything is read back from the account: what was asked for from the tuning job, losses from the jobs' logs. Where a
log cannot be read, a trial has its lowest loss and no curve. Refuses to call anything best that did not run to its end.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bintally.cloud.artefacts import download, unpack
from bintally.cloud.contract import WEIGHTS_CHANNEL
from bintally.cloud.hyperparameters import parse_hyperparameters
from bintally.cloud.job_kinds import JOB_KINDS
from bintally.cloud.logs import LogTail
from bintally.cloud.metrics import read_line
from bintally.cloud.names import Kind
from bintally.cloud.session import Cloud
from bintally.cloud.tuning_job import OBJECTIVE
from bintally.cloud.tuning_state import TunedJob, TuningState
from bintally.errors import CloudAccessError, CloudError, SettingsError
from bintally.settings import RunSettings
from bintally.tuning.results import Results, write_results
from bintally.tuning.space import Choices, Range, Space, Value, flatten
from bintally.tuning.storage import Place
from bintally.tuning.study import StudyFacts, comparable
from bintally.tuning.trials import State, Trial

UNKNOWN = "not known here"
_FACTS_NAME = "checkpoint.json"  # as in models.checkpoint, which would import torch
_TUNED = {"_tuning_objective_metric": OBJECTIVE}  # says that the settings' hash means nothing


def write_tuning(
    cloud: Cloud, state: TuningState, said: Mapping[str, Any], folder: Path, *, complain: Callable[[str], None]
) -> Results:
    """Write `best.toml`, `trials.csv` and `report.html` into `folder`.

    Args:
        cloud: the account.
        state: the tuning job.
        said: what DescribeHyperParameterTuningJob answered.
        folder: made if it is not there.
        complain: told what could not be read.

    Raises:
        CloudError: if AWS cannot be asked.
        SettingsError: if it is no tuning job of Bintally's.
    """
    space, base = read_space(said), _base(said)
    trials = [trial_of(job, said, space, curve) for job, curve in _with_curves(cloud, state, complain)]
    manifest_hash, split_hash = _hashes(cloud, state, said)
    weights = [
        each["DataSource"]["S3DataSource"]["S3Uri"]
        for each in said["TrainingJobDefinition"].get("InputDataConfig", ())
        if each["ChannelName"] == WEIGHTS_CHANNEL
    ]
    facts = StudyFacts(
        recipe=base.recipe,
        settings=comparable(base, space.parameters),
        space=space.to_plain(),
        manifest_hash=manifest_hash,
        split_hash=split_hash,
        limit_photos=None,
        weights=weights[0] if weights else "",
    )
    folder.mkdir(parents=True, exist_ok=True)
    return write_results(Place(folder=folder, url="", name=state.name), facts, space, base, trials)


def read_space(said: Mapping[str, Any]) -> Space:
    """The space that a tuning job was asked to search.

    Raises:
        SettingsError: if it tunes what is no setting of Bintally's.
    """
    config = said["HyperParameterTuningJobConfig"]
    ranges = config.get("ParameterRanges", {})
    found: dict[str, Range | Choices] = {}
    for kind, number in (("Integer", int), ("Continuous", float)):
        for each in ranges.get(f"{kind}ParameterRanges", ()):
            low, high = number(each["MinValue"]), number(each["MaxValue"])
            found[each["Name"]] = Range(low=low, high=high, log=each.get("ScalingType") == "Logarithmic")
    for each in ranges.get("CategoricalParameterRanges", ()):
        choices = tuple(_values(said, {each["Name"]: text})[each["Name"]] for text in each["Values"])
        found[each["Name"]] = Choices(choices=choices)
    if unknown := sorted(set(found) - set(flatten(RunSettings()))):
        raise SettingsError(
            f"{said['HyperParameterTuningJobName']}: tunes {', '.join(unknown)}, which is no setting of Bintally's"
        )
    return Space(name=f"as asked for ({config['Strategy'].lower()})", description="", recipe=None, parameters=found)


def trial_of(job: TunedJob, said: Mapping[str, Any], space: Space, curve: tuple[float, ...]) -> Trial:
    """One of the tuner's jobs as a trial; steps are not known."""
    values = _values(said, job.values)
    params = {key: values[key] for key in space.parameters}
    losses = [loss for loss in (*curve, job.objective) if loss is not None and math.isfinite(loss)]
    state = {"Completed": State.DONE, "Failed": State.FAILED, "Stopped": State.PRUNED}.get(job.status, State.RUNNING)
    if state is State.DONE and not losses:
        state = State.FAILED
    reason = job.reason or ("it printed no validation loss" if state is State.FAILED else "")
    return Trial(
        number=job.number,
        state=state,
        params=params,
        curve=curve,
        value=min(losses) if state is State.DONE else None,
        planned_epochs=int(str(values["epochs"])),
        steps=0,
        steps_per_epoch=0,
        seconds=job.seconds,
        reason=reason,
        worker=job.name,
    )


def curve_of(cloud: Cloud, job: str) -> tuple[float, ...]:
    """The validation loss after each epoch, as its log has it; an epoch that was run twice counts as it ended.

    Raises:
        CloudError: if the log may not be read.
    """
    tail = LogTail(cloud, JOB_KINDS[Kind.TRAIN].log_group, job)
    losses: dict[float, float] = {}
    while lines := list(tail.new_lines()):
        for metrics in filter(None, (read_line(line.text) for line in lines)):
            if "val_loss" in metrics:
                losses[metrics["epoch"]] = metrics["val_loss"]
    return tuple(losses[epoch] for epoch in sorted(losses))


def _with_curves(
    cloud: Cloud, state: TuningState, complain: Callable[[str], None]
) -> list[tuple[TunedJob, tuple[float, ...]]]:
    found, readable = [], True
    for job in state.jobs:
        curve: tuple[float, ...] = ()
        if readable:
            try:
                curve = curve_of(cloud, job.name)
            except CloudAccessError as error:
                readable = False
                complain(f"the report has no curves, only each job's lowest loss: {error}")
        found.append((job, curve))
    if readable and (without := [job.name for job, curve in found if not curve and job.objective is not None]):
        complain(f"no curve, only the lowest loss, of {', '.join(without)}: no log was found")
    return found


def _base(said: Mapping[str, Any]) -> RunSettings:
    return parse_hyperparameters({**_static(said), **_TUNED}).settings


def _values(said: Mapping[str, Any], tuned: Mapping[str, str]) -> dict[str, Value]:
    """All settings of a job with these values, by dotted key."""
    settings = parse_hyperparameters({**_static(said), **_TUNED, **tuned}).settings
    return flatten(settings)  # type: ignore[return-value]  # those that are tuned are plain values


def _static(said: Mapping[str, Any]) -> Mapping[str, str]:
    static: Mapping[str, str] = said["TrainingJobDefinition"].get("StaticHyperParameters", {})
    return static


def _hashes(cloud: Cloud, state: TuningState, said: Mapping[str, Any]) -> tuple[str, str]:
    """Which photos and splits were learned from, as the best job's reports say."""
    if not state.best:
        return UNKNOWN, UNKNOWN
    output = said["TrainingJobDefinition"]["OutputDataConfig"]["S3OutputPath"].rstrip("/")
    with TemporaryDirectory() as folder:
        archive = Path(folder) / "output.tar.gz"
        try:
            download(cloud, f"{output}/{state.best}/output/{archive.name}", archive, on_bytes=lambda _: None)
            unpack(archive, Path(folder))
            made = json.loads((Path(folder) / _FACTS_NAME).read_text(encoding="utf-8"))["provenance"]
            return str(made["manifest_hash"]), str(made["split_hash"])
        except (CloudError, OSError, ValueError, KeyError):  # the report can do without
            return UNKNOWN, UNKNOWN
