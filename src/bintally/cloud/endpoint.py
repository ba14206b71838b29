"""An endpoint's requests from its settings: model, configuration, endpoint, scaling. Nothing is asked, nothing sent.

Refuses what SageMaker would refuse after minutes: instances and serverless at once, scaling without room to scale,
memory that serverless does not come in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bintally.cloud.names import Kind, tags
from bintally.cloud.places import captures_url
from bintally.cloud.prices import check_instance_type, has_gpu, has_nvme
from bintally.cloud.project import Project
from bintally.cloud.requests import Request, check
from bintally.cloud.training_job import vpc
from bintally.errors import SettingsError

VARIANT = "main"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
MEMORY_MB = (1024, 2048, 3072, 4096, 5120, 6144)  # that serverless comes in
MOST_CONCURRENCY = 200
HEALTHY_WITHIN_SECONDS = 600  # from a container's start to its first /ping that is 200
_SCALING = "application-autoscaling"
_QUIET_SECONDS = 300  # between two changes of the count of instances


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How the count of instances follows the load.

    Attributes:
        target: invocations of each instance in a minute, to be held.
    """

    least: int
    most: int
    target: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Serverless:
    """An endpoint without instances: paid for while it answers, and slow to answer first."""

    memory_mb: int
    concurrency: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What an endpoint is to be.

    Attributes:
        name, config, model: of the three things that are made.
        model_url: the archive.
        image: empty: the project's for serving.
        scaling: None: as many instances as at the beginning.
        serverless: None: on instances.
        capture_percent: of requests and answers that are kept in the bucket; 0: none.
        environment: of the container; docs/serving.md has the variables.
    """

    name: str
    config: str
    model: str
    project: Project
    model_url: str
    image: str = ""
    instance_type: str = "ml.m5.large"
    instance_count: int = 1
    scaling: Scaling | None = None
    serverless: Serverless | None = None
    capture_percent: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def tagged(self, kind: Kind) -> list[dict[str, str]]:
        """What is written on one of its parts."""
        return tags(self.project.project, kind, {**self.project.tags, **self.tags})


def check_endpoint(endpoint: Endpoint) -> None:
    """Refuse what cannot be meant, before a part of it is made.

    Raises:
        SettingsError: naming the option, or what of a request breaks SageMaker's model.
    """
    if endpoint.serverless is not None:
        _check_serverless(endpoint, endpoint.serverless)
    else:
        check_instance_type(endpoint.instance_type)
        if has_gpu(endpoint.instance_type):
            raise SettingsError(
                f"--instance-type {endpoint.instance_type}: the serving image counts on the CPU, and would leave the "
                "GPU idle. To do: --instance-type ml.m5.large, or ml.c5.xlarge for more photos a second"
            )
    if endpoint.instance_count < 1:
        raise SettingsError("--count: expected 1 or more")
    if not 0 <= endpoint.capture_percent <= 100:  # noqa: PLR2004 - percent
        raise SettingsError(f"--capture: expected 0 to 100 percent, got {endpoint.capture_percent}")
    if (scaling := endpoint.scaling) is not None:
        if not 1 <= scaling.least <= endpoint.instance_count <= scaling.most or scaling.least == scaling.most:
            raise SettingsError(
                f"--min-count, --count, --max-count: expected an order such as 1, 1, 4, got {scaling.least}, "
                f"{endpoint.instance_count}, {scaling.most}"
            )
        if scaling.target <= 0:
            raise SettingsError(f"--target: expected more than 0 photos a minute, got {scaling.target:g}")
    for request in making_requests(endpoint, updates=False):
        check(request)


def _check_serverless(endpoint: Endpoint, serverless: Serverless) -> None:
    if serverless.memory_mb not in MEMORY_MB:
        raise SettingsError(
            f"--memory: serverless comes in {', '.join(map(str, MEMORY_MB))} MB, got {serverless.memory_mb}"
        )
    if not 1 <= serverless.concurrency <= MOST_CONCURRENCY:
        raise SettingsError(f"--concurrency: expected 1 to {MOST_CONCURRENCY}, got {serverless.concurrency}")
    for option, given in (("--max-count", endpoint.scaling), ("--capture", endpoint.capture_percent)):
        if given:
            raise SettingsError(f"{option}: not with --serverless, which scales by itself and captures nothing")
    if endpoint.project.subnets:
        raise SettingsError(
            "--serverless: serverless endpoints run in no VPC of yours, and the project names subnets. To do: leave "
            "--serverless out"
        )
    if endpoint.project.isolated:
        raise SettingsError(
            "--serverless: serverless endpoints cannot be cut off from the network, and the project is isolated. To "
            "do: leave --serverless out"
        )


def model_request(endpoint: Endpoint) -> Request:
    """Makes the model: image and archive."""
    return create_model(
        endpoint.project,
        name=endpoint.model,
        image=endpoint.image,
        url=endpoint.model_url,
        environment=endpoint.environment,
        tagged=endpoint.tagged(Kind.MODEL),
    )


def create_model(
    project: Project,
    *,
    name: str,
    image: str,
    url: str,
    environment: Mapping[str, str],
    tagged: list[dict[str, str]],
) -> Request:
    """Makes a model of an image, the project's if none is named, and an archive."""
    parameters: dict[str, Any] = {
        "ModelName": name,
        "PrimaryContainer": {
            "Image": image or project.serve_image,
            "ModelDataUrl": url,
            "Environment": dict(environment),
        },
        "ExecutionRoleArn": project.role_arn,
        "EnableNetworkIsolation": project.isolated,
        "Tags": tagged,
    }
    if project.subnets:
        parameters["VpcConfig"] = vpc(project)
    return _sagemaker("CreateModel", parameters)


