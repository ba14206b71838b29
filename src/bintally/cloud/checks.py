"""What is looked at before a training job is sent, so that it does not fail after minutes for what is known now.

`about_recipe` needs no account; `before_sending` asks it, and what it may not look at it says instead of failing.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bintally.cloud.places import parse_url
from bintally.cloud.prices import has_gpu
from bintally.cloud.project import Project
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.cloud.training_job import TrainingJob
from bintally.errors import CloudAccessError, NotInCloudError, SettingsError
from bintally.settings import RunSettings

PUBLIC_BUCKET = "aft-vbi-pds"
"""The Amazon Bin Image Dataset, which is read without credentials."""
_LIGHT = ("smallcnn", "mobilenetv2_100")  # backbones that a CPU trains within hours
_ECR = re.compile(
    r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([^:@]+)(?:[:]([^@]+)|@(sha256:[0-9a-f]+))?"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        text: what was found, in words.
        wrong: whether the job would fail, or cost much for little.
    """

    text: str
    wrong: bool = False


def needs_gpu(settings: RunSettings) -> bool:
    """Whether training it on a CPU costs more, and takes much longer, than on a GPU.

    A network that is trained whole and is none of the two small ones does.
    """
    return settings.model.backbone not in _LIGHT and not settings.model.frozen


def about_recipe(job: TrainingJob, *, force: bool = False) -> list[Finding]:
    """What recipe, instance and network say together.

    Raises:
        SettingsError: if they do not go together, unless `force`.
    """
    settings = job.job.settings
    name, backbone = settings.recipe, settings.model.backbone
    found = []
    if needs_gpu(settings) and not has_gpu(job.instance_type):
        said = f"recipe {name} trains all of {backbone}, and {job.instance_type} has no GPU: it would take days"
        if not force:
            raise SettingsError(f"{said}. To do: --instance-type ml.g4dn.xlarge, or a smaller recipe, or --force")
        found.append(Finding(f"{said} (forced)"))
    elif has_gpu(job.instance_type) and backbone == "smallcnn":
        found.append(Finding(f"recipe {name} is so small that a GPU mostly waits for photos: ml.c5.2xlarge may do"))
    if settings.model.pretrained and not job.weights_url:
        where = "the container has no network (isolated)" if job.project.isolated else ""
        if where:
            raise SettingsError(
                f"recipe {name} starts from pretrained weights, and {where}. To do: --weights s3://..., or "
                "--set model.pretrained=false"
            )
        found.append(
            Finding(f"recipe {name} fetches pretrained weights from timm's hub: --weights s3://... needs no internet")
        )
    return found


def about_places(project: Project, *urls: str) -> list[Finding]:
    """Which addresses the project's role may not read or write: it knows its own bucket only, and what is public."""
    outside = [url for url in urls if url and parse_url(url)[0] not in (project.bucket, PUBLIC_BUCKET)]
    return [
        Finding(
            f"{url} is outside the project's bucket: give the role {project.role_arn.rpartition('/')[2]} rights there"
        )
        for url in outside
    ]


def before_sending(cloud: Cloud, job: TrainingJob) -> Iterator[Finding]:
    """Role, image, photos and weights, one after the other."""
    yield from before_starting(cloud, job.project, job.image or job.project.train_image)
    yield _look(lambda: _dataset(cloud, job.data_url), "the dataset")
    if job.weights_url:
        yield _look(lambda: _weights(cloud, job.weights_url), "the weights")


def before_starting(cloud: Cloud, project: Project, image: str) -> Iterator[Finding]:
    """Role and image, which everything needs that is started."""
    yield _look(lambda: _role(cloud, project.role_arn), "the role")
    yield _look(lambda: _image(cloud, image), "the image")


def _look(ask: Callable[[], Finding], what: str) -> Finding:
    """What may not be looked at is not known to be wrong."""
    try:
        return ask()
    except CloudAccessError as error:
        if "no permission" not in str(error):
            raise
        return Finding(f"{what} could not be looked at: {error}")


def _role(cloud: Cloud, arn: str) -> Finding:
    name = arn.rpartition("/")[2]
    try:
        role: Mapping[str, Any] = cloud.ask("iam", "GetRole", RoleName=name)["Role"]
    except NotInCloudError:
        return Finding(f"role {arn} is not there. To do: run `bintally sagemaker bootstrap` again", wrong=True)
    if "sagemaker.amazonaws.com" not in str(role.get("AssumeRolePolicyDocument", "sagemaker.amazonaws.com")):
        return Finding(
            f"role {name} does not let SageMaker take it: its trust lacks sagemaker.amazonaws.com", wrong=True
        )
    return Finding(f"role {name}")


def _image(cloud: Cloud, uri: str) -> Finding:
    found = _ECR.fullmatch(uri)
    if found is None:
        return Finding(f"image {uri} is in no ECR repository: SageMaker takes it only inside a VPC")
    account, region, repository, tag, digest = found.groups()
    wanted = {"imageDigest": digest} if digest else {"imageTag": tag or "latest"}
    if region != cloud.region:
        return Finding(f"image {uri} is in another region than the job, {cloud.region}", wrong=True)
    try:
        cloud.ask("ecr", "DescribeImages", registryId=account, repositoryName=repository, imageIds=[wanted])
    except NotInCloudError as error:
        return Finding(f"image {uri}: {error}", wrong=True)
    return Finding(f"image {uri}")


def _dataset(cloud: Cloud, url: str) -> Finding:
    bucket, prefix = parse_url(url)
    key = f"{prefix.rstrip('/')}/manifest.parquet".lstrip("/")
    try:
        cloud.ask("s3", "HeadObject", Bucket=bucket, Key=key)
    except NotInCloudError:
        return Finding(
            f"there is no dataset at {url}: no manifest.parquet. To do: `bintally sagemaker prepare`",
            wrong=True,
        )
    return Finding(f"dataset {url}")


def _weights(cloud: Cloud, url: str) -> Finding:
    bucket, prefix = parse_url(url)
    listed = cloud.send(
        Request(service="s3", operation="ListObjectsV2", parameters={"Bucket": bucket, "Prefix": prefix, "MaxKeys": 2})
    )
    files = [each for each in listed.get("Contents", ()) if not each["Key"].endswith("/")]
    if len(files) != 1:
        return Finding(f"weights {url}: expected one file, got {len(files) or 'none'}", wrong=True)
    return Finding(f"weights {url}")
