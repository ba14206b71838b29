"""A template made real: as a change set that can be seen before, then carried out and waited for.

What fails is undone by CloudFormation, and said with the resource and the reason. Refuses to touch a stack that is in
the middle of something, or stuck.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bintally.cloud.project import Project
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.cloud.stack import stack_tags, template_text
from bintally.cloud.stack_settings import StackSettings
from bintally.cloud.waiting import poll
from bintally.errors import CloudError, NotInCloudError

EVERY_SECONDS = 3.0
_NOTHING = ("didn't contain changes", "No updates are to be performed", "no changes")
_GONE = ("DELETE_COMPLETE",)
_DELETED = (*_GONE, "DELETE_FAILED")  # anything else is how it was before the deletion began
_UNDONE = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED")  # of these only the name is left
_STUCK = ("DELETE_FAILED", "UPDATE_ROLLBACK_FAILED")
_DONE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")
_OUTPUTS = ("BucketName", "RoleArn", "RepositoryUri")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a change set will do.

    Attributes:
        action: Add, Modify, Remove or Import.
        replaces: whether the thing is made anew, and the old one removed.
    """

    action: str
    resource: str
    kind: str
    replaces: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A change set that waits to be carried out."""

    stack: str
    stack_id: str
    change_set: str
    creates: bool
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackEvent:
    """What happened to one resource."""

    resource: str
    kind: str
    status: str
    reason: str


OnEvent = Callable[[StackEvent], None]


def change_set_request(settings: StackSettings, *, when: datetime, creates: bool) -> Request:
    """Asks CloudFormation what the template would change; nothing is changed by it."""
    failing = {"OnStackFailure": "DELETE"} if creates else {}
    parameters = {
        "StackName": settings.stack_name,
        "ChangeSetName": f"bintally-{when:%Y%m%d-%H%M%S}",
        "ChangeSetType": "CREATE" if creates else "UPDATE",
        "TemplateBody": template_text(settings),
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
        "Tags": stack_tags(settings),
        "ImportExistingResources": True,  # the bucket, where an earlier stack left it
        **failing,
    }
    return Request(service="cloudformation", operation="CreateChangeSet", parameters=parameters)


def plan(cloud: Cloud, settings: StackSettings, *, when: datetime, on_event: OnEvent) -> Plan | None:
    """Have CloudFormation work out what is to be done; None: nothing.

    Raises:
        CloudError: if the stack is busy or stuck, or CloudFormation refuses the template.
    """
    found = find_stack(cloud, settings.stack_name)
    status = found["StackStatus"] if found else ""
    if found and status in _STUCK:
        raise CloudError(
            f"stack {settings.stack_name} is stuck ({status}): {found.get('StackStatusReason', 'no reason given')}. "
            "To do: CloudFormation console > the stack > Events: put it right, then delete the stack or continue"
        )
    if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
        raise CloudError(
            f"stack {settings.stack_name} is at work ({status}); wait until it is done, then run this again"
        )
    if status in _UNDONE:
        delete_stack(cloud, settings.stack_name, on_event=on_event)
        status = ""
    creates = status in ("", "REVIEW_IN_PROGRESS")
    request = change_set_request(settings, when=when, creates=creates)
    answer = cloud.send(request)
    name = str(request.parameters["ChangeSetName"])
    made = Plan(stack=settings.stack_name, stack_id=answer["StackId"], change_set=name, creates=creates, changes=())
    said = _worked_out(cloud, answer["Id"])
    if said["Status"] == "FAILED":
        discard(cloud, made)
        reason = said.get("StatusReason", "it gave no reason")
        if any(words in reason for words in _NOTHING):
            return None
        raise CloudError(f"stack {settings.stack_name}: CloudFormation refuses the template: {reason}")
    changes = [_change(each["ResourceChange"]) for each in said.get("Changes", ()) if "ResourceChange" in each]
    return Plan(stack=made.stack, stack_id=made.stack_id, change_set=name, creates=creates, changes=changes)


def discard(cloud: Cloud, made: Plan) -> None:
    """Drop a change set that is not wanted, and the empty stack that was begun for it."""
    if made.creates:
        cloud.ask("cloudformation", "DeleteStack", StackName=made.stack)
    else:
        cloud.ask("cloudformation", "DeleteChangeSet", StackName=made.stack, ChangeSetName=made.change_set)


def carry_out(cloud: Cloud, made: Plan, *, on_event: OnEvent) -> Mapping[str, str]:
    """Carry out a plan and wait; the stack's outputs.

    Raises:
        CloudError: naming every resource that failed, and why; CloudFormation has undone the rest by then.
    """
    seen = {event["EventId"] for event in _events(cloud, made.stack_id)}
    cloud.ask("cloudformation", "ExecuteChangeSet", StackName=made.stack, ChangeSetName=made.change_set)
    stack, failures = _wait(cloud, made.stack_id, seen, on_event)
    status = stack["StackStatus"]
    if status not in _DONE:
        why = (
            "; ".join(f"{event.resource} ({event.kind}): {event.reason}" for event in failures) or "no reason was given"
        )
        left = "nothing of it is left" if status in _GONE else f"the stack is {status}, as it was before"
        raise CloudError(
            f"stack {made.stack} failed, {left}: {why}. To do: put it right, then run the same command again"
        )
    return {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", ())}


def delete_stack(cloud: Cloud, name: str, *, on_event: OnEvent) -> None:
    """Delete a stack and wait; its bucket stays.

    Raises:
        CloudError: naming what could not be deleted, and why.
    """
    found = find_stack(cloud, name)
    if found is None:
        return
    stack_id = found["StackId"]
    seen = {event["EventId"] for event in _events(cloud, stack_id)}
    cloud.ask("cloudformation", "DeleteStack", StackName=name)
    try:
        stack, failures = _wait(cloud, stack_id, seen, on_event, ends=_DELETED)
    except NotInCloudError:
        return
    if stack["StackStatus"] not in _GONE:
        why = "; ".join(f"{event.resource}: {event.reason}" for event in failures) or stack.get("StackStatusReason", "")
        raise CloudError(f"stack {name} could not be deleted ({stack['StackStatus']}): {why}")


def find_stack(cloud: Cloud, name: str) -> Mapping[str, Any] | None:
    """A stack by its name; None: there is none."""
    try:
        found: Mapping[str, Any] = cloud.ask("cloudformation", "DescribeStacks", StackName=name)["Stacks"][0]
    except NotInCloudError:
        return None
    return None if found["StackStatus"] in _GONE else found


def project_of(settings: StackSettings, outputs: Mapping[str, str], *, region: str) -> Project:
    """The project's file, from what the stack says.

    Raises:
        CloudError: if the stack does not say it: it is another's.
    """
    if missing := [name for name in _OUTPUTS if name not in outputs]:
        raise CloudError(
            f"stack {settings.stack_name} lacks the outputs {', '.join(missing)}: was it made by Bintally?"
        )
    return Project(
        project=settings.project,
        region=region,
        bucket=outputs["BucketName"],
        role_arn=outputs["RoleArn"],
        train_image=f"{outputs['RepositoryUri']}:train",
        serve_image=f"{outputs['RepositoryUri']}:serve",
        subnets=settings.subnets,
        security_groups=settings.security_groups,
        kms_key=settings.kms_key,
        tags=dict(settings.tags),
    )


def _worked_out(cloud: Cloud, change_set: str) -> Mapping[str, Any]:
    """The change set, once CloudFormation is done with it, with all its changes."""
    request = Request(service="cloudformation", operation="DescribeChangeSet", parameters={"ChangeSetName": change_set})
    for said in poll(lambda: cloud.send(request), every_seconds=EVERY_SECONDS):
        if said["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
            return {**said, "Changes": list(cloud.pages(request, items="Changes"))}
    raise AssertionError


def _wait(
    cloud: Cloud, stack_id: str, seen: set[str], on_event: OnEvent, *, ends: Sequence[str] = ()
) -> tuple[Mapping[str, Any], Sequence[StackEvent]]:
    """Until the stack is at rest, or in one of `ends`: what it is then, and what failed on the way."""
    failures: list[StackEvent] = []

    def look() -> Mapping[str, Any]:
        stack: Mapping[str, Any] = cloud.ask("cloudformation", "DescribeStacks", StackName=stack_id)["Stacks"][0]
        for event in _new(_events(cloud, stack_id), seen):
            on_event(event)
            if event.status.endswith("_FAILED") and "cancelled" not in event.reason:
                failures.append(event)
        return stack

    for stack in poll(look, every_seconds=EVERY_SECONDS):
        status = stack["StackStatus"]
        if status in ends or (not ends and not status.endswith("_IN_PROGRESS")):
            return stack, failures
    raise AssertionError


def _events(cloud: Cloud, stack_id: str) -> list[Mapping[str, Any]]:
    """All events, the newest first."""
    request = Request(service="cloudformation", operation="DescribeStackEvents", parameters={"StackName": stack_id})
    return list(cloud.pages(request, items="StackEvents"))


def _new(events: Sequence[Mapping[str, Any]], seen: set[str]) -> Iterator[StackEvent]:
    for event in reversed(events):
        if event["EventId"] not in seen:
            seen.add(event["EventId"])
            yield StackEvent(
                resource=event.get("LogicalResourceId", ""),
                kind=event.get("ResourceType", ""),
                status=event.get("ResourceStatus", ""),
                reason=event.get("ResourceStatusReason", ""),
            )


def _change(said: Mapping[str, Any]) -> Change:
    return Change(
        action=said.get("Action", ""),
        resource=said.get("LogicalResourceId", ""),
        kind=said.get("ResourceType", ""),
        replaces=said.get("Replacement") == "True",
    )
