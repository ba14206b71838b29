"""A batch transform's request: photos below a prefix, or records in JSON lines, to lines of predictions.

Refuses places that are no prefix in a bucket, and payloads that SageMaker does not carry.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bintally.cloud.endpoint import create_model
from bintally.cloud.names import Kind, tags
from bintally.cloud.places import batches_url, parse_url
from bintally.cloud.prices import check_instance_type, has_gpu
from bintally.cloud.project import Project
from bintally.cloud.requests import Request
from bintally.errors import SettingsError

LINES = "application/jsonlines"
MOST_PAYLOAD_MB = 100
_USUAL_PAYLOAD_MB = 6  # for which the container says how many requests it takes at a time
_PHOTO = "application/x-image"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformJob:
    """What a transform job is to be.

    Attributes:
        model: the name of the model that is made for it.
        source: a prefix; every object below it is sent.
        lines: whether objects are JSON lines of records, not photos.
        payload_mb: the largest photo, or the most of lines in one request.
        parallel: requests to one instance at a time; None: as the container says, or as many large photos as SageMaker
            carries at a time.
    """

    name: str
    model: str
    project: Project
    model_url: str
    source: str
    lines: bool = False
    image: str = ""
    instance_type: str = "ml.m5.xlarge"
    instance_count: int = 1
    payload_mb: int = 6
    parallel: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def output_url(self) -> str:
        """Where answers lie: `NAME.out` for each object."""
        return batches_url(self.project, self.name)


def model_request_of(job: TransformJob) -> Request:
    """Makes the model."""
    tagged = tags(job.project.project, Kind.MODEL, {**job.project.tags, **job.tags})
    return create_model(job.project, name=job.model, image=job.image, url=job.model_url, environment={}, tagged=tagged)


def transform_request(job: TransformJob) -> Request:
    """Starts it.

    Raises:
        SettingsError: naming the option that cannot be meant.
    """
    _check(job)
    project = job.project
    key = project.kms_key
    parameters: dict[str, Any] = {
        "TransformJobName": job.name,
        "ModelName": job.model,
        "MaxPayloadInMB": job.payload_mb,
        "BatchStrategy": "MultiRecord" if job.lines else "SingleRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": folder_url(job.source)}},
            "ContentType": LINES if job.lines else _PHOTO,
            "CompressionType": "None",
            "SplitType": "Line" if job.lines else "None",
        },
        "TransformOutput": {
            "S3OutputPath": job.output_url,
            "Accept": LINES,
            "AssembleWith": "Line" if job.lines else "None",
            **({"KmsKeyId": key} if key else {}),
        },
        "TransformResources": {
            "InstanceType": job.instance_type,
            "InstanceCount": job.instance_count,
            **({"VolumeKmsKeyId": key} if key else {}),
        },
        "Tags": tags(project.project, Kind.BATCH, {**project.tags, **job.tags}),
    }
    if (parallel := job.parallel) is None and job.payload_mb > _USUAL_PAYLOAD_MB:
        parallel = MOST_PAYLOAD_MB // job.payload_mb
    if parallel is not None:
        parameters["MaxConcurrentTransforms"] = parallel
    return Request(service="sagemaker", operation="CreateTransformJob", parameters=parameters)


def folder_url(url: str) -> str:
    """A prefix that no sibling shares.

    >>> folder_url("s3://bins/photos"), folder_url("s3://bins")
    ('s3://bins/photos/', 's3://bins/')
    """
    return f"{url.rstrip('/')}/"


def _check(job: TransformJob) -> None:
    parse_url(job.source)
    check_instance_type(job.instance_type)
    if has_gpu(job.instance_type):
        raise SettingsError(
            f"--instance-type {job.instance_type}: the serving image counts on the CPU, and would leave the GPU idle. "
            "To do: --instance-type ml.m5.xlarge"
        )
    if not 1 <= job.payload_mb * (job.parallel or 1) <= MOST_PAYLOAD_MB:
        raise SettingsError(
            f"--payload-mb times --parallel: SageMaker carries 1 to {MOST_PAYLOAD_MB}, got "
            f"{job.payload_mb} x {job.parallel or 1}"
        )
    if job.instance_count < 1:
        raise SettingsError("--count: expected 1 or more")
