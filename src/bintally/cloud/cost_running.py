"""What costs money by the hour at this moment: endpoints, jobs that run, the notebook instance.

Refuses to name a price for what is paid by request (serverless endpoints), or whose instance is not in the table.
Studio's applications are not looked for: their cost is in the bill only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bintally.cloud.cost_jobs import JobCost
from bintally.cloud.endpoint import describe_config_request, describe_request
from bintally.cloud.names import Kind, kind_of
from bintally.cloud.prices import price_of
from bintally.cloud.project import Project
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.errors import CloudAccessError, NotInCloudError

_NOT_PAID = ("Failed", "Deleting", "OutOfService")
_NOTEBOOK_PAID = ("InService", "Pending", "Updating")


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
        if kind_of(each["EndpointName"], project.project) is Kind.ENDPOINT and each["EndpointStatus"] not in _NOT_PAID:
            found += price_endpoint(cloud, each["EndpointName"])
    try:
        found += [
            _notebook(each)
            for each in cloud.pages(notebooks_request(project), items="NotebookInstances")
            if each["NotebookInstanceName"] == f"{project.project}-notebook"
            and each["NotebookInstanceStatus"] in _NOTEBOOK_PAID
        ]
    except CloudAccessError as error:
        complain(f"the notebook instance could not be looked for: {error}")
    return sorted(found, key=lambda each: -(each.usd_hour or 0.0))


def usd_hour(running: Sequence[Running]) -> float:
    """What all of it costs an hour, as far as prices are known."""
    return sum(each.usd_hour or 0.0 for each in running)


def endpoints_request(project: Project) -> Request:
    """What lists the project's endpoints."""
    parameters = {"NameContains": f"{project.project}-{Kind.ENDPOINT}-"}
    return Request(service="sagemaker", operation="ListEndpoints", parameters=parameters)


def notebooks_request(project: Project) -> Request:
    """What lists the project's notebook instance."""
    parameters = {"NameContains": f"{project.project}-notebook"}
    return Request(service="sagemaker", operation="ListNotebookInstances", parameters=parameters)


def price_endpoint(cloud: Cloud, name: str) -> Iterator[Running]:
    """Its variants, with the instances that they have now; nothing, if it is gone meanwhile.

    Raises:
        CloudError: if it may not be asked after.
    """
    try:
        said = cloud.send(describe_request(name))
        if "EndpointConfigName" not in said:
            yield Running(what="endpoint", name=name, on="", usd_hour=None, note="AWS names no configuration")
            return
        config = cloud.send(describe_config_request(said["EndpointConfigName"]))
    except NotInCloudError:
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


def _notebook(said: Mapping[str, Any]) -> Running:
    return _priced("notebook instance", said["NotebookInstanceName"], said.get("InstanceType", ""), 1, "and its disk")


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
