"""The request of the processing job that makes a dataset: ingest, split, audit and push, on an instance of its own.

Refuses what the container would refuse: a source that is no bucket, a side no network sees.
"""

from dataclasses import dataclass, replace
from typing import Any

from bintally.cloud.contract import PREPARE_ENTRY, PREPARE_REPORT
from bintally.cloud.names import Kind, tags
from bintally.cloud.places import jobs_url, parse_url
from bintally.cloud.prepare_arguments import PrepareSettings, format_arguments
from bintally.cloud.prices import check_instance_type, has_nvme
from bintally.cloud.project import Project
from bintally.cloud.requests import Request
from bintally.cloud.training_job import vpc
from bintally.errors import SettingsError

MOST_SECONDS = 5 * 24 * 3600  # SageMaker's own limit
FILE_LIST = "file_list.json"
_LIST_FOLDER = "/opt/ml/processing/input/list"
_SIDES = (32, 1024)  # pixels, as a recipe may ask for


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareJob:
    """What a processing job is to be.

    Attributes:
        settings: what is done; which file list, `list_url` says.
        image: empty: the project's for training, which holds the same code.
        list_url: a `file_list.json` in a bucket: only the photos on it; empty: none.
        max_run_seconds: SageMaker ends the job after so long; what was pushed stays, and the same job goes on from it.
    """

    name: str
    project: Project
    settings: PrepareSettings
    instance_type: str = "ml.m5.xlarge"
    image: str = ""
    list_url: str = ""
    volume_gb: int = 50
    max_run_seconds: int = 4 * 3600


def prepare_request(job: PrepareJob) -> Request:
    """The request that starts it.

    Raises:
        SettingsError: naming the option that cannot be meant.
    """
    _check(job)
    project = job.project
    key = project.kms_key
    report = {
        "OutputName": "report",
        "S3Output": {
            "S3Uri": report_url(project, job.name),
            "LocalPath": PREPARE_REPORT,
            "S3UploadMode": "EndOfJob",
        },
    }
    network: dict[str, Any] = {"EnableNetworkIsolation": False}  # it reads a bucket and writes one
    if project.subnets:
        network["VpcConfig"] = vpc(project)
    settings = replace(job.settings, file_list=f"{_LIST_FOLDER}/{FILE_LIST}") if job.list_url else job.settings
    parameters = {
        "ProcessingJobName": job.name,
        "RoleArn": project.role_arn,
        "AppSpecification": {
            "ImageUri": job.image or project.train_image,
            "ContainerEntrypoint": list(PREPARE_ENTRY),
            "ContainerArguments": format_arguments(settings),
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceType": job.instance_type,
                "InstanceCount": 1,
                "VolumeSizeInGB": job.volume_gb,
                **({"VolumeKmsKeyId": key} if key and not has_nvme(job.instance_type) else {}),
            }
        },
        **({"ProcessingInputs": [_file_list(job.list_url)]} if job.list_url else {}),
        "ProcessingOutputConfig": {"Outputs": [report], **({"KmsKeyId": key} if key else {})},
        "StoppingCondition": {"MaxRuntimeInSeconds": job.max_run_seconds},
        "NetworkConfig": network,
        "Tags": tags(project.project, Kind.PREPARE, project.tags),
    }
    return Request(service="sagemaker", operation="CreateProcessingJob", parameters=parameters)


def report_url(project: Project, job: str) -> str:
    """Where the audit's page lies afterwards."""
    return f"{jobs_url(project)}/{job}/report"


def file_list_url(project: Project, job: str) -> str:
    """Where the list of photos that a job is to take lies."""
    return f"{jobs_url(project)}/{job}/{FILE_LIST}"


def _file_list(url: str) -> dict[str, Any]:
    source = {"S3Uri": url, "LocalPath": _LIST_FOLDER, "S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": "list", "S3Input": source}


def _check(job: PrepareJob) -> None:
    check_instance_type(job.instance_type)
    parse_url(job.settings.source)
    parse_url(job.settings.dest)
    if job.list_url and not job.list_url.endswith(f"/{FILE_LIST}"):
        raise SettingsError(f"{job.list_url}: expected an address that ends with /{FILE_LIST}")
    if job.settings.replace and job.settings.side_px:
        raise SettingsError(
            "--replace is for photos that are pushed as they came; with --side choose another dataset name"
        )
    if not 1 <= job.max_run_seconds <= MOST_SECONDS:
        raise SettingsError(f"--max-hours: expected more than 0 and at most {MOST_SECONDS // 3600} hours")
    if job.settings.side_px and not _SIDES[0] <= job.settings.side_px <= _SIDES[1]:
        raise SettingsError(f"--side: expected {_SIDES[0]} to {_SIDES[1]} pixels, got {job.settings.side_px}")
