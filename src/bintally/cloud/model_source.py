"""Where the model of an endpoint or a batch transform comes from: a training job, an archive, or a run on this machine.

A local model is packed and put into the bucket under its own hash, so that the same model is sent once. Refuses jobs
that left no model.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from bintally.cloud.job_kinds import JOB_KINDS
from bintally.cloud.job_state import read_state
from bintally.cloud.names import Kind, kind_of
from bintally.cloud.places import MODELS, jobs_url, parse_url
from bintally.cloud.project import Project
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.cloud.tuning_state import describe_request
from bintally.errors import JobError, ModelError, NotInCloudError, SettingsError
from bintally.inference.archive import ARCHIVE_NAME, SUFFIX, pack_model, unpack_model

LONGEST_BYTES = 5 * 10**9  # of one PutObject
_CHUNK = 1 << 20
_ENDING = "output/model.tar.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What was named.

    Attributes:
        url: where the archive lies, or will.
        local: the archive, run or model file on this machine; None: it is in the cloud already.
        job: the training or tuning job that makes it; empty: none.
        tuning: whether it is a tuning job; its best job's model is meant then.
    """

    url: str
    local: Path | None = None
    job: str = ""
    tuning: bool = False


def find_source(project: Project, model: str) -> Source:
    """What `model` names: nothing is asked or sent.

    A local model's address depends on its bytes; until they are packed it is told with `...` in their place.

    Raises:
        SettingsError: if it is neither a job of the project's, nor an archive, nor a run or model file that is there.
    """
    if "://" in model:
        parse_url(model)
        if not model.endswith(SUFFIX):
            raise SettingsError(f"{model}: expected an archive that ends in {SUFFIX}, as a training job leaves it")
        return Source(url=model)
    if (kind := kind_of(model, project.project)) in (Kind.TRAIN, Kind.TUNE):
        return Source(url=f"{jobs_url(project)}/{model}/{_ENDING}", job=model, tuning=kind is Kind.TUNE)
    path = Path(model)
    if not path.exists():
        raise SettingsError(
            f"{model}: expected a training job's name, s3://.../model{SUFFIX}, or a run, model file or archive that is "
            "there. `bintally sagemaker status` lists jobs"
        )
    return Source(url=f"{project.url}/{MODELS}/.../{ARCHIVE_NAME}", local=path)


def upload_request(url: str, body: IO[bytes] | str) -> Request:
    """Puts an archive into the bucket."""
    bucket, key = parse_url(url)
    return Request(service="s3", operation="PutObject", parameters={"Bucket": bucket, "Key": key, "Body": body})


def source_requests(source: Source) -> list[Request]:
    """What `ready_model` asks."""
    if source.local is not None:
        return [upload_request(source.url, f"the archive of {source.local}")]
    if source.job:
        return [JOB_KINDS[Kind.TUNE if source.tuning else Kind.TRAIN].describe(source.job)]
    return [_head(source.url)]


def ready_model(cloud: Cloud, project: Project, source: Source, *, say: Callable[[str], None]) -> str:
    """The archive's address, once it is there; of a tuning job, its best job's.

    Raises:
        JobError: if the job left no model.
        ModelError: if a local model is missing or damaged.
        CloudError: if the archive is not there, or cannot be put there.
    """
    if source.local is not None:
        return _upload(cloud, project, source.local, say)
    if source.job:
        return _of_job(cloud, source, say)
    cloud.send(_head(source.url))
    return source.url


def _of_job(cloud: Cloud, source: Source, say: Callable[[str], None]) -> str:
    name = source.job
    if source.tuning:
        best = cloud.send(describe_request(name)).get("BestTrainingJob", {}).get("TrainingJobName")
        if not best:
            raise JobError(f"{name}: none of its jobs came to its end. `bintally sagemaker report {name}` says why")
        say(f"best job of {name}: {best}")
        name = best
    kind = JOB_KINDS[Kind.TRAIN]
    state = read_state(kind, cloud.send(kind.describe(name)))
    if state.status != "Completed":
        why = f": {state.reason}" if state.reason else ""
        raise JobError(f"{name} left no model: it is {state.status}{why}. Name a job that is completed")
    return state.model_url


def _upload(cloud: Cloud, project: Project, path: Path, say: Callable[[str], None]) -> str:
    with TemporaryDirectory() as folder:
        archive = path
        if path.name.endswith(SUFFIX):
            unpack_model(path, Path(folder))  # it must hold one
        else:
            archive = pack_model(path, Path(folder) / ARCHIVE_NAME)
        size = archive.stat().st_size
        if size > LONGEST_BYTES:
            raise ModelError(f"{archive}: expected at most {LONGEST_BYTES / 1e9:g} GB, got {size / 1e9:.1f}")
        url = f"{project.url}/{MODELS}/{_digest(archive)}/{ARCHIVE_NAME}"
        try:
            cloud.send(_head(url))
        except NotInCloudError:
            say(f"sending {path}, {size / 1e6:,.1f} MB, to {url}")
            _put(cloud, url, archive)
        return url


def _put(cloud: Cloud, url: str, archive: Path) -> None:
    with archive.open("rb") as body:
        cloud.send(upload_request(url, body))


def _digest(archive: Path) -> str:
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()[:16]


def _head(url: str) -> Request:
    bucket, key = parse_url(url)
    parameters: dict[str, Any] = {"Bucket": bucket, "Key": key}
    return Request(service="s3", operation="HeadObject", parameters=parameters)