def config_request(endpoint: Endpoint) -> Request:
    """Makes the configuration."""
    variant: dict[str, Any] = {"VariantName": VARIANT, "ModelName": endpoint.model}
    key = endpoint.project.kms_key
    parameters: dict[str, Any] = {
        "EndpointConfigName": endpoint.config,
        "ProductionVariants": [variant],
        "Tags": endpoint.tagged(Kind.CONFIG),
    }
    if (serverless := endpoint.serverless) is not None:
        variant["ServerlessConfig"] = {
            "MemorySizeInMB": serverless.memory_mb,
            "MaxConcurrency": serverless.concurrency,
        }
        return _sagemaker("CreateEndpointConfig", parameters)
    variant |= {
        "InstanceType": endpoint.instance_type,
        "InitialInstanceCount": endpoint.instance_count,
        "ContainerStartupHealthCheckTimeoutInSeconds": HEALTHY_WITHIN_SECONDS,
    }
    if key and not has_nvme(endpoint.instance_type):
        parameters["KmsKeyId"] = key
    if endpoint.capture_percent:
        parameters["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": endpoint.capture_percent,
            "DestinationS3Uri": captures_url(endpoint.project, endpoint.name),
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            **({"KmsKeyId": key} if key else {}),
        }
    return _sagemaker("CreateEndpointConfig", parameters)


def endpoint_request(endpoint: Endpoint) -> Request:
    """Makes the endpoint; from then on it costs."""
    parameters = {
        "EndpointName": endpoint.name,
        "EndpointConfigName": endpoint.config,
        "Tags": endpoint.tagged(Kind.ENDPOINT),
    }
    return _sagemaker("CreateEndpoint", parameters)


def update_request(endpoint: Endpoint) -> Request:
    """Gives an endpoint that is there a new configuration: new instances first, then all traffic, then no old ones."""
    parameters = {"EndpointName": endpoint.name, "EndpointConfigName": endpoint.config}
    return _sagemaker("UpdateEndpoint", parameters)


def making_requests(endpoint: Endpoint, *, updates: bool) -> list[Request]:
    """All that makes it, in order; `updates`: it is there, and gets a new configuration."""
    return [
        model_request(endpoint),
        config_request(endpoint),
        update_request(endpoint) if updates else endpoint_request(endpoint),
        *(scaling_requests(endpoint.name, endpoint.scaling) if endpoint.scaling else ()),
    ]


def describe_request(name: str) -> Request:
    """Asks how an endpoint is."""
    return _sagemaker("DescribeEndpoint", {"EndpointName": name})


def describe_config_request(name: str) -> Request:
    """Asks what a configuration says."""
    return _sagemaker("DescribeEndpointConfig", {"EndpointConfigName": name})


def scaling_requests(endpoint: str, scaling: Scaling) -> list[Request]:
    """Has the count of instances follow the load."""
    policy = {
        "TargetValue": scaling.target,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        "ScaleInCooldown": _QUIET_SECONDS,
        "ScaleOutCooldown": _QUIET_SECONDS,
    }
    return [
        register_request(endpoint, scaling.least, scaling.most),
        policy_request(endpoint, f"{endpoint}-load"[:256], policy),
    ]


def register_request(endpoint: str, least: int, most: int) -> Request:
    """Lets the count of instances change."""
    return _scaling("RegisterScalableTarget", {**_variant(endpoint), "MinCapacity": least, "MaxCapacity": most})


def policy_request(endpoint: str, name: str, policy: Mapping[str, Any]) -> Request:
    """Says what it follows."""
    parameters = {
        "PolicyName": name,
        **_variant(endpoint),
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": dict(policy),
    }
    return _scaling("PutScalingPolicy", parameters)


def deregister_request(endpoint: str) -> Request:
    """Leaves the count of instances as it is; its policies and their alarms go with it."""
    return _scaling("DeregisterScalableTarget", _variant(endpoint))


def target_request(endpoint: str) -> Request:
    """Asks whether the count of instances may change."""
    parameters = {
        "ServiceNamespace": "sagemaker",
        "ResourceIds": [_variant(endpoint)["ResourceId"]],
        "ScalableDimension": DIMENSION,
    }
    return _scaling("DescribeScalableTargets", parameters)


def policies_request(endpoint: str) -> Request:
    """Asks what it follows."""
    return _scaling("DescribeScalingPolicies", _variant(endpoint))


def _variant(endpoint: str) -> dict[str, str]:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{VARIANT}",
        "ScalableDimension": DIMENSION,
    }


def _sagemaker(operation: str, parameters: Mapping[str, Any]) -> Request:
    return Request(service="sagemaker", operation=operation, parameters=parameters)


def _scaling(operation: str, parameters: Mapping[str, Any]) -> Request:
    return Request(service=_SCALING, operation=operation, parameters=parameters)
