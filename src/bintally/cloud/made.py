"""Everything that a project made in the account: by name from SageMaker's lists, by tag from everywhere else.

Refuses to take a thing for the project's that only looks so: what may be removed must bear its tag as well.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from bintally.cloud.job_kinds import AT_ONCE, JOB_KINDS, RUNNING, JobKind
from bintally.cloud.names import PROJECT_TAG, Kind, kind_of, tagged
from bintally.cloud.project import Project
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.errors import CloudAccessError

FINISHED = 50  # jobs of each kind that are looked at besides those that run, the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One thing.

    Attributes:
        what: in words: `training job`.
        status: as AWS calls it; empty where it has none.
        costs: whether it costs money by the hour as it is.
    """

    kind: Kind | None
    what: str
    name: str
    arn: str
    status: str = ""
    created: datetime | None = None
    costs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Thing:
    """How SageMaker lists what is no job."""

    kind: Kind
    what: str
    word: str
    listed: str

    def list(self, project: str) -> Request:
        parameters = {"NameContains": f"{project}-{self.kind}-", "MaxResults": AT_ONCE}
        return Request(service="sagemaker", operation=f"List{self.word}s", parameters=parameters)


ENDPOINTS = _Thing(kind=Kind.ENDPOINT, what="endpoint", word="Endpoint", listed="Endpoints")
NOT_PAID = ("Failed", "Deleting", "OutOfService")
"""Statuses of endpoints that cost nothing."""
THINGS = (
    ENDPOINTS,
    _Thing(kind=Kind.CONFIG, what="endpoint configuration", word="EndpointConfig", listed="EndpointConfigs"),
    _Thing(kind=Kind.MODEL, what="model", word="Model", listed="Models"),
)
_WORDS = {
    Kind.TRAIN: "training job",
    Kind.PREPARE: "processing job",
    Kind.BATCH: "transform job",
    Kind.TUNE: "tuning job",
}


def list_requests(project: Project) -> list[Request]:
    """Everything that `find_made` asks first; more pages follow where there are any."""
    return [
        *(thing.list(project.project) for thing in THINGS),
        *(request for job in JOB_KINDS.values() for request in _jobs(job, project.project)),
        tagged_request(project),
    ]


def tagged_request(project: Project) -> Request:
    """Asks for all that bears the project's tag, in any service."""
    wanted = [{"Key": PROJECT_TAG, "Values": [project.project]}]
    return Request(service="resourcegroupstaggingapi", operation="GetResources", parameters={"TagFilters": wanted})


def find_made(cloud: Cloud, project: Project, *, complain: Callable[[str], None]) -> list[Made]:
    """Everything that the project made; what may not be looked for is told to `complain`.

    Raises:
        CloudError: if SageMaker cannot be asked at all.
    """
    found: dict[str, Made] = {}
    for thing in THINGS:
        for each in cloud.pages(thing.list(project.project), items=thing.listed):
            made = _thing(thing, each)
            if kind_of(made.name, project.project) is thing.kind:
                found[made.arn] = made
    for job in JOB_KINDS.values():
        for request in _jobs(job, project.project):
            most = None if "StatusEquals" in request.parameters else FINISHED
            for each in islice(cloud.pages(request, items=job.listed), most):
                if kind_of(each[job.name_key], project.project) is job.kind:
                    found[each[f"{job.word}Arn"]] = _job(job, each)
    try:
        for other in _tagged(cloud, project):
            found.setdefault(other.arn, other)
    except CloudAccessError as error:
        complain(f"what lies outside SageMaker could not be looked for: {error}")
    return list(found.values())


def is_tagged(cloud: Cloud, made: Made, project: Project) -> bool:
    """Whether it bears the project's tag."""
    request = Request(service="sagemaker", operation="ListTags", parameters={"ResourceArn": made.arn})
    return tagged(list(cloud.pages(request, items="Tags")), project.project)


def _jobs(job: JobKind, project: str) -> Iterator[Request]:
    """All that run, then the newest; a tuner's own jobs are training jobs that bear the tuning job's name."""
    for kind in (Kind.TRAIN, Kind.TUNE) if job.kind is Kind.TRAIN else (job.kind,):
        yield job.list(f"{project}-{kind}-", StatusEquals="InProgress")
        yield job.list(f"{project}-{kind}-")


def _thing(thing: _Thing, said: Mapping[str, Any]) -> Made:
    status = said.get(f"{thing.word}Status", "")
    return Made(
        kind=thing.kind,
        what=thing.what,
        name=said[f"{thing.word}Name"],
        arn=said[f"{thing.word}Arn"],
        status=status,
        created=said.get("CreationTime"),
        costs=thing.kind is Kind.ENDPOINT and status not in NOT_PAID,
    )


def _job(job: JobKind, said: Mapping[str, Any]) -> Made:
    status = said[job.status_key]
    return Made(
        kind=job.kind,
        what=_WORDS[job.kind],
        name=said[job.name_key],
        arn=said[f"{job.word}Arn"],
        status=status,
        created=said.get("CreationTime"),
        costs=status in RUNNING,
    )


def _tagged(cloud: Cloud, project: Project) -> Iterator[Made]:
    """All else: bucket, repository, role, notebook, ...; SageMaker's own that are gone may linger in this list."""
    request = tagged_request(project)
    for each in cloud.pages(request, items="ResourceTagMappingList", following="PaginationToken"):
        arn = each["ResourceARN"]
        service, rest = arn.split(":")[2], arn.split(":", 5)[5]
        if kind_of(rest.rpartition("/")[2], project.project) is None:
            what, slash, name = rest.partition("/")
            yield Made(kind=None, what=f"{service} {what}" if slash else service, name=name or what, arn=arn)
