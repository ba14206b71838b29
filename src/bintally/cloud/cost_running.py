"""What costs money by the hour at this moment: endpoints, jobs that run, Studio's applications, the notebook instance.

Refuses to name a price for what is paid by request (serverless endpoints), or whose instance is not in the table. What
disks cost is in the bill only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bintally.cloud.cost_jobs import JobCost
from bintally.cloud.endpoint import describe_config_request, describe_request
from bintally.cloud.made import ENDPOINTS, NOT_PAID, Made
from bintally.cloud.names import Kind, kind_of
from bintally.cloud.prices import price_of
from bintally.cloud.project import Project
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.errors import CloudAccessError, NotInCloudError

_PLACE_PAID = ("InService", "Pending", "Updating")
_FREE_INSTANCE = "system"  # what Studio runs an application on that AWS takes nothing for
_CANVAS = "Canvas"  # its sessions are paid for, although it runs on a system instance
_APP_KEYS = ("DomainId", "UserProfileName", "SpaceName", "AppType", "AppName")
_SHARING = "KernelGateway"  # those of one user on one instance type share an instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One thing that runs.

    Attributes:
        what: in words: `endpoint`.
        on: its instances in words, or that it is serverless.
        usd_hour: all its instances, on demand; None: not known, or not paid by the hour.
        note: what the price leaves out; empty: nothing worth saying.
        by_request: it costs while it answers.
    """

    what: str
    name: str
    on: str
    usd_hour: float | None
    note: str = ""
    by_request: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """A Studio application or the notebook instance, while it runs.

    Attributes:
        made: as it stands among the project's things.
        running: what it costs.
    """

    made: Made
    running: Running


def find_running(
    cloud: Cloud, project: Project, jobs: Sequence[JobCost], *, complain: Callable[[str], None]
) -> list[Running]:
    """Everything of the project's that costs by the hour, the dearest first.

    Args:
        cloud: the account.
        project: whose things.
        jobs: the project's jobs, as they are now.
        complain: told what may not be looked for.

    Raises:
        CloudError: if endpoints cannot be asked after.
    """
    found = [_job(each) for each in jobs if each.running]
    for each in cloud.pages(endpoints_request(project), items="Endpoints"):
        if kind_of(each["EndpointName"], project.project) is Kind.ENDPOINT and each["EndpointStatus"] not in NOT_PAID:
            found += price_endpoint(cloud, each["EndpointName"])
    found += [each.running for each in find_workplaces(cloud, project, complain=complain)]
    return sorted(found, key=lambda each: -(each.usd_hour or 0.0))


def find_workplaces(cloud: Cloud, project: Project, *, complain: Callable[[str], None]) -> list[Workplace]:
    """Where people work at this moment: what runs in the project's Studio domain, and its notebook instance.

    Raises:
        CloudError: if AWS cannot be asked; what may not be looked for is told to `complain` instead.
    """
    found: list[Workplace] = []
    for what, look in (("Studio's applications", _apps), ("the notebook instance", _notebooks)):
        try:
            found += look(cloud, project)
        except CloudAccessError as error:
            complain(f"{what} could not be looked for: {error}")
    return found


def usd_hour(running: Sequence[Running]) -> float:
    """What all of it costs an hour, as far as prices are known."""
    return sum(each.usd_hour or 0.0 for each in running)


def endpoints_request(project: Project) -> Request:
    """What lists the project's endpoints."""
    return ENDPOINTS.list(project.project)


def notebooks_request(project: Project) -> Request:
    """What lists the project's notebook instance."""
    parameters = {"NameContains": f"{project.project}-notebook"}
    return Request(service="sagemaker", operation="ListNotebookInstances", parameters=parameters)


def workplaces_requests(project: Project) -> list[Request]:
    """What `find_workplaces` asks first; a look at each of the domain's applications follows."""
    return [Request(service="sagemaker", operation="ListDomains"), notebooks_request(project)]


