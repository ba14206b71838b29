"""What a job may cost: the price table that comes with Bintally, or a price that the user gives, times its time.

Refuses to guess a price: an instance that is not in the table has none, and the forecast says so.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field

from bintally.errors import SettingsError

_FILE = "prices.toml"
_GPU_FAMILIES = re.compile(r"ml\.(p\d|g\d|gr\d)")
_NVME_FAMILIES = re.compile(r"ml\.(g4dn|g5|g6|gr6|p4|p5|p6|[cmr]\d+\w*d|trn|p3dn|i\d)")
_NAME = re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9]+")
_SECONDS = 3600
_HOURS_IN_MONTH = 730


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Instance(_Row):
    """One row of the table; prices in USD, us-east-1."""

    usd_hour: float = Field(gt=0)
    vcpus: int
    memory_gib: int
    gpus: int = 0
    nvme: bool = False


class Storage(_Row):
    """What keeping things costs, in USD."""

    volume_gb_month: float
    bucket_gb_month: float
    image_gb_month: float
    log_gb: float


class Serverless(_Row):
    """What an endpoint without instances costs, in USD."""

    gb_second: float = Field(gt=0)


class PriceTable(_Row):
    """The table that comes with Bintally.

    Attributes:
        as_of: year and month of the figures.
        spot_share: what spot is taken to cost of the on-demand price: an assumption.
    """

    as_of: str
    source: str
    spot_share: float = Field(gt=0, le=1)
    storage: Storage
    serverless: Serverless
    instances: dict[str, Instance]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a job costs, in USD; None where no price is known.

    Attributes:
        usd_hour: all its instances, for one hour, on demand.
        at_most_usd: on demand, if it takes all the time that it may, with its volumes.
        spot_at_most_usd: the same as spot, by the assumed share; None also where it is not spot.
        price_from: where the price is from.
    """

    usd_hour: float | None
    at_most_usd: float | None
    spot_at_most_usd: float | None
    price_from: str


@cache
def price_table() -> PriceTable:
    """The table that comes with Bintally."""
    return PriceTable.model_validate(tomllib.loads((files(__package__) / _FILE).read_text(encoding="utf-8")))


def forecast(
    instance_type: str,
    *,
    count: int,
    hours: float,
    spot: bool = False,
    volume_gb: int = 0,
    usd_hour: float | None = None,
) -> Forecast:
    """What `count` instances cost for at most `hours`.

    Where the user knows better than the table, `usd_hour` is one instance's price.

    >>> forecast("ml.m5.xlarge", count=2, hours=10, usd_hour=0.25).at_most_usd
    5.0
    """
    table = price_table()
    row = table.instances.get(instance_type)
    price = usd_hour if usd_hour is not None else row.usd_hour if row else None
    told = "as given with --price" if usd_hour is not None else f"{table.source}, {table.as_of}"
    if price is None:
        return Forecast(usd_hour=None, at_most_usd=None, spot_at_most_usd=None, price_from="not in the table: --price")
    volumes = table.storage.volume_gb_month * volume_gb * count * hours / _HOURS_IN_MONTH
    at_most = price * count * hours + volumes
    return Forecast(
        usd_hour=price * count,
        at_most_usd=at_most,
        spot_at_most_usd=price * count * hours * table.spot_share + volumes if spot else None,
        price_from=told,
    )


def price_of(instance_type: str) -> float | None:
    """USD an hour for one instance, on demand, by the table; None where it is not in it.

    >>> price_of("ml.m5.xlarge"), price_of("ml.p9.metal")
    (0.23, None)
    """
    row = price_table().instances.get(instance_type)
    return row.usd_hour if row else None


def billed_usd(billable_seconds: int, *, count: int, instance_type: str, usd_hour: float | None = None) -> float | None:
    """What a job cost by its billable seconds, at the on-demand price; None where no price is known.

    Of a spot job, SageMaker has reduced the seconds instead of the price.

    >>> billed_usd(1800, count=2, instance_type="ml.m5.xlarge", usd_hour=0.25)
    0.25
    """
    row = price_table().instances.get(instance_type)
    price = usd_hour if usd_hour is not None else row.usd_hour if row else None
    return None if price is None else price * count * billable_seconds / _SECONDS


def serverless_usd(memory_mb: int, *, seconds: float) -> float:
    """What an endpoint without instances costs while it answers for so long.

    >>> round(serverless_usd(4096, seconds=1000), 4)
    0.08
    """
    return price_table().serverless.gb_second * memory_mb / 1024 * seconds


def check_instance_type(name: str) -> str:
    """An instance type's name, as SageMaker spells them.

    Raises:
        SettingsError: if it is spelled otherwise.

    >>> check_instance_type("ml.g4dn.xlarge")
    'ml.g4dn.xlarge'
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(f"--instance-type {name!r}: expected a name of SageMaker's such as ml.g4dn.xlarge")
    return name


def has_gpu(instance_type: str) -> bool:
    """By the table, or by the family's name where it is not in the table.

    >>> has_gpu("ml.g4dn.xlarge"), has_gpu("ml.m5.large"), has_gpu("ml.p9.metal")
    (True, False, True)
    """
    row = price_table().instances.get(instance_type)
    return row.gpus > 0 if row else _GPU_FAMILIES.match(instance_type) is not None


def has_nvme(instance_type: str) -> bool:
    """Whether it has a disk of its own, for which SageMaker takes no key of yours.

    >>> has_nvme("ml.g5.xlarge"), has_nvme("ml.p3.2xlarge"), has_nvme("ml.m6id.large")
    (True, False, True)
    """
    row = price_table().instances.get(instance_type)
    return row.nvme if row else _NVME_FAMILIES.match(instance_type) is not None
