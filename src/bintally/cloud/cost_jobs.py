"""What jobs cost by their billable seconds, and what spot saved: no bill is needed for that, and nothing is paid.

Spot's saving is what the job would have cost on demand for all seconds that it worked, less what its billable seconds
cost, as AWS reckons it ("Managed Spot Training in Amazon SageMaker AI"). Refuses to reckon with prices that it does
not know, and leaves out disks, requests and what lies in the bucket.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from bintally.cloud.job_kinds import JOB_KINDS, JobKind
from bintally.cloud.job_state import JobState, read_state
from bintally.cloud.names import Kind, kind_of
from bintally.cloud.prices import price_of
from bintally.cloud.project import Project
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.errors import NotInCloudError

_SECONDS = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCost:
    """What one job cost, in USD; None where no price is known, or its seconds are not.

    Attributes:
        seconds: how long it worked, on each of its instances.
        billable_seconds: how much of that is paid for.
        kept_warm_seconds: how long its instances were kept for the next job, which is paid as well.
        usd_hour: one instance's price, on demand.
        on_demand_usd: all the seconds that it worked, at that price.
        cost_usd: its billable seconds and those kept warm, at that price.
    """

    name: str
    kind: Kind
    status: str
    running: bool
    created: datetime | None
    instance_type: str
    instance_count: int
    spot: bool
    seconds: int | None
    billable_seconds: int | None
    kept_warm_seconds: int
    usd_hour: float | None
    on_demand_usd: float | None
    cost_usd: float | None

    @property
    def saved_usd(self) -> float | None:
        """What spot saved; None: no spot, or not known."""
        if not self.spot or self.on_demand_usd is None or self.cost_usd is None:
            return None
        return self.on_demand_usd - self.cost_usd

    @property
    def saved_share(self) -> float | None:
        """The same, of what it would have cost on demand; known without a price."""
        if not self.spot or not self.seconds or self.billable_seconds is None:
            return None
        return 1 - self.billable_seconds / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsTotal:
    """What several jobs cost, in USD, as far as prices are known.

    Attributes:
        unknown: names of those that could not be priced.
        spot_on_demand_usd: what the spot jobs among them would have cost on demand.
        saved_usd: what spot saved on them.
    """

    jobs: int
    cost_usd: float
    spot_jobs: int
    spot_on_demand_usd: float
    saved_usd: float
    unknown: tuple[str, ...]

    @property
    def saved_share(self) -> float | None:
        """Of what the spot jobs would have cost on demand; None: there was none."""
        return self.saved_usd / self.spot_on_demand_usd if self.spot_on_demand_usd else None


def job_cost(state: JobState, *, usd_hour: float | None = None, kept_warm_seconds: int = 0) -> JobCost:
    """What a job cost by what SageMaker says of it.

    Args:
        state: as it is now.
        usd_hour: one instance's price, where the table's is not to be taken.
        kept_warm_seconds: how long its instances were kept for the next job.
    """
    price = price_of(state.instance_type) if usd_hour is None else usd_hour

    def usd(seconds: int | None) -> float | None:
        if price is None or seconds is None:
            return None
        return price * state.instance_count * seconds / _SECONDS

    billable = state.billable_seconds
    return JobCost(
        name=state.name,
        kind=state.kind.kind,
        status=state.status,
        running=state.running,
        created=state.created,
        instance_type=state.instance_type,
        instance_count=state.instance_count,
        spot=state.spot,
        seconds=state.seconds,
        billable_seconds=billable,
        kept_warm_seconds=kept_warm_seconds,
        usd_hour=price,
        on_demand_usd=usd(state.seconds),
        cost_usd=usd(None if billable is None else billable + kept_warm_seconds),
    )


def total(costs: Iterable[JobCost]) -> JobsTotal:
    """What jobs cost and saved together; jobs that still run count with what is known of them."""
    every = list(costs)
    spot = [each for each in every if each.saved_usd is not None]
    return JobsTotal(
        jobs=len(every),
        cost_usd=sum(each.cost_usd or 0.0 for each in every),
        spot_jobs=len(spot),
        spot_on_demand_usd=sum(each.on_demand_usd or 0.0 for each in spot),
        saved_usd=sum(each.saved_usd or 0.0 for each in spot),
        unknown=tuple(each.name for each in every if each.cost_usd is None and not each.running),
    )


def ask_job(cloud: Cloud, kind: JobKind, name: str, *, usd_hour: float | None = None) -> JobCost:
    """What one job cost.

    Raises:
        CloudError: if there is no such job, or it may not be seen.
    """
    said = cloud.send(kind.describe(name))
    kept = said.get("WarmPoolStatus", {}).get("ResourceRetainedBillableTimeInSeconds", 0)
    return job_cost(read_state(kind, said), usd_hour=usd_hour, kept_warm_seconds=kept)


def ask_tuning(cloud: Cloud, name: str, *, usd_hour: float | None = None) -> list[JobCost]:
    """What each training job of a tuning job cost, the newest first.

    Raises:
        CloudError: if they may not be seen.
    """
    return list(_each(cloud, tuning_jobs(name), is_meant=lambda found: found.startswith(f"{name}-"), price=usd_hour))


def ask_jobs(cloud: Cloud, project: Project, *, on_job: Callable[[JobCost], None]) -> list[JobCost]:
    """What every job of the project cost, the newest first; `on_job` is told of each as it is known.

    Raises:
        CloudError: if they may not be seen.
    """
    found = []
    for request in jobs_requests(project):
        for each in _each(cloud, request, is_meant=lambda name: kind_of(name, project.project) is not None):
            on_job(each)
            found.append(each)
    return sorted(found, key=lambda each: (each.created is not None, each.created), reverse=True)


def jobs_requests(project: Project) -> list[Request]:
    """What lists the project's jobs that are paid for by the second; a tuning job's own are training jobs."""
    prefixes = {Kind.TRAIN: (Kind.TRAIN, Kind.TUNE), Kind.PREPARE: (Kind.PREPARE,), Kind.BATCH: (Kind.BATCH,)}
    return [JOB_KINDS[job].list(f"{project.project}-{kind}-") for job, kinds in prefixes.items() for kind in kinds]


def tuning_jobs(name: str) -> Request:
    """What lists the training jobs of one tuning job."""
    return JOB_KINDS[Kind.TRAIN].list(f"{name}-")


def _each(
    cloud: Cloud, request: Request, *, is_meant: Callable[[str], bool], price: float | None = None
) -> Iterator[JobCost]:
    """The jobs that a list names and that are meant; one that is gone meanwhile is left out."""
    job = next(kind for kind in JOB_KINDS.values() if request.operation == f"List{kind.word}s")
    for said in cloud.pages(request, items=job.listed):
        if not is_meant(said[job.name_key]):
            continue
        try:
            yield ask_job(cloud, job, said[job.name_key], usd_hour=price)
        except NotInCloudError:
            continue
