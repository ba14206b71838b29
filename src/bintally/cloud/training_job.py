"""A training job's request from its settings: nothing is asked, nothing is sent.

Refuses what SageMaker would accept and the user would regret: spot without checkpoints or without an end, a wait that
is shorter than the run. What recipe and instance say together, `checks` looks at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bintally.cloud.contract import CHECKPOINTS, TRAIN_CHANNEL, WEIGHTS_CHANNEL
from bintally.cloud.hyperparameters import JobSettings, format_hyperparameters
from bintally.cloud.metrics import metric_definitions
from bintally.cloud.names import Kind, tags
from bintally.cloud.places import jobs_url, parse_url
from bintally.cloud.prices import check_instance_type, has_nvme
from bintally.cloud.project import Project
from bintally.cloud.requests import Request
from bintally.errors import SettingsError

MOST_SECONDS = 28 * 24 * 3600  # of a run, and of a wait: SageMaker's own limit
INPUT_MODES = ("FastFile", "File")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """What a training job is to be.

    Attributes:
        image: the container; it must keep the contract of `cloud.container`.
        data_url: a dataset in a bucket, split.
        weights_url: one weights file, or a folder with one; empty: timm's hub is asked, or none are needed.
        checkpoints_url: where unfinished state is copied to and taken from; empty: nowhere.
        input_mode: `FastFile` reads photos from the bucket as they are needed, `File` copies them all first.
        max_run_seconds: SageMaker ends the job after so much training.
        max_wait_seconds: of a spot job: waiting for an instance and training, together.
        kept_warm_seconds: instances are kept for the next job after this one; they are paid for.
    """

    name: str
    project: Project
    job: JobSettings
    data_url: str
    instance_type: str
    image: str = ""
    instance_count: int = 1
    volume_gb: int = 50
    weights_url: str = ""
    checkpoints_url: str = ""
    input_mode: str = "FastFile"
    max_run_seconds: int = 4 * 3600
    spot: bool = False
    max_wait_seconds: int | None = None
    kept_warm_seconds: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


def training_request(job: TrainingJob) -> Request:
    """The request that starts it.

    Raises:
        SettingsError: naming the option that cannot be meant.
    """
    _check(job)
    project = job.project
    stopping = {"MaxRuntimeInSeconds": job.max_run_seconds}
    parameters: dict[str, Any] = {
        "TrainingJobName": job.name,
        "RoleArn": project.role_arn,
        "AlgorithmSpecification": {
            "TrainingImage": job.image or project.train_image,
            "TrainingInputMode": job.input_mode,
            "MetricDefinitions": metric_definitions(),
        },
        "HyperParameters": format_hyperparameters(job.job),
        "InputDataConfig": _channels(job),
        "OutputDataConfig": {"S3OutputPath": jobs_url(project), **_key("KmsKeyId", project)},
        "ResourceConfig": resources(job),
        "StoppingCondition": stopping,
        "EnableManagedSpotTraining": job.spot,
        "EnableNetworkIsolation": project.isolated,
        "EnableInterContainerTrafficEncryption": project.encrypt_traffic and job.instance_count > 1,
        "Tags": tags(project.project, Kind.TRAIN, {**project.tags, **job.tags}),
    }
    if job.spot and job.max_wait_seconds is not None:
        stopping["MaxWaitTimeInSeconds"] = job.max_wait_seconds
    if job.checkpoints_url:
        parameters["CheckpointConfig"] = {"S3Uri": job.checkpoints_url, "LocalPath": CHECKPOINTS}
    if project.subnets:
        parameters["VpcConfig"] = vpc(project)
    return Request(service="sagemaker", operation="CreateTrainingJob", parameters=parameters)


def resources(job: TrainingJob) -> dict[str, Any]:
    """Instances and volumes. A key for volumes is left out where an instance has a disk of its own: it is refused."""
    key = {} if has_nvme(job.instance_type) else _key("VolumeKmsKeyId", job.project)
    warm = {"KeepAlivePeriodInSeconds": job.kept_warm_seconds} if job.kept_warm_seconds else {}
    return {
        "InstanceType": job.instance_type,
        "InstanceCount": job.instance_count,
        "VolumeSizeInGB": job.volume_gb,
        **key,
        **warm,
    }


def vpc(project: Project) -> dict[str, list[str]]:
    """Where a project's containers run."""
    return {"Subnets": list(project.subnets), "SecurityGroupIds": list(project.security_groups)}


def _check(job: TrainingJob) -> None:
    check_instance_type(job.instance_type)
    for url in filter(None, (job.data_url, job.weights_url, job.checkpoints_url)):
        parse_url(url)
    if job.input_mode not in INPUT_MODES:
        raise SettingsError(f"--input-mode {job.input_mode}: expected {' or '.join(INPUT_MODES)}")
    if not 1 <= job.max_run_seconds <= MOST_SECONDS:
        raise SettingsError(f"--max-hours: expected more than 0 and at most {MOST_SECONDS // 3600} hours")
    if job.instance_count < 1 or job.volume_gb < 1:
        raise SettingsError("--instance-count and --volume-gb: expected 1 or more")
    if job.spot:
        _check_spot(job)
    elif job.max_wait_seconds is not None:
        raise SettingsError("--max-wait-hours: only a spot job waits; add --spot or leave it out")


def _check_spot(job: TrainingJob) -> None:
    if not job.checkpoints_url:
        raise SettingsError(
            "--spot without a checkpoint location: an interrupted job would begin anew and pay twice. To do: leave out "
            "--no-checkpoints, or name a place with --checkpoints s3://..."
        )
    if job.max_wait_seconds is None:
        raise SettingsError("--spot needs --max-wait-hours: without it a job might wait for an instance for ever")
    if not job.max_run_seconds <= job.max_wait_seconds <= MOST_SECONDS:
        raise SettingsError(
            f"--max-wait-hours counts waiting and training: expected at least --max-hours "
            f"({job.max_run_seconds / 3600:g}) and at most {MOST_SECONDS // 3600}, got {job.max_wait_seconds / 3600:g}"
        )
    if job.kept_warm_seconds:
        raise SettingsError("--keep-warm: spot instances cannot be kept; leave out one of the two")


def _channels(job: TrainingJob) -> list[dict[str, Any]]:
    channels = [_channel(TRAIN_CHANNEL, f"{job.data_url.rstrip('/')}/", job.input_mode)]
    if job.weights_url:
        channels.append(_channel(WEIGHTS_CHANNEL, job.weights_url, "File"))
    return channels


def _channel(name: str, url: str, mode: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": url, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, "InputMode": mode}


def _key(name: str, project: Project) -> dict[str, str]:
    return {name: project.kms_key} if project.kms_key else {}
