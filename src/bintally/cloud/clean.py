"""The removal of what a project made: endpoints, their scaling, configurations, models; jobs, data and stack if asked.

Safe to run twice: what is gone already is done. A step that fails does not keep the others from being done, and what is
left is named. Refuses to remove, stop or empty what does not bear the project's tag, and the configuration of an
endpoint that is still there: without it nobody sees what that costs.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bintally.cloud.endpoint import deregister_request, describe_request, target_request
from bintally.cloud.job_kinds import JOB_KINDS
from bintally.cloud.made import Made, is_tagged
from bintally.cloud.names import Kind, tagged
from bintally.cloud.places import PREFIXES
from bintally.cloud.project import Project
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.errors import CloudAccessError, CloudError, NotInCloudError

_REMOVED = {Kind.ENDPOINT: "Endpoint", Kind.CONFIG: "EndpointConfig", Kind.MODEL: "Model"}
_AT_ONCE = 1000  # objects in one request
_DONE_ALREADY = re.compile(r"in (status|state) \W?(Stopp|Complet|Fail|Delet)")
_BEGUN_ALREADY = "Stopping"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to remove.

    Attributes:
        text: what is done to what, in words.
        do: does it.
        needs: the text of another step, without which this one is not done; empty: none.
    """

    text: str
    do: Callable[[Cloud], None]
    needs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What lies below one prefix of the bucket."""

    prefix: str
    objects: int
    size_bytes: int


def steps_for(cloud: Cloud, project: Project, made: Sequence[Made], *, complain: Callable[[str], None]) -> list[Step]:
    """What removes everything in SageMaker that costs or stands around: endpoints first, for they cost most."""
    steps = []
    served: dict[str, str] = {}  # configurations, and the step that removes the endpoint they are for
    for kind, word in _REMOVED.items():
        for each in made:
            if each.kind is not kind or each.status == "Deleting" or not _is_ours(cloud, each, project, complain):
                continue
            text = f"delete {each.what} {each.name}"
            if kind is Kind.ENDPOINT:
                steps += _scaling_steps(cloud, each.name, complain)
                served |= dict.fromkeys(_configs_of(cloud, each.name), text)
            steps.append(_step(text, remove_request(each.name, word), needs=served.get(each.name, "")))
    for each in sorted(made, key=lambda each: each.kind is not Kind.TUNE):  # or a tuner would start new jobs
        if each.kind is None or each.kind not in JOB_KINDS or not each.costs or each.status == _BEGUN_ALREADY:
            continue
        if _is_ours(cloud, each, project, complain):
            steps.append(_step(f"stop {each.what} {each.name}", JOB_KINDS[each.kind].stop(each.name)))
    return steps


def _is_ours(cloud: Cloud, made: Made, project: Project, complain: Callable[[str], None]) -> bool:
    """Whether it bears the project's tag; what is gone meanwhile is nobody's."""
    try:
        ours = is_tagged(cloud, made, project)
    except NotInCloudError:
        return False
    if not ours:
        complain(f"{made.what} {made.name} lacks the project's tag and is left alone")
    return ours


def _configs_of(cloud: Cloud, endpoint: str) -> list[str]:
    """The configuration an endpoint serves by, and the one it is on its way to."""
    try:
        said = cloud.send(describe_request(endpoint))
    except NotInCloudError:
        return []
    named = (said, said.get("PendingDeploymentSummary", {}))
    return [each["EndpointConfigName"] for each in named if "EndpointConfigName" in each]


def _scaling_steps(cloud: Cloud, endpoint: str, complain: Callable[[str], None]) -> list[Step]:
    """What scales an endpoint would outlive it."""
    try:
        there = list(cloud.pages(target_request(endpoint), items="ScalableTargets"))
    except CloudAccessError as error:
        complain(f"whether endpoint {endpoint} scales could not be looked at: {error}")
        return []
    return [_step(f"stop scaling endpoint {endpoint}", deregister_request(endpoint)) for _ in there[:1]]


def remove_request(name: str, word: str) -> Request:
    """Removes an Endpoint, EndpointConfig or Model."""
    return Request(service="sagemaker", operation=f"Delete{word}", parameters={f"{word}Name": name})


def data_steps(project: Project, held: Sequence[Held]) -> list[Step]:
    """What empties the bucket's prefixes."""
    return [
        Step(
            f"delete {each.objects:,} objects, {each.size_bytes / 1e6:,.1f} MB, in {project.url}/{each.prefix}/",
            lambda cloud, prefix=each.prefix: _empty(cloud, project.bucket, f"{prefix}/"),  # type: ignore[misc]
        )
        for each in held
        if each.objects
    ]


