"""What SageMaker says of a job, as one value: how far it is, what it cost, where its results lie.

Refuses nothing: a field that is not there yet is None or empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bintally.cloud.contract import AUDIT_PAGE
from bintally.cloud.job_kinds import RUNNING, JobKind
from bintally.cloud.refusals import failure_reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One step of a job's life, as SageMaker calls it: Starting, Downloading, Training, Interrupted, ...

    Attributes:
        message: what SageMaker says of it.
    """

    name: str
    since: datetime | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """A job at one moment.

    Attributes:
        status: InProgress, Completed, Failed, Stopping or Stopped.
        phases: of a training job, all so far; the last one is current.
        reason: why it failed, in one sentence; empty: it did not.
        seconds: how long it worked, on each instance.
        billable_seconds: how much of that is paid for.
        model_url, reports_url: where its archives lie, or will; empty: it makes none.
        page_url: of a processing job, where the audit's page lies, or will.
        metrics: the last value of each, as SageMaker read them.
    """

    kind: JobKind
    name: str
    status: str
    phases: tuple[Phase, ...]
    reason: str
    created: datetime | None
    seconds: int | None
    billable_seconds: int | None
    spot: bool
    instance_type: str
    instance_count: int
    model_url: str
    reports_url: str
    page_url: str
    metrics: Mapping[str, float]

    @property
    def running(self) -> bool:
        """Whether it still costs money."""
        return self.status in RUNNING

    @property
    def phase(self) -> str:
        """The last phase's name, or the status where a job has none."""
        return self.phases[-1].name if self.phases else self.status

    @property
    def interruptions(self) -> int:
        """How often a spot instance was taken away."""
        return sum(phase.name == "Interrupted" for phase in self.phases)

    @property
    def saved_share(self) -> float | None:
        """What spot saved, as AWS reckons it: 1 - billable / training seconds; None: no spot, or not known yet.

        See "Managed Spot Training in Amazon SageMaker AI" in its developer guide.
        """
        if not self.spot or not self.seconds or self.billable_seconds is None:
            return None
        return 1 - self.billable_seconds / self.seconds


def read_state(kind: JobKind, said: Mapping[str, Any]) -> JobState:
    """What `Describe...Job` answered."""
    cluster = said.get("ResourceConfig") or said.get("ProcessingResources", {}).get("ClusterConfig", {})
    cluster = cluster or said.get("TransformResources", {})
    failed = said[kind.status_key] == "Failed"
    name = said[kind.name_key]
    output = said.get("OutputDataConfig", {}).get("S3OutputPath", "").rstrip("/")
    pages = [each["S3Output"]["S3Uri"] for each in said.get("ProcessingOutputConfig", {}).get("Outputs", ())]
    started = said.get("ProcessingStartTime") or said.get("TransformStartTime")
    ended = said.get("ProcessingEndTime") or said.get("TransformEndTime")
    lasted = int((ended - started).total_seconds()) if started and ended else None
    seconds = said.get("TrainingTimeInSeconds", lasted)
    return JobState(
        kind=kind,
        name=name,
        status=said[kind.status_key],
        phases=tuple(
            Phase(name=each["Status"], since=each.get("StartTime"), message=each.get("StatusMessage", ""))
            for each in said.get("SecondaryStatusTransitions", ())
        ),
        reason=failure_reason(said.get("ExitMessage") or said.get("FailureReason") or "") if failed else "",
        created=said.get("CreationTime"),
        seconds=seconds,
        billable_seconds=said.get("BillableTimeInSeconds", seconds),
        spot=bool(said.get("EnableManagedSpotTraining", False)),
        instance_type=cluster.get("InstanceType", ""),
        instance_count=int(cluster.get("InstanceCount", 1)),
        model_url=said.get("ModelArtifacts", {}).get("S3ModelArtifacts", ""),
        reports_url=f"{output}/{name}/output/output.tar.gz" if output else "",
        page_url=f"{pages[0].rstrip('/')}/{AUDIT_PAGE}" if pages else "",
        metrics={each["MetricName"]: float(each["Value"]) for each in said.get("FinalMetricDataList", ())},
    )
