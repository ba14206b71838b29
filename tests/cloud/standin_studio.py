"""The stand-in's places to work in: Studio domains with applications, and notebook instances; none by themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.cloud.standin_parts import ACCOUNT, REGION, Refused, page

_HERE = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"


@dataclass
class StudioSide:
    """Attributes:
    domains: names of domains by their IDs.
    apps: applications as DescribeApp answers them.
    notebooks: names, statuses and types of notebook instances.
    """

    domains: dict[str, str] = field(default_factory=dict)
    apps: list[dict[str, Any]] = field(default_factory=list)
    notebooks: list[tuple[str, str, str]] = field(default_factory=list)
    # of the stand-in itself
    now: datetime = datetime.min

    def add_app(self, domain: str, kind: str, instance: str, *, status: str = "InService", **owner: str) -> str:
        """An application of a user (`UserProfileName`) or a space (`SpaceName`); its ARN."""
        owner = owner or {"UserProfileName": "ann"}
        name = "default" if kind != "KernelGateway" else f"kernel-{len(self.apps)}"
        arn = f"{_HERE}:app/{domain}/{'/'.join(owner.values())}/{kind.lower()}/{name}"
        known = {"DomainId": domain, "AppType": kind, "AppName": name, "AppArn": arn, **owner}
        spec = {"ResourceSpec": {"InstanceType": instance}} if instance else {}
        self.apps.append({**known, "Status": status, "CreationTime": self.now, **spec})
        return arn

    def _list_domains(self, said: Mapping[str, Any]) -> dict[str, Any]:
        rows = [
            {"DomainId": key, "DomainName": name, "DomainArn": f"{_HERE}:domain/{key}", "Status": "InService"}
            for key, name in self.domains.items()
        ]
        return page(rows, "Domains", said)

    def _list_apps(self, said: Mapping[str, Any]) -> dict[str, Any]:
        rows = [
            {key: value for key, value in each.items() if key != "AppArn"}
            for each in self.apps
            if each["DomainId"] == said["DomainIdEquals"]
        ]
        return page(rows, "Apps", said)

    def _describe_app(self, said: Mapping[str, Any]) -> dict[str, Any]:
        for each in self.apps:
            if said == {key: each[key] for key in said if key in each}:
                return each
        raise Refused("ResourceNotFound", "RecordNotFound")

    def _list_notebook_instances(self, said: Mapping[str, Any]) -> dict[str, Any]:
        rows = [
            {
                "NotebookInstanceName": name,
                "NotebookInstanceArn": f"{_HERE}:notebook-instance/{name}",
                "NotebookInstanceStatus": status,
                "InstanceType": kind,
                "CreationTime": self.now,
            }
            for name, status, kind in self.notebooks
            if said["NameContains"] in name
        ]
        return page(rows, "NotebookInstances", said)
