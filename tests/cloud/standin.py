"""A stand-in for the AWS services that the verbs use, for tests: it answers boto3's clients inside this process.

Every request is checked against botocore's model of the operation, with lengths, patterns and choices, and so is every
answer. It keeps state: jobs live through phases (one for each time they are asked after), stacks come and fail, objects
lie in buckets. It can be told to refuse, to run out of quota, to be slow, to take spot instances away. Nothing is sent:
whatever it has no answer for fails the test.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import botocore.handlers
import pytest
from botocore.loaders import create_loader
from botocore.response import StreamingBody
from botocore.validate import ParamValidator
from tests.cloud.standin_parts import ACCOUNT, ENDED, PAGE, REGION, Job, Refused, no_quota, page
from tests.cloud.standin_serving import ARNS, ServingSide
from tests.cloud.standin_studio import StudioSide
from tests.cloud.standin_tuning import COUNTED, TuningSide

from bintally.cloud.names import Kind, tags
from bintally.cloud.requests import Request, check

COMPLETED = ("Starting", "Downloading", "Training", "Uploading", "Completed")
INTERRUPTED = ("Starting", "Training", "Interrupted", "Starting", "Training", "Uploading", "Completed")
_NVME = ("ml.g4dn.", "ml.g5.")
LOADER = create_loader()  # SageMaker's model is large: read once, not for every client


@dataclass
class StandIn(ServingSide, StudioSide, TuningSide):
    """The account.

    Attributes:
        requests: every request that came.
        life: the phases of jobs that are created from now on.
        failure: the FailureReason of those that end as Failed.
        prints: what a container prints in each phase.
        quotas: instance types and how many there may be.
        seconds: training and billable seconds of a job that is done.
        objects: bucket and key to bytes.
        buckets: those that there are, with their tags.
        fails: logical resources of a stack that fail, with the reason.
    """

    requests: list[Request] = field(default_factory=list)
    life: Sequence[str] = COMPLETED
    failure: str = ""
    prints: dict[str, list[str]] = field(default_factory=dict)
    quotas: dict[str, int] = field(default_factory=dict)
    seconds: tuple[int, int] = (3600, 3600)
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    buckets: dict[str, Sequence[Mapping[str, str]]] = field(
        default_factory=lambda: {f"bintally-bins-{ACCOUNT}-{REGION}": tags("bins", Kind.STACK)}
    )
    images: set[tuple[str, str]] = field(default_factory=set)
    roles: set[str] = field(default_factory=set)
    fails: dict[str, str] = field(default_factory=dict)
    jobs: dict[tuple[str, str], Job] = field(default_factory=dict)
    things: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    others: list[tuple[str, str]] = field(default_factory=list)  # ARNs of other services, with the project's tag
    stacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    now: datetime = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    answers: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = field(default_factory=dict)  # of a test's own
    _refusals: list[tuple[str, Refused, int]] = field(default_factory=list)
    _done_first: set[str] = field(default_factory=set)
    _hidden: dict[str, Callable[[], None]] = field(default_factory=dict)

    # --- what tests say ----------------------------------------------------------------------------------------------

    def refuse(
        self,
        operation: str,
        code: str,
        message: str = "",
        *,
        times: int = 1,
        status: int = 400,
        after: bool = False,
        retries: int = 0,
    ) -> None:
        """Refuse the next `times` requests of an operation; `after` it was done, and after boto3 asked again."""
        self._refusals.append((operation, Refused(code, message, status, retries=retries), times))
        if after:
            self._done_first.add(operation)

    def on(self, operation: str, act: Callable[[], None]) -> None:
        """Do something, once, when an operation is asked for: press Ctrl-C, say."""
        self._hidden[operation] = act

    def asked(self, operation: str) -> list[Mapping[str, Any]]:
        """The parameters of every request of an operation."""
        return [request.parameters for request in self.requests if request.operation == operation]

    @property
    def writes(self) -> list[str]:
        """Operations that change something, in order."""
        reading = ("Describe", "List", "Get", "Head")
        return [each.operation for each in self.requests if not each.operation.startswith(reading)]

    # --- botocore's side ---------------------------------------------------------------------------------------------

    def take(self, params: Mapping[str, Any], context: dict[str, Any], **_: object) -> None:
        """Keep the parameters as they were given."""
        context["standin"] = {
            name: value.read() if hasattr(value, "read") else deepcopy(value) for name, value in params.items()
        }

    def answer(self, model: Any, context: dict[str, Any], **_: object) -> tuple[SimpleNamespace, dict[str, Any]]:
        """What AWS answers."""
        parameters, operation = context["standin"], model.name
        request = Request(service=model.service_model.service_name, operation=operation, parameters=parameters)
        check(request)
        self.requests.append(request)
        self.now += timedelta(seconds=10)
        if act := self._hidden.pop(operation, None):
            act()
        try:
            if operation not in self._done_first:
                self._maybe_refuse(operation)
            own = self.answers.get(operation)
            said = own(parameters) if own else getattr(self, f"_{request.method}")(parameters)
            if operation in self._done_first:
                self._done_first.discard(operation)
                self._maybe_refuse(operation)
        except Refused as refused:
            error, more = {"Code": refused.code, "Message": refused.message}, dict(refused.more)
            meta = {"HTTPStatusCode": refused.status, "RetryAttempts": more.pop("retries", 0)}
            return SimpleNamespace(status_code=refused.status), {
                **more,
                "Error": error,
                "ResponseMetadata": meta,
            }
        if model.output_shape is not None:
            report = ParamValidator().validate(said, model.output_shape)
            assert not report.has_errors(), report.generate_report()
        return SimpleNamespace(status_code=200), {**said, "ResponseMetadata": {"HTTPStatusCode": 200}}

    def _maybe_refuse(self, operation: str) -> None:
        for place, (refused, error, times) in enumerate(self._refusals):
            if refused == operation:
                self._refusals[place] = (refused, error, times - 1)
                if times == 1:
                    del self._refusals[place]
                raise error

    # --- SageMaker: jobs ---------------------------------------------------------------------------------------------

    def _create_training_job(self, said: dict[str, Any]) -> dict[str, Any]:
        resources, stopping = said["ResourceConfig"], said["StoppingCondition"]
        kind, count = resources["InstanceType"], resources["InstanceCount"]
        limit = self.quotas.get(kind)
        if limit is not None and count > limit:
            spot = "spot " if said["EnableManagedSpotTraining"] else ""
            raise no_quota(f"{kind} for {spot}training job usage", limit, count)
        if said["EnableManagedSpotTraining"]:
            if "MaxWaitTimeInSeconds" not in stopping:
                raise Refused("ValidationException", "MaxWaitTimeInSeconds must be specified for Managed Spot Training")
            assert stopping["MaxWaitTimeInSeconds"] >= stopping["MaxRuntimeInSeconds"]
            assert "CheckpointConfig" in said
        if "VolumeKmsKeyId" in resources and kind.startswith(_NVME):
            raise Refused("ValidationException", f"VolumeKmsKeyId is not supported for {kind}")
        return {"TrainingJobArn": self._create("TrainingJob", "training-job", said)}

    def _create_processing_job(self, said: dict[str, Any]) -> dict[str, Any]:
        return {"ProcessingJobArn": self._create("ProcessingJob", "processing-job", said)}

    def _create(self, word: str, what: str, said: dict[str, Any]) -> str:
        name = said[f"{word}Name"]
        if (word, name) in self.jobs:
            raise Refused("ResourceInUse", f"{word} names must be unique within an AWS account and region.")
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{what}/{name}"
        self.jobs[word, name] = Job(said, arn, self.now, list(self.life), self.failure)
        return arn

    def _step(self, job: Job, name: str) -> None:
        """One phase on."""
        if job.past and job.past[-1][0] in ENDED:
            return
        phase = "Stopped" if job.stopping else job.life[min(len(job.past), len(job.life) - 1)]
        job.past.append((phase, self.now))
        self.logs.setdefault(name, []).extend(self.prints.get(phase, ()))

    def _found(self, word: str, said: Mapping[str, Any]) -> tuple[str, Job]:
        name = said[f"{word}Name"]
        if (word, name) not in self.jobs:
            raise Refused("ValidationException", "Requested resource not found." if word else "")
        return name, self.jobs[word, name]

    @staticmethod
    def _status(job: Job) -> str:
        last = job.past[-1][0] if job.past else "Starting"
        if job.stopping and last not in ENDED:
            return "Stopping"
        return {"Completed": "Completed", "Failed": "Failed"}.get(last, "Stopped" if last in ENDED else "InProgress")

    def _describe_training_job(self, said: Mapping[str, Any]) -> dict[str, Any]:
        name, job = self._found("TrainingJob", said)
        self._step(job, name)
        status, request = self._status(job), job.request
        told = {
            "TrainingJobName": name,
            "TrainingJobArn": job.arn,
            "TrainingJobStatus": status,
            "SecondaryStatus": job.past[-1][0],
            "SecondaryStatusTransitions": [
                {"Status": phase, "StartTime": when, "StatusMessage": f"It is {phase}"} for phase, when in job.past
            ],
            "AlgorithmSpecification": request["AlgorithmSpecification"],
            "CreationTime": job.created,
            "EnableManagedSpotTraining": request["EnableManagedSpotTraining"],
            "OutputDataConfig": request["OutputDataConfig"],
            "ResourceConfig": request["ResourceConfig"],
            "StoppingCondition": request["StoppingCondition"],
            "ModelArtifacts": {
                "S3ModelArtifacts": f"{request['OutputDataConfig']['S3OutputPath']}/{name}/output/model.tar.gz"
            },
        }
        if status == "Failed":
            told["FailureReason"] = job.failure
        if status not in ("InProgress", "Stopping"):
            told["TrainingTimeInSeconds"], told["BillableTimeInSeconds"] = self.seconds
        if status == "Completed":
            told["FinalMetricDataList"] = [{"MetricName": "val_loss", "Value": 1.25, "Timestamp": self.now}]
        return told

    def _describe_processing_job(self, said: Mapping[str, Any]) -> dict[str, Any]:
        name, job = self._found("ProcessingJob", said)
        self._step(job, name)
        status = self._status(job)
        over = {} if status == "InProgress" else {"ProcessingStartTime": job.created, "ProcessingEndTime": self.now}
        return {
            "ProcessingJobName": name,
            "ProcessingJobArn": job.arn,
            "ProcessingJobStatus": status,
            "ProcessingResources": job.request["ProcessingResources"],
            "AppSpecification": job.request["AppSpecification"],
            "ProcessingOutputConfig": job.request["ProcessingOutputConfig"],
            "CreationTime": job.created,
            **({"FailureReason": job.failure} if status == "Failed" else {}),
            **over,
        }

    def _stop_training_job(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return self._stop("TrainingJob", said)

    def _stop_processing_job(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return self._stop("ProcessingJob", said)

    def _stop(self, word: str, said: Mapping[str, Any]) -> dict[str, Any]:
        _, job = self._found(word, said)
        if self._status(job) not in ("InProgress", "Stopping"):
            raise Refused(
                "ValidationException", f"The request was rejected because the job is in status {self._status(job)}."
            )
        job.stopping = True
        return {}

    def _list_training_jobs(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return self._list_jobs("TrainingJob", said)

    def _list_processing_jobs(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return self._list_jobs("ProcessingJob", said)

    def _list_transform_jobs(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return self._list_jobs("TransformJob", said)

    def _list_hyper_parameter_tuning_jobs(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return self._list_jobs("HyperParameterTuningJob", said)

    def _list_jobs(self, word: str, said: Mapping[str, Any]) -> dict[str, Any]:
        rows = [
            {
                f"{word}Name": name,
                f"{word}Arn": job.arn,
                f"{word}Status": self._status(job),
                "CreationTime": job.created,
                **(COUNTED if word == "HyperParameterTuningJob" else {}),
            }
            for (kind, name), job in self.jobs.items()
            if kind == word
            and said["NameContains"] in name
            and said.get("StatusEquals", self._status(job)) == self._status(job)
        ]
        return page(sorted(rows, key=lambda row: str(row["CreationTime"]), reverse=True), f"{word}Summaries", said)

    # --- SageMaker: things -------------------------------------------------------------------------------------------

    def add(self, word: str, name: str, *, tags: Sequence[Mapping[str, str]], status: str = "InService") -> None:
        """An Endpoint, EndpointConfig or Model that is there."""
        row = {f"{word}Name": name, f"{word}Arn": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{ARNS[word]}/{name}"}
        row |= {"CreationTime": self.now, "LastModifiedTime": self.now, "EndpointStatus": status}
        if word != "Endpoint":
            del row["LastModifiedTime"], row["EndpointStatus"]
        self.things[word, name] = {"row": row, "tags": list(tags)}

    def _list_endpoints(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return self._list_things("Endpoint", said)

    def _list_endpoint_configs(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return self._list_things("EndpointConfig", said)

    def _list_models(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return self._list_things("Model", said)

    def _list_things(self, word: str, said: Mapping[str, Any]) -> dict[str, Any]:
        held = [
            each["row"] for (kind, name), each in self.things.items() if kind == word and said["NameContains"] in name
        ]
        return page(held, f"{word}s", said)

    def _delete_endpoint(self, said: Mapping[str, Any]) -> dict[str, Any]:
        held = self.things.get(("Endpoint", said["EndpointName"]), {"row": {"EndpointStatus": ""}})
        if held["row"]["EndpointStatus"] in ("Creating", "Updating"):
            raise Refused("ValidationException", f'Cannot update in-progress endpoint "{said["EndpointName"]}".')
        return self._delete("Endpoint", said)

    def _delete_endpoint_config(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return self._delete("EndpointConfig", said)

    def _delete_model(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return self._delete("Model", said)

    def _delete(self, word: str, said: Mapping[str, Any]) -> dict[str, Any]:
        if self.things.pop((word, said[f"{word}Name"]), None) is None:
            raise Refused("ValidationException", f'Could not find {word.lower()} "{said[f"{word}Name"]}".')
        return {}

    def _list_tags(self, said: Mapping[str, Any]) -> dict[str, Any]:
        for each in self.things.values():
            if said["ResourceArn"] in each["row"].values():
                return {"Tags": each["tags"]}
        return {"Tags": next(job.request["Tags"] for job in self.jobs.values() if job.arn == said["ResourceArn"])}

    def _get_resources(self, said: Mapping[str, Any]) -> dict[str, Any]:
        (wanted,) = said["TagFilters"]
        rows = [
            {"ResourceARN": arn, "Tags": [{"Key": wanted["Key"], "Value": project}]}
            for arn, project in self.others
            if project in wanted["Values"]
        ]
        return {"ResourceTagMappingList": rows, "PaginationToken": ""}

    # --- logs, roles, images -----------------------------------------------------------------------------------------

    def _describe_log_streams(self, said: Mapping[str, Any]) -> dict[str, Any]:
        name = said["logStreamNamePrefix"].rstrip("/")
        if not self.logs.get(name):
            raise Refused("ResourceNotFoundException", "The specified log group does not exist.")
        return {"logStreams": [{"logStreamName": f"{name}/algo-1-1770091506"}]}

    def _get_log_events(self, said: Mapping[str, Any]) -> dict[str, Any]:
        lines = self.logs[said["logStreamName"].partition("/")[0]]
        start = int(said.get("nextToken", "f/0").rpartition("/")[2])
        some = lines[start : start + 3]
        events = [{"timestamp": 1_770_091_506_000, "message": line, "ingestionTime": 1} for line in some]
        return {"events": events, "nextForwardToken": f"f/{start + len(some)}", "nextBackwardToken": "b/0"}

    def _get_role(self, said: Mapping[str, Any]) -> dict[str, Any]:
        name = said["RoleName"]
        if name not in self.roles:
            raise Refused("NoSuchEntity", f"The role with name {name} cannot be found.", 404)
        trust = json.dumps({"Statement": [{"Principal": {"Service": "sagemaker.amazonaws.com"}}]})
        arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
        role = {"Path": "/", "RoleName": name, "RoleId": "AROA" + "A" * 17, "Arn": arn, "CreateDate": self.now}
        return {"Role": {**role, "AssumeRolePolicyDocument": trust}}

    def _describe_images(self, said: Mapping[str, Any]) -> dict[str, Any]:
        repository, (wanted,) = said["repositoryName"], said["imageIds"]
        if repository not in {name for name, _ in self.images}:
            raise Refused("RepositoryNotFoundException", f"The repository with name '{repository}' does not exist")
        if (repository, wanted["imageTag"]) not in self.images:
            raise Refused(
                "ImageNotFoundException", f"The image with imageId {wanted} does not exist within the repository"
            )
        return {"imageDetails": [{"repositoryName": repository, "imageTags": [wanted["imageTag"]]}]}

    # --- S3 ----------------------------------------------------------------------------------------------------------

    def _head_object(self, said: Mapping[str, Any]) -> dict[str, Any]:
        if (said["Bucket"], said["Key"]) not in self.objects:
            raise Refused("404", "Not Found", 404)
        return {"ContentLength": len(self.objects[said["Bucket"], said["Key"]])}

    def _put_object(self, said: Mapping[str, Any]) -> dict[str, Any]:
        self.objects[said["Bucket"], said["Key"]] = said["Body"]
        return {}

    def _get_object(self, said: Mapping[str, Any]) -> dict[str, Any]:
        if (data := self.objects.get((said["Bucket"], said["Key"]))) is None:
            raise Refused("NoSuchKey", "The specified key does not exist.", 404)
        return {"Body": StreamingBody(BytesIO(data), len(data)), "ContentLength": len(data)}

    def _list_objects_v2(self, said: Mapping[str, Any]) -> dict[str, Any]:
        keys = sorted(
            key for bucket, key in self.objects if bucket == said["Bucket"] and key.startswith(said["Prefix"])
        )
        after = [key for key in keys if key > said.get("ContinuationToken", "")]
        some = after[: said.get("MaxKeys", PAGE)]
        rows = [{"Key": key, "Size": len(self.objects[said["Bucket"], key])} for key in some]
        more = {"NextContinuationToken": some[-1]} if len(after) > len(some) else {}
        return {"Contents": rows, "IsTruncated": bool(more), **more}

    def _delete_objects(self, said: Mapping[str, Any]) -> dict[str, Any]:
        for each in said["Delete"]["Objects"]:
            self.objects.pop((said["Bucket"], each["Key"]), None)
        return {}

    def _head_bucket(self, said: Mapping[str, Any]) -> dict[str, Any]:
        if said["Bucket"] not in self.buckets:
            raise Refused("404", "Not Found", 404)
        return {}

    def _get_bucket_tagging(self, said: Mapping[str, Any]) -> dict[str, Any]:
        if not (tags := self.buckets[said["Bucket"]]):
            raise Refused("NoSuchTagSet", "The TagSet does not exist", 404)
        return {"TagSet": list(tags)}

    def _delete_bucket(self, said: Mapping[str, Any]) -> dict[str, Any]:
        if any(bucket == said["Bucket"] for bucket, _ in self.objects):
            raise Refused("BucketNotEmpty", "The bucket you tried to delete is not empty", 409)
        del self.buckets[said["Bucket"]]
        return {}

    # --- CloudFormation ----------------------------------------------------------------------------------------------

    def _create_change_set(self, said: Mapping[str, Any]) -> dict[str, Any]:
        name, wanted = said["StackName"], json.loads(said["TemplateBody"])["Resources"]
        arn = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/1"
        there = self.stacks.get(name)
        if said["ChangeSetType"] == "CREATE":
            assert there is None or there["status"] in ("REVIEW_IN_PROGRESS", "DELETE_COMPLETE")
            there = self.stacks[name] = {"status": "REVIEW_IN_PROGRESS", "resources": {}, "events": [], "arn": arn}
        assert there is not None
        there["planned"], there["tags"] = wanted, said["Tags"]
        return {
            "Id": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/{said['ChangeSetName']}/{name}",
            "StackId": arn,
        }

    def _describe_change_set(self, said: Mapping[str, Any]) -> dict[str, Any]:
        stack = self._stack(said["ChangeSetName"].rpartition("/")[2])
        if not stack.setdefault("worked_out", 0):
            stack["worked_out"] = 1
            return {"Status": "CREATE_IN_PROGRESS"}
        before, after = stack["resources"], stack["planned"]
        changes = [
            {"Action": "Modify" if name in before else "Add", "LogicalResourceId": name, "ResourceType": each["Type"]}
            for name, each in after.items()
            if before.get(name) != each
        ]
        if not changes:
            reason = "The submitted information didn't contain changes."
            return {"Status": "FAILED", "StatusReason": reason}
        return {
            "Status": "CREATE_COMPLETE",
            "Changes": [{"Type": "Resource", "ResourceChange": each} for each in changes],
        }

    def _execute_change_set(self, said: Mapping[str, Any]) -> dict[str, Any]:
        stack = self._stack(said["StackName"])
        verb = "UPDATE" if stack["resources"] else "CREATE"
        stack["todo"] = [name for name, each in stack["planned"].items() if stack["resources"].get(name) != each]
        stack["status"] = f"{verb}_IN_PROGRESS"
        return {}

    def _describe_stacks(self, said: Mapping[str, Any]) -> dict[str, Any]:
        stack = self._stack(said["StackName"])
        self._build(stack)
        name = said["StackName"].split("/")[1] if "/" in said["StackName"] else said["StackName"]
        outputs = {
            "BucketName": f"{name}-{ACCOUNT}-{REGION}",
            "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/{name}-job-{REGION}",
            "RepositoryUri": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{name}",
            "UserPolicyArn": f"arn:aws:iam::{ACCOUNT}:policy/{name}-user-{REGION}",
        }
        told = {"StackName": name, "StackId": stack["arn"], "CreationTime": self.now, "StackStatus": stack["status"]}
        told["Tags"] = stack.get("tags", [])
        rows = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
        return {"Stacks": [{**told, **({"Outputs": rows} if stack["status"].endswith("_COMPLETE") else {})}]}

    def _build(self, stack: dict[str, Any]) -> None:
        """One resource on, or one off."""
        verb = stack["status"].partition("_")[0]
        if not stack["status"].endswith("_IN_PROGRESS") or verb == "REVIEW":
            return
        if verb == "DELETE":
            stack["status"] = "DELETE_COMPLETE"
            return
        if not stack["todo"]:
            stack["status"] = f"{verb}_COMPLETE"
            return
        name = stack["todo"].pop(0)
        if name in self.fails:
            self._event(stack, name, f"{verb}_FAILED", self.fails[name])
            self._event(stack, "Other", f"{verb}_FAILED", "Resource creation cancelled")
            stack["status"] = "DELETE_COMPLETE" if verb == "CREATE" else "UPDATE_ROLLBACK_COMPLETE"
            return
        stack["resources"][name] = stack["planned"][name]
        self._event(stack, name, f"{verb}_COMPLETE", "")

    def _event(self, stack: dict[str, Any], name: str, status: str, reason: str) -> None:
        event = {"StackId": stack["arn"], "EventId": f"{len(stack['events'])}", "StackName": "x", "Timestamp": self.now}
        kind = stack["planned"].get(name, {}).get("Type", "AWS::S3::Bucket")
        more = {
            "LogicalResourceId": name,
            "ResourceType": kind,
            "ResourceStatus": status,
            "ResourceStatusReason": reason,
        }
        stack["events"].insert(0, {**event, **more})

    def _describe_stack_events(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return {"StackEvents": list(self._stack(said["StackName"])["events"])}

    def _delete_stack(self, said: Mapping[str, Any]) -> dict[str, Any]:
        stack = self._stack(said["StackName"])
        if stack["status"] == "REVIEW_IN_PROGRESS":
            del self.stacks[said["StackName"]]
        else:
            stack["status"] = "DELETE_IN_PROGRESS"
        return {}

    def _delete_change_set(self, said: Mapping[str, Any]) -> dict[str, Any]:
        self._stack(said["StackName"]).pop("planned")
        return {}

    def _stack(self, name: str) -> dict[str, Any]:
        by_arn = {stack["arn"]: stack for stack in self.stacks.values()}
        alive = {key: stack for key, stack in self.stacks.items() if stack["status"] != "DELETE_COMPLETE"}
        if (found := by_arn.get(name) or alive.get(name)) is None:
            raise Refused("ValidationError", f"Stack with id {name} does not exist")
        return found


def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Put the stand-in in AWS's place for every client that is made from now on; nothing waits."""
    aws = StandIn()
    hooks = [("before-parameter-build", aws.take), ("before-call", aws.answer)]
    monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", [*botocore.handlers.BUILTIN_HANDLERS, *hooks])
    monkeypatch.setattr("botocore.session.create_loader", lambda *_: LOADER)
    monkeypatch.setattr("bintally.cloud.waiting.pause", lambda _: None)
    own_environment(monkeypatch)
    return aws


def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the credentials, profiles and regions of whoever runs the tests."""
    import os

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def lines_of(epochs: int) -> Iterator[str]:
    """What a container prints of some epochs."""
    from bintally.cloud.metrics import epoch_line

    for epoch in range(1, epochs + 1):
        yield epoch_line({"epoch": epoch, "train_loss": 2 / epoch, "val_loss": 2.5 / epoch, "lr": 1e-3, "seconds": 9.5})
