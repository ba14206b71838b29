"""Where everything lies in a project's bucket, and addresses in buckets taken apart.

Refuses addresses that are not `s3://bucket/...`.
"""

import re

from bintally.cloud.project import Project
from bintally.errors import SettingsError

DATASETS = "datasets"
WEIGHTS = "weights"
JOBS = "jobs"
CHECKPOINTS = "checkpoints"
MODELS = "models"
BATCHES = "batches"
CAPTURES = "captures"
PREFIXES = (DATASETS, WEIGHTS, JOBS, CHECKPOINTS, MODELS, BATCHES, CAPTURES)
"""Everything that a project's role may read and write."""


def dataset_url(project: Project, dataset: str) -> str:
    """A dataset by its name or address.

    >>> from bintally.cloud.project import Project
    >>> image, role = "1.dkr.ecr/x:y", "arn:aws:iam::123456789012:role/r"
    >>> bins = Project(
    ...     project="bins", region="us-east-1", bucket="b-ins", role_arn=role, train_image=image, serve_image=image
    ... )
    >>> dataset_url(bins, "abid"), dataset_url(bins, "s3://other/abid/")
    ('s3://b-ins/datasets/abid', 's3://other/abid')
    """
    if "://" in dataset:
        bucket, key = parse_url(dataset)
        return f"s3://{bucket}/{key}".rstrip("/")
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}", dataset):
        raise SettingsError(f"dataset {dataset!r}: expected a name of letters, digits, '.', '_', '-', or s3://...")
    return f"{project.url}/{DATASETS}/{dataset}"


def checkpoints_url(project: Project, job: str) -> str:
    """Where a job's unfinished state is copied to."""
    return f"{project.url}/{CHECKPOINTS}/{job}"


def jobs_url(project: Project) -> str:
    """Below it SageMaker makes a folder for each job: `JOB/output/model.tar.gz`, `JOB/output/output.tar.gz`."""
    return f"{project.url}/{JOBS}"


def captures_url(project: Project, endpoint: str) -> str:
    """Where what an endpoint was asked and answered is kept."""
    return f"{project.url}/{CAPTURES}/{endpoint}"


def batches_url(project: Project, job: str) -> str:
    """Where a transform job's answers lie."""
    return f"{project.url}/{BATCHES}/{job}"


def parse_url(url: str) -> tuple[str, str]:
    """Bucket and key.

    Raises:
        SettingsError: if it is no address in S3.

    >>> parse_url("s3://bins/jobs/a/")
    ('bins', 'jobs/a/')
    """
    found = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", url, re.DOTALL)
    if found is None or re.search(r"[\x00-\x1f?#]", found[2] or ""):
        raise SettingsError(f"{url!r}: expected an address such as s3://bucket/folder")
    return found[1], found[2] or ""