def price_endpoint(cloud: Cloud, name: str) -> Iterator[Running]:
    """Its variants, with the instances that they have now; nothing, if it is gone meanwhile.

    Raises:
        CloudError: if it may not be asked after.
    """
    try:
        said = cloud.send(describe_request(name))
    except NotInCloudError:
        return
    if "EndpointConfigName" not in said:
        yield Running(what="endpoint", name=name, on="", usd_hour=None, note="AWS names no configuration")
        return
    try:
        config = cloud.send(describe_config_request(said["EndpointConfigName"]))
    except NotInCloudError:
        yield Running(what="endpoint", name=name, on="", usd_hour=None, note="its configuration was deleted")
        return
    now = {each["VariantName"]: each for each in said.get("ProductionVariants", ())}
    for variant in config["ProductionVariants"]:
        if "ServerlessConfig" in variant:
            memory = variant["ServerlessConfig"]["MemorySizeInMB"]
            note = "paid by request"
            if kept := variant["ServerlessConfig"].get("ProvisionedConcurrency", 0):
                note = f"paid by request, and by the hour for {kept} kept ready: the table has no price"
            yield Running(
                what="endpoint", name=name, on=f"serverless, {memory:,} MB", usd_hour=None, note=note, by_request=True
            )
            continue
        kind = variant.get("InstanceType", "")
        first = variant.get("InitialInstanceCount", 1)
        count = now.get(variant["VariantName"], {}).get("CurrentInstanceCount", first)
        yield _priced("endpoint", name, kind, count)


def _notebooks(cloud: Cloud, project: Project) -> Iterator[Workplace]:
    for said in cloud.pages(notebooks_request(project), items="NotebookInstances"):
        name, status = said["NotebookInstanceName"], said["NotebookInstanceStatus"]
        if name == f"{project.project}-notebook" and status in _PLACE_PAID:
            running = _priced("notebook instance", name, said.get("InstanceType", ""), 1, "and its disk")
            yield _workplace(running, said["NotebookInstanceArn"], said)


def _apps(cloud: Cloud, project: Project) -> Iterator[Workplace]:
    """Every application of the project's domain, whoever's it is."""
    domains = cloud.pages(Request(service="sagemaker", operation="ListDomains"), items="Domains")
    for domain in [each["DomainId"] for each in domains if each["DomainName"] == f"bintally-{project.project}"]:
        request = Request(service="sagemaker", operation="ListApps", parameters={"DomainIdEquals": domain})
        for listed in cloud.pages(request, items="Apps"):
            if listed["Status"] not in _PLACE_PAID:
                continue
            named = {key: listed[key] for key in _APP_KEYS if key in listed}
            try:
                said = cloud.ask("sagemaker", "DescribeApp", **named)
            except NotInCloudError:
                continue
            if said["Status"] in _PLACE_PAID:
                yield _workplace(_app(said), said["AppArn"], said)


def _app(said: Mapping[str, Any]) -> Running:
    kind = said["AppType"]
    what, name = f"Studio {kind}", f"{said.get('SpaceName') or said.get('UserProfileName', '')}/{said['AppName']}"
    instance = said.get("ResourceSpec", {}).get("InstanceType", "")
    if kind == _CANVAS:
        note = "paid by the hours of its sessions: the table has no price"
        return Running(what=what, name=name, on="", usd_hour=None, note=note)
    if instance == _FREE_INSTANCE:
        return Running(what=what, name=name, on="a system instance", usd_hour=0.0, note="free")
    if not instance:
        return Running(what=what, name=name, on="", usd_hour=None, note="AWS names no instance")
    note = "at most: kernels of one user share an instance" if kind == _SHARING else "and its disk"
    return _priced(what, name, instance, 1, note)


def _workplace(running: Running, arn: str, said: Mapping[str, Any]) -> Workplace:
    made = Made(
        kind=None,
        what=running.what,
        name=running.name,
        arn=arn,
        status=said.get("Status") or said.get("NotebookInstanceStatus", ""),
        created=said.get("CreationTime"),
        costs=running.usd_hour != 0,
    )
    return Workplace(made=made, running=running)


def _job(cost: JobCost) -> Running:
    price = None if cost.usd_hour is None else cost.usd_hour * cost.instance_count
    return Running(
        what=f"{cost.kind} job",
        name=cost.name,
        on=f"{cost.instance_count} x {cost.instance_type}",
        usd_hour=price,
        note="at most: it is spot" if cost.spot else "",
    )


def _priced(what: str, name: str, kind: str, count: int, note: str = "") -> Running:
    price = price_of(kind)
    unknown = "the table has no price" if price is None else note
    return Running(
        what=what, name=name, on=f"{count} x {kind}", usd_hour=None if price is None else price * count, note=unknown
    )
