"""How SageMaker calls the operations and fields of each kind of job, in one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bintally.cloud.names import Kind
from bintally.cloud.requests import Request
from bintally.errors import SettingsError

RUNNING = ("InProgress", "Stopping", "Deleting")
"""States in which a job costs money."""
AT_ONCE = 100  # in a page of SageMaker's lists: the most there may be; unasked they have 10


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKind:
    """One kind of job.

    Attributes:
        word: as SageMaker's names have it: `TrainingJob`.
        listed: the key of a list's answer.
        log_group: of CloudWatch; empty: it has no log of its own.
    """

    kind: Kind
    word: str
    listed: str
    log_group: str = ""

    @property
    def name_key(self) -> str:
        """The field that holds its name."""
        return f"{self.word}Name"

    @property
    def status_key(self) -> str:
        """The field that says how far it is."""
        return f"{self.word}Status"

    def describe(self, name: str) -> Request:
        """Asks how it is."""
        return Request(service="sagemaker", operation=f"Describe{self.word}", parameters={self.name_key: name})

    def stop(self, name: str) -> Request:
        """Stops it."""
        return Request(service="sagemaker", operation=f"Stop{self.word}", parameters={self.name_key: name})

    def list(self, beginning: str, **more: Any) -> Request:
        """Asks for those whose names hold `beginning`, the newest first."""
        newest = {"SortBy": "CreationTime", "SortOrder": "Descending", "MaxResults": AT_ONCE}
        parameters = {"NameContains": beginning, **newest, **more}
        return Request(service="sagemaker", operation=f"List{self.word}s", parameters=parameters)


JOB_KINDS: Mapping[Kind, JobKind] = {
    Kind.TRAIN: JobKind(
        kind=Kind.TRAIN,
        word="TrainingJob",
        listed="TrainingJobSummaries",
        log_group="/aws/sagemaker/TrainingJobs",
    ),
    Kind.PREPARE: JobKind(
        kind=Kind.PREPARE,
        word="ProcessingJob",
        listed="ProcessingJobSummaries",
        log_group="/aws/sagemaker/ProcessingJobs",
    ),
    Kind.BATCH: JobKind(
        kind=Kind.BATCH,
        word="TransformJob",
        listed="TransformJobSummaries",
        log_group="/aws/sagemaker/TransformJobs",
    ),
    Kind.TUNE: JobKind(kind=Kind.TUNE, word="HyperParameterTuningJob", listed="HyperParameterTuningJobSummaries"),
}


def job_kind(kind: Kind | None, name: str) -> JobKind:
    """The kind of a job.

    Raises:
        SettingsError: if `name` is no job's.
    """
    if kind is None or kind not in JOB_KINDS:
        raise SettingsError(
            f"{name}: not the name of one of this project's jobs, such as PROJECT-train-20260203-040506-0a1b. "
            "`bintally sagemaker status` lists them"
        )
    return JOB_KINDS[kind]
