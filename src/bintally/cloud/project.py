"""`bintally-sagemaker.toml`: what the verbs need to know of a project in the cloud, written by `bootstrap`.

Refuses unknown keys, names that AWS would not take, and credentials: there is no place for them.
"""

import json
import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bintally.cloud.names import LONGEST_PROJECT
from bintally.data.files import cannot_write, whole_file
from bintally.errors import SettingsError

FILE_NAME = "bintally-sagemaker.toml"
_OWN_TAGS = "bintally:"
_BY_HAND = ("train_image", "serve_image", "encrypt_traffic", "isolated")  # what `bootstrap` has no option for
_ROLE = r"^arn:aws[a-z\-]*:iam::\d{12}:role/[\w+=,.@/-]+$"
_KMS = r"^[a-zA-Z0-9:/_-]+$"


class Project(BaseModel):
    """The settings of one project in one region.

    Attributes:
        project: its name: part of all names, and a tag on everything.
        region: where everything is.
        bucket: for datasets, jobs, checkpoints and models.
        role_arn: what jobs run as.
        train_image: of training and processing jobs, in ECR.
        serve_image: of endpoints and batch transforms, in ECR.
        subnets: where jobs run; none: outside any VPC of yours.
        security_groups: likewise.
        kms_key: encrypts volumes and outputs; empty: AWS's own keys do.
        encrypt_traffic: whether what instances of one job say to each other is encrypted: slower.
        isolated: whether containers have no network but each other.
        tags: on everything, besides Bintally's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: Annotated[str, Field(pattern=rf"^[a-z][a-z0-9-]{{0,{LONGEST_PROJECT - 2}}}[a-z0-9]$")]
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d{1,2}$")]
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    role_arn: Annotated[str, Field(pattern=_ROLE, max_length=2048)]
    train_image: Annotated[str, Field(min_length=1, max_length=255)]
    serve_image: Annotated[str, Field(min_length=1, max_length=255)]
    subnets: Annotated[tuple[Annotated[str, Field(pattern=r"^subnet-[0-9a-z]+$")], ...], Field(max_length=16)] = ()
    security_groups: Annotated[tuple[Annotated[str, Field(pattern=r"^sg-[0-9a-z]+$")], ...], Field(max_length=5)] = ()
    kms_key: Annotated[str, Field(pattern=rf"{_KMS}|^$", max_length=2048)] = ""
    encrypt_traffic: bool = False
    isolated: bool = False
    tags: dict[str, str] = Field(default_factory=dict, max_length=40)

    @field_validator("project")
    @classmethod
    def _no_double_hyphens(cls, project: str) -> str:
        if "--" in project:
            raise ValueError("expected single hyphens: SageMaker takes no others")
        return project

    @field_validator("tags")
    @classmethod
    def _not_ours(cls, tags: dict[str, str]) -> dict[str, str]:
        if taken := [key for key in tags if key.lower().startswith((_OWN_TAGS, "aws:"))]:
            raise ValueError(f"expected keys that begin neither with {_OWN_TAGS} nor with aws:, got {', '.join(taken)}")
        return tags

    @model_validator(mode="after")
    def _whole_vpc(self) -> Self:
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("subnets and security_groups: expected both or neither")
        return self

    @property
    def url(self) -> str:
        """The bucket's, without a slash at its end."""
        return f"s3://{self.bucket}"


def read_project(path: Path) -> Project:
    """Read a project's file.

    Raises:
        SettingsError: if it is missing, or naming each wrong key and what was expected.
    """
    try:
        return check_project(tomllib.loads(path.read_text(encoding="utf-8")), name=str(path))
    except FileNotFoundError as error:
        raise SettingsError(
            f"{path}: not there. `bintally sagemaker bootstrap NAME` writes it; --project names another file"
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read as a project's file ({error})") from error


def check_project(values: dict[str, object], *, name: str) -> Project:
    """Build a project's settings from plain values.

    Raises:
        SettingsError: naming `name`, each wrong key and what was expected.
    """
    try:
        return Project.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise SettingsError(f"{name}: {faults}. docs/sagemaker.md explains every key") from error


def keep_by_hand(project: Project, path: Path) -> Project:
    """A project with what stands in its file by hand, where it has one already."""
    if not path.exists():
        return project
    before = read_project(path)
    return project.model_copy(update={name: getattr(before, name) for name in _BY_HAND})


def check_own_file(path: Path, project: str) -> None:
    """Refuse a file in which another project stands.

    Raises:
        SettingsError: naming that project; or if the file is none of a project's.
    """
    if path.exists() and (before := read_project(path).project) != project:
        raise SettingsError(f"{path}: the file of project {before}. To do: name another for {project} with --project")


def write_project(path: Path, project: Project) -> None:
    """Write a project's file, whole or not at all.

    Raises:
        CannotWriteError: if it cannot be written.
    """
    lines = [
        "# Written by `bintally sagemaker bootstrap`; docs/sagemaker.md explains every key. No secrets belong here."
    ]
    values = project.model_dump(mode="json")
    tags = values.pop("tags")
    lines += [f"{key} = {_toml(value)}" for key, value in values.items()]
    if tags:
        lines += ["", "[tags]", *(f"{_toml(key)} = {_toml(value)}" for key, value in tags.items())]
    try:
        with whole_file(path) as part:
            part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error


def _toml(value: object) -> str:
    """JSON's strings, lists and truths are TOML's, but for one character.

    >>> _toml(["a", "b"]), _toml(True)
    ('["a", "b"]', 'true')
    """
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
