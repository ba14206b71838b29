"""How far a tuning job is: its jobs as they come and end, the best so far; asked for until it ends.

Refuses nothing: a field that is not there yet is None or empty.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bintally.cloud.job_kinds import AT_ONCE, JOB_KINDS, RUNNING
from bintally.cloud.names import Kind
from bintally.cloud.refusals import failure_reason
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.cloud.waiting import poll

EVERY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedJob:
    """One of the tuner's training jobs.

    Attributes:
        number: which it is, from 1; part of its name.
        values: what the tuner chose, as it carries them.
        objective: the lowest validation loss that it printed; None: none yet.
        reason: why it failed, in one sentence; else empty.
    """

    name: str
    number: int
    status: str
    values: Mapping[str, str]
    objective: float | None
    seconds: float
    reason: str

    @property
    def running(self) -> bool:
        """Whether it still costs money."""
        return self.status in RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningState:
    """A tuning job at one moment.

    Attributes:
        status: InProgress, Completed, Failed, Stopping or Stopped.
        wanted: how many jobs there may be.
        jobs: those that were begun, by number.
        best: the name of the best so far, as SageMaker says; empty: none yet.
        reason: why it failed, in one sentence; else empty.
        instance_type, instance_count: of each job.
    """

    name: str
    status: str
    wanted: int
    jobs: tuple[TunedJob, ...]
    best: str
    reason: str
    created: datetime | None
    instance_type: str
    instance_count: int

    @property
    def running(self) -> bool:
        """Whether jobs may still be begun."""
        return self.status in RUNNING

    @property
    def over(self) -> int:
        """How many of its jobs are over."""
        return sum(not job.running for job in self.jobs)

    @property
    def best_job(self) -> TunedJob | None:
        """The best so far."""
        return next((job for job in self.jobs if job.name == self.best), None)


def describe_request(name: str) -> Request:
    """Asks how a tuning job is, and what it was asked for."""
    return JOB_KINDS[Kind.TUNE].describe(name)


def jobs_request(name: str) -> Request:
    """Asks for its jobs, the first one first."""
    order = {"SortBy": "CreationTime", "SortOrder": "Ascending", "MaxResults": AT_ONCE}
    parameters = {"HyperParameterTuningJobName": name, **order}
    return Request(service="sagemaker", operation="ListTrainingJobsForHyperParameterTuningJob", parameters=parameters)


def read_tuning(said: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]]) -> TuningState:
    """What the two requests answered."""
    status = said["HyperParameterTuningJobStatus"]
    cluster = said.get("TrainingJobDefinition", {}).get("ResourceConfig", {})
    limits = said["HyperParameterTuningJobConfig"]["ResourceLimits"]
    read = [_job(each, place) for place, each in enumerate(jobs, start=1)]
    return TuningState(
        name=said["HyperParameterTuningJobName"],
        status=status,
        wanted=int(limits.get("MaxNumberOfTrainingJobs", 0)),
        jobs=tuple(sorted(read, key=lambda job: job.number)),
        best=said.get("BestTrainingJob", {}).get("TrainingJobName", ""),
        reason=failure_reason(said.get("FailureReason", "")) if status == "Failed" else "",
        created=said.get("CreationTime"),
        instance_type=cluster.get("InstanceType", ""),
        instance_count=int(cluster.get("InstanceCount", 1)),
    )


def ask_tuning(cloud: Cloud, name: str) -> tuple[TuningState, Mapping[str, Any]]:
    """How it is, and what it was asked for.

    Raises:
        CloudError: if it is not there.
    """
    said = cloud.send(describe_request(name))
    return read_tuning(said, list(cloud.pages(jobs_request(name), items="TrainingJobSummaries"))), said


def follow_tuning(
    cloud: Cloud, name: str, *, complain: Callable[[str], None], every_seconds: float = EVERY_SECONDS
) -> Iterator[TunedJob | TuningState]:
    """Follow it to its end: each job that is over, once, and the state after every look.

    Raises:
        CloudError: if it is not there, or AWS cannot be reached for long.
    """
    told: set[str] = set()
    for state, _ in poll(lambda: ask_tuning(cloud, name), every_seconds=every_seconds, complain=complain):
        for job in state.jobs:
            if not job.running and job.name not in told:
                told.add(job.name)
                yield job
        yield state
        if not state.running:
            return


def _job(said: Mapping[str, Any], place: int) -> TunedJob:
    name = said["TrainingJobName"]
    found = re.search(r"-tune-[0-9a-f]{8}-(\d+)-", name)
    begun, ended = said.get("TrainingStartTime"), said.get("TrainingEndTime")
    objective = said.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value")
    failed = said["TrainingJobStatus"] == "Failed"
    return TunedJob(
        name=name,
        number=int(found[1]) if found else place,
        status=said["TrainingJobStatus"],
        values=dict(said.get("TunedHyperParameters", {})),
        objective=None if objective is None else float(objective),
        seconds=(ended - begun).total_seconds() if begun and ended else 0.0,
        reason=failure_reason(said.get("FailureReason", "")) if failed else "",
    )
