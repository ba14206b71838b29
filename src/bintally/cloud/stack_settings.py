"""What `bootstrap` is asked to make, checked before a template is written.

Refuses a budget without somebody to tell, Studio without a network, and names that AWS would not take.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from bintally.cloud.project import check_project
from bintally.errors import SettingsError

_MOST_TELLERS = 10
_PLACEHOLDER_ACCOUNT = "000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """When somebody is told.

    Attributes:
        usd_month: what SageMaker, S3, ECR and CloudWatch may cost in a month.
        emails: who is told at 50 and 80 %, and when the month is forecast to pass 100 %.
    """

    usd_month: float
    emails: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what nobody would hear of."""
        if not self.usd_month > 0:
            raise SettingsError(f"--budget: expected USD a month, more than 0, got {self.usd_month:g}")
        if not 1 <= len(self.emails) <= _MOST_TELLERS:
            raise SettingsError(f"--email: a budget tells 1 to {_MOST_TELLERS} addresses, got {len(self.emails)}")
        if bad := [each for each in self.emails if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", each)]:
            raise SettingsError(f"--email {bad[0]!r}: expected an address such as ann@example.org")


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """A Studio domain with one user, whose applications stop when idle."""

    vpc: str
    subnets: tuple[str, ...]
    user: str = "bintally"
    idle_minutes: int = 60

    def __post_init__(self) -> None:
        """Refuse a domain that CloudFormation would refuse after minutes."""
        if not re.fullmatch(r"vpc-[0-9a-z]+", self.vpc) or not self.subnets:
            raise SettingsError("--studio needs a network: --vpc vpc-... and at least one --subnet subnet-...")
        if not re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", self.user):
            raise SettingsError(f"--studio-user {self.user!r}: expected letters, digits and single hyphens")
        if not 60 <= self.idle_minutes <= 525_600:  # noqa: PLR2004 - what Studio takes
            raise SettingsError(f"--idle-minutes: Studio takes 60 to 525600, got {self.idle_minutes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notebook:
    """A notebook instance that stops when idle."""

    instance_type: str = "ml.t3.medium"
    volume_gb: int = 20
    idle_minutes: int = 60

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.idle_minutes < 5:  # noqa: PLR2004 - how often it is looked
            raise SettingsError(f"--idle-minutes: it is looked every 5 minutes; got {self.idle_minutes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    """What a project's stack holds.

    Attributes:
        kms_key: encrypts the bucket and jobs' volumes; empty: keys that AWS manages.
        subnets, security_groups: where jobs run; none: outside any VPC of yours.
        checkpoint_days: after so many days unfinished state is removed from the bucket.
        tags: on everything, besides Bintally's own.
    """

    project: str
    budget: Budget | None
    studio: Studio | None = None
    notebook: Notebook | None = None
    kms_key: str = ""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    checkpoint_days: int = 30
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what the project's file would not hold."""
        if self.checkpoint_days < 1:
            raise SettingsError(f"--checkpoint-days: expected 1 or more, got {self.checkpoint_days}")
        check_project(
            {
                "project": self.project,
                "region": "us-east-1",
                "bucket": f"bintally-{self.project}" if re.fullmatch("[a-z0-9-]+", self.project) else "bintally",
                "role_arn": f"arn:aws:iam::{_PLACEHOLDER_ACCOUNT}:role/x",
                "train_image": "x",
                "serve_image": "x",
                "subnets": self.subnets,
                "security_groups": self.security_groups,
                "kms_key": self.kms_key,
                "tags": dict(self.tags),
            },
            name="bootstrap",
        )

    @property
    def stack_name(self) -> str:
        """CloudFormation's name for it."""
        return f"bintally-{self.project}"