def bucket_step(project: Project) -> Step:
    """What removes the bucket itself; it must be empty."""
    return _step(
        f"delete the bucket {project.bucket}",
        Request(service="s3", operation="DeleteBucket", parameters={"Bucket": project.bucket}),
    )


def own_bucket(cloud: Cloud, project: Project, *, complain: Callable[[str], None]) -> bool:
    """Whether the bucket that the project's file names is there, and bears the project's tag."""
    named = {"Bucket": project.bucket}
    try:
        cloud.ask("s3", "HeadBucket", **named)
    except NotInCloudError:
        return False
    try:
        found = cloud.ask("s3", "GetBucketTagging", **named)["TagSet"]
    except NotInCloudError:
        found = []
    if not (ours := tagged(found, project.project)):
        complain(f"the bucket {project.bucket} lacks the project's tag and is left alone, with all that lies in it")
    return ours


def held_in(cloud: Cloud, project: Project) -> list[Held]:
    """How much lies below each prefix of the bucket."""
    found = []
    for prefix in PREFIXES:
        sizes = [size for _, size in _objects(cloud, project.bucket, f"{prefix}/")]
        found.append(Held(prefix=prefix, objects=len(sizes), size_bytes=sum(sizes)))
    return found


def do_all(cloud: Cloud, steps: Sequence[Step], *, on_done: Callable[[Step, str], None]) -> list[tuple[Step, str]]:
    """Do every step; those that failed, with the reason.

    Args:
        cloud: the account.
        steps: in order.
        on_done: told of each step, and how it ended: `done`, `gone already`, or why it failed.
    """
    failed: list[tuple[Step, str]] = []
    for step in steps:
        if step.needs in {each.text for each, _ in failed}:
            failed.append((step, f"not before: {step.needs}"))
            on_done(*failed[-1])
            continue
        try:
            step.do(cloud)
        except NotInCloudError:
            on_done(step, "gone already")
        except CloudError as error:
            if _DONE_ALREADY.search(str(error)):
                on_done(step, "over already")
                continue
            failed.append((step, str(error)))
            on_done(step, str(error))
        else:
            on_done(step, "done")
    return failed


def _step(text: str, request: Request, *, needs: str = "") -> Step:
    return Step(text, lambda cloud: _send(cloud, request), needs)


def _send(cloud: Cloud, request: Request) -> None:
    cloud.send(request)


def _objects(cloud: Cloud, bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
    request = Request(service="s3", operation="ListObjectsV2", parameters={"Bucket": bucket, "Prefix": prefix})
    pages = cloud.pages(request, items="Contents", following="ContinuationToken", named="NextContinuationToken")
    return ((each["Key"], each["Size"]) for each in pages)


def _empty(cloud: Cloud, bucket: str, prefix: str) -> None:
    keys = [key for key, _ in _objects(cloud, bucket, prefix)]
    for first in range(0, len(keys), _AT_ONCE):
        wanted = {"Objects": [{"Key": key} for key in keys[first : first + _AT_ONCE]], "Quiet": True}
        answer = cloud.ask("s3", "DeleteObjects", Bucket=bucket, Delete=wanted)
        if errors := answer.get("Errors"):
            error = errors[0]
            raise CloudError(
                f"s3://{bucket}/{error.get('Key')}: not deleted ({error.get('Code')}: {error.get('Message')}), nor "
                f"{len(errors) - 1} others"
            )
