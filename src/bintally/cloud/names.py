"""How everything that a project makes is named and tagged, so that it is found again and taken for nobody else's.

A name is the project's, the kind, the moment (UTC) and four hex digits of what was asked for. A tuning job's may have
32 characters only, so its moment is four digits, too. Which names a project may have, `project` says.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum

PROJECT_TAG = "bintally:project"
KIND_TAG = "bintally:kind"
MADE_BY_TAG = "bintally:created-by"
SETTINGS_TAG = "bintally:settings"  # of a tuning job, and by AWS's hand of its jobs: its hash of settings and space
LONGEST_PROJECT = 18  # so that a tuning job's name has no more than 32 characters


class Kind(StrEnum):
    """What a project makes in the account."""

    PREPARE = "prepare"
    TRAIN = "train"
    TUNE = "tune"
    MODEL = "model"
    CONFIG = "config"  # an endpoint's configuration
    ENDPOINT = "endpoint"
    BATCH = "batch"
    STACK = "stack"


_TIMED = tuple(kind.value for kind in Kind if kind not in (Kind.TUNE, Kind.STACK))


def resource_name(project: str, kind: Kind, *, content: object, when: datetime) -> str:
    """The name of what is made at `when`.

    Args:
        project: the project's name.
        kind: what it is.
        content: what was asked for: the same, at the same second, is the same name; of a tuning job at the same
            microsecond, and once in 65,536 at another: SageMaker refuses a name that is there.
        when: with its time zone.

    >>> resource_name("bins", Kind.TRAIN, content={"epochs": 3}, when=datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC))
    'bins-train-20260203-040506-3ff8'
    >>> resource_name("bins", Kind.TUNE, content={"epochs": 3}, when=datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC))
    'bins-tune-f9b63ff8'
    """
    moment = f"{when.astimezone(UTC):%Y%m%d-%H%M%S}"
    if kind is Kind.TUNE:
        return f"{project}-{kind}-{_digits(moment, when.microsecond)[:4]}{_digits(content)[:4]}"
    return f"{project}-{kind}-{moment}-{_digits(content)[:4]}"


def kind_of(name: str, project: str) -> Kind | None:
    """What kind of thing of the project's bears a name; None: it is not the project's.

    >>> kind_of("bins-train-20260203-040506-ffd4", "bins"), kind_of("bins-b-train-20260203-040506-ffd4", "bins")
    (<Kind.TRAIN: 'train'>, None)
    >>> kind_of("bins-tune-0a1b2c3d-004-5e6f7a8b", "bins")  # a job of the tuner's
    <Kind.TRAIN: 'train'>
    """
    own = re.escape(project)
    if found := re.fullmatch(rf"{own}-({'|'.join(_TIMED)})-\d{{8}}-\d{{6}}-[0-9a-f]{{4}}", name):
        return Kind(found[1])
    if re.fullmatch(rf"{own}-tune-[0-9a-f]{{8}}", name):
        return Kind.TUNE
    return Kind.TRAIN if re.fullmatch(rf"{own}-tune-[0-9a-f]{{8}}-\d{{3}}-[0-9a-f]+", name) else None


def tags(project: str, kind: Kind, more: Mapping[str, str] | None = None) -> list[dict[str, str]]:
    """What is written on everything that a project makes.

    >>> tags("bins", Kind.TRAIN, {"team": "vision"})[-1]
    {'Key': 'team', 'Value': 'vision'}
    """
    ours = {PROJECT_TAG: project, KIND_TAG: kind.value, MADE_BY_TAG: "bintally"}
    return [{"Key": key, "Value": value} for key, value in {**ours, **(more or {})}.items()]


def tagged(found: Sequence[Mapping[str, str]], project: str) -> bool:
    """Whether tags say that something is the project's."""
    return any(tag["Key"] == PROJECT_TAG and tag["Value"] == project for tag in found)


def _digits(*content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()
