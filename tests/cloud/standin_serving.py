"""The stand-in's endpoints and transform jobs; whatever is asked of a model, the real serving application answers.

Endpoints live through statuses, one for each time they are asked after, and can be slow, fail or never become healthy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from typing import Any

from botocore.response import StreamingBody
from tests.cloud.standin_parts import ACCOUNT, REGION, Job, Refused, no_quota

ARNS = {"Endpoint": "endpoint", "EndpointConfig": "endpoint-config", "Model": "model"}
Serves = Callable[[bytes, str, str], tuple[int, bytes]]
"""A body, its type and the accepted one to a status and a body."""


def nothing_serves(_body: bytes, _type: str, _accept: str) -> tuple[int, bytes]:
    raise AssertionError("the test says nothing of what the model answers")


@dataclass
class ServingSide:
    """Attributes:
    endpoint_life: the statuses of endpoints that are made from now on, the last one for good.
    update_life: likewise of updates; one that ends as RolledBack serves by its former configuration.
    endpoint_failure: the FailureReason of those that fail.
    serves: what a container answers.
    targets, policies: of autoscaling, by resource.
    """

    endpoint_life: tuple[str, ...] = ("Creating", "Creating", "InService")
    update_life: tuple[str, ...] = ("Updating", "Updating", "InService")
    endpoint_failure: str = ""
    serves: Serves = nothing_serves
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    # of the stand-in itself
    things: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    jobs: dict[tuple[str, str], Job] = field(default_factory=dict)
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    images: set[tuple[str, str]] = field(default_factory=set)
    quotas: dict[str, int] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    now: datetime = datetime.min

    def _thing(self, word: str, name: str, said: dict[str, Any]) -> dict[str, Any]:
        if (word, name) in self.things:
            raise Refused("ValidationException", f"Cannot create already existing {word.lower()} {name}.")
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{ARNS[word]}/{name}"
        row = {f"{word}Name": name, f"{word}Arn": arn, "CreationTime": self.now}
        self.things[word, name] = {"row": row, "tags": said.get("Tags", []), "said": said}
        return {f"{word}Arn": arn}

    def _there(self, word: str, name: str) -> dict[str, Any]:
        if (word, name) not in self.things:
            raise Refused("ValidationException", f'Could not find {word.lower()} "{name}".')
        return self.things[word, name]

    def _create_model(self, said: dict[str, Any]) -> dict[str, Any]:
        container = said["PrimaryContainer"]
        repository, _, tag = container["Image"].rpartition("/")[2].partition(":")
        if (repository, tag) not in self.images:
            raise Refused("ValidationException", f"Requested image {container['Image']} not found.")
        bucket, _, key = container["ModelDataUrl"].removeprefix("s3://").partition("/")
        if (bucket, key) not in self.objects:
            raise Refused("ValidationException", f"Could not find model data at {container['ModelDataUrl']}.")
        return self._thing("Model", said["ModelName"], said)

    def _create_endpoint_config(self, said: dict[str, Any]) -> dict[str, Any]:
        for variant in said["ProductionVariants"]:
            self._there("Model", variant["ModelName"])
        return self._thing("EndpointConfig", said["EndpointConfigName"], said)

    def _create_endpoint(self, said: dict[str, Any]) -> dict[str, Any]:
        self._in_quota(said["EndpointConfigName"])
        answer = self._thing("Endpoint", said["EndpointName"], said)
        held = self.things["Endpoint", said["EndpointName"]]
        held["life"], held["config"] = list(self.endpoint_life), said["EndpointConfigName"]
        held["row"] |= {"EndpointStatus": "Creating", "LastModifiedTime": self.now}
        return answer

    def _in_quota(self, config: str) -> None:
        for variant in self._there("EndpointConfig", config)["said"]["ProductionVariants"]:
            kind, count = variant.get("InstanceType", ""), variant.get("InitialInstanceCount", 0)
            if count > self.quotas.get(kind, count):
                raise no_quota(f"{kind} for endpoint usage", self.quotas[kind], count)

    def _update_endpoint(self, said: dict[str, Any]) -> dict[str, Any]:
        held = self._there("Endpoint", said["EndpointName"])
        if held["row"]["EndpointStatus"] != "InService":
            raise Refused("ValidationException", f'Cannot update in-progress endpoint "{said["EndpointName"]}".')
        assert f"endpoint/{said['EndpointName']}/variant/main" not in self.targets, "it scales: deregister first"
        self._in_quota(said["EndpointConfigName"])
        held["life"], held["next"] = list(self.update_life), said["EndpointConfigName"]
        held["row"]["EndpointStatus"] = "Updating"
        return {"EndpointArn": held["row"]["EndpointArn"]}

    def _describe_endpoint(self, said: Mapping[str, Any]) -> dict[str, Any]:
        held = self._there("Endpoint", said["EndpointName"])
        row, failed = held["row"], False
        if life := held.get("life"):
            status = life.pop(0) if len(life) > 1 else life[0]
            failed = status in ("Failed", "RolledBack") or held.get("rolled_back", False)
            held["rolled_back"] = status == "RolledBack"
            if status == "InService" and "next" in held:
                held["config"] = held.pop("next")
            row["EndpointStatus"] = "InService" if status == "RolledBack" else status
        told = {**row, "EndpointConfigName": held.get("config", "somebody-elses")}
        if row["EndpointStatus"] == "InService":
            variant = self.things.get(("EndpointConfig", held.get("config", "")), {}).get("said")
            count = variant["ProductionVariants"][0].get("InitialInstanceCount", 0) if variant else 1
            told["ProductionVariants"] = [{"VariantName": "main", "CurrentInstanceCount": count}]
        return {**told, **({"FailureReason": self.endpoint_failure} if failed and self.endpoint_failure else {})}

    def _describe_endpoint_config(self, said: Mapping[str, Any]) -> dict[str, Any]:
        held = self._there("EndpointConfig", said["EndpointConfigName"])
        asked = held.get("said", {"ProductionVariants": [{"VariantName": "main", "InstanceType": "ml.m5.large"}]})
        return {**held["row"], "ProductionVariants": asked["ProductionVariants"]}

    def _invoke_endpoint(self, said: Mapping[str, Any]) -> dict[str, Any]:
        name = said["EndpointName"]
        held = self.things.get(("Endpoint", name))
        if held is None or held["row"]["EndpointStatus"] != "InService":
            raise Refused("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")
        status, body = self.serves(said["Body"], said["ContentType"], said.get("Accept", ""))
        if status != 200:
            text = body.decode()
            raise Refused(
                "ModelError",
                f'Received client error ({status}) from primary with message "{text}". See the log.',
                424,
                OriginalStatusCode=status,
                OriginalMessage=text,
                LogStreamArn=f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/Endpoints/{name}",
            )
        return {"Body": StreamingBody(BytesIO(body), len(body)), "ContentType": said.get("Accept", "")}

    # --- autoscaling -------------------------------------------------------------------------------------------------

    def _register_scalable_target(self, said: dict[str, Any]) -> dict[str, Any]:
        name = said["ResourceId"].split("/")[1]
        if self._there("Endpoint", name)["row"]["EndpointStatus"] != "InService":
            raise Refused("ValidationException", f"Endpoint {name} is not InService.")
        self.targets[said["ResourceId"]] = said
        return {}

    def _put_scaling_policy(self, said: dict[str, Any]) -> dict[str, Any]:
        if said["ResourceId"] not in self.targets:
            raise Refused("ObjectNotFoundException", "No scalable target registered.")
        self.policies[said["ResourceId"]] = said
        return {"PolicyARN": "arn:aws:autoscaling:policy/1"}

    def _deregister_scalable_target(self, said: Mapping[str, Any]) -> dict[str, Any]:
        if self.targets.pop(said["ResourceId"], None) is None:
            raise Refused("ObjectNotFoundException", "No scalable target found.")
        self.policies.pop(said["ResourceId"], None)
        return {}

    def _describe_scalable_targets(self, said: Mapping[str, Any]) -> dict[str, Any]:
        more = {"RoleARN": f"arn:aws:iam::{ACCOUNT}:role/scaling", "CreationTime": self.now}
        return {
            "ScalableTargets": [{**self.targets[name], **more} for name in said["ResourceIds"] if name in self.targets]
        }

    def _describe_scaling_policies(self, said: Mapping[str, Any]) -> dict[str, Any]:
        held = self.policies.get(said["ResourceId"])
        return {"ScalingPolicies": [{**held, "PolicyARN": "arn:p", "CreationTime": self.now}] if held else []}

    # --- batch transform ---------------------------------------------------------------------------------------------

    def _create_transform_job(self, said: dict[str, Any]) -> dict[str, Any]:
        self._there("Model", said["ModelName"])
        kind, count = said["TransformResources"]["InstanceType"], said["TransformResources"]["InstanceCount"]
        if count > self.quotas.get(kind, count):
            raise no_quota(f"{kind} for transform job usage", self.quotas[kind], count)
        return {"TransformJobArn": self._create("TransformJob", "transform-job", said)}  # type: ignore[attr-defined]

    def _describe_transform_job(self, said: Mapping[str, Any]) -> dict[str, Any]:
        name, job = self._found("TransformJob", said)  # type: ignore[attr-defined]
        before = len(job.past)
        self._step(job, name)  # type: ignore[attr-defined]
        if len(job.past) > before and job.past[-1][0] == "Completed" and (reason := self._transform(name, job.request)):
            job.past[-1], job.failure = ("Failed", self.now), reason
        status = self._status(job)  # type: ignore[attr-defined]
        over = {} if status == "InProgress" else {"TransformStartTime": job.created, "TransformEndTime": self.now}
        return {
            **{
                key: job.request[key]
                for key in ("ModelName", "TransformInput", "TransformOutput", "TransformResources")
            },
            "TransformJobName": name,
            "TransformJobArn": job.arn,
            "TransformJobStatus": status,
            "CreationTime": job.created,
            **({"FailureReason": job.failure} if status == "Failed" else {}),
            **over,
        }

    def _transform(self, name: str, said: Mapping[str, Any]) -> str:
        """Do it; why it failed, or nothing."""
        source, output = said["TransformInput"], said["TransformOutput"]
        bucket, _, prefix = source["DataSource"]["S3DataSource"]["S3Uri"].removeprefix("s3://").partition("/")
        to_bucket, _, to = output["S3OutputPath"].removeprefix("s3://").partition("/")
        for key in sorted(key for there, key in self.objects if there == bucket and key.startswith(prefix)):
            body = self.objects[bucket, key]
            records = body.splitlines(keepends=True) if source["SplitType"] == "Line" else [body]
            answers = []
            for record in records:
                status, answer = self.serves(record, source["ContentType"], output["Accept"])
                if status != 200:
                    line = f"2026-02-03T04:05:06.789:[sagemaker logs]: {bucket}/{key}: "
                    said_so = [f"ClientError: {status}", "", "Message:", answer.decode()]
                    self.logs.setdefault(name, []).extend(line + text for text in said_so)
                    return "ClientError: See job logs for more information"
                answers.append(answer + (b"\n" if output["AssembleWith"] == "Line" else b""))
            self.objects[to_bucket, f"{to}/{key.removeprefix(prefix)}.out"] = b"".join(answers)
        return ""

    def _stop_transform_job(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return self._stop("TransformJob", said)  # type: ignore[attr-defined, no-any-return]
