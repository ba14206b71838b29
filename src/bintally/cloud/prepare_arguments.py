"""What a processing job's container is told: the arguments of `cloud.container.prepare`, written and read here.

Refuses arguments it does not know, and what SageMaker would not pass on.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Never

from bintally.errors import SettingsError

_LONGEST = 256  # of one argument


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSettings:
    """What is done to a dataset in the cloud: ingest, audit, split, reduce where asked, push.

    Attributes:
        source: what to ingest: `s3://bucket/prefix`.
        dest: where the dataset is pushed to.
        keys: only these photos: `00001-00500`; empty: all.
        limit: at most so many photos; 0: no limit.
        side_px: photos are reduced to squares of so many pixels; 0: they stay as they came.
        salt: of the splits; empty: the usual one.
        replace: whether a dataset that lies at `dest` may be overwritten.
    """

    source: str
    dest: str
    keys: str = ""
    limit: int = 0
    side_px: int = 0
    salt: str = ""
    replace: bool = False


def format_arguments(settings: PrepareSettings) -> list[str]:
    """As the container gets them.

    Raises:
        SettingsError: if one is too long for SageMaker.

    >>> format_arguments(PrepareSettings(source="s3://a-b/", dest="s3://c-d/e", limit=3))
    ['--source=s3://a-b/', '--dest=s3://c-d/e', '--limit=3']
    """
    said = [f"--source={settings.source}", f"--dest={settings.dest}"]
    values = {"keys": settings.keys, "limit": settings.limit, "side-px": settings.side_px, "salt": settings.salt}
    said += [f"--{name}={value}" for name, value in values.items() if value]
    said += ["--replace"] if settings.replace else []
    if long := [each for each in said if len(each) > _LONGEST]:
        raise SettingsError(f"{long[0]}: SageMaker passes on arguments of {_LONGEST} characters, got {len(long[0])}")
    return said


def parse_arguments(arguments: Sequence[str]) -> PrepareSettings:
    """Read them back.

    Raises:
        SettingsError: if one is missing or unknown.

    >>> parse_arguments(["--source=s3://a-b/", "--dest=s3://c-d/e"]).limit
    0
    """
    parser = _Parser(prog="prepare", allow_abbrev=False, add_help=False)
    parser.add_argument("--source", required=True)
    parser.add_argument("--dest", required=True)
    parser.add_argument("--keys", default="")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--side-px", type=int, default=0)
    parser.add_argument("--salt", default="")
    parser.add_argument("--replace", action="store_true")
    return PrepareSettings(**vars(parser.parse_args(list(arguments))))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        raise SettingsError(f"the processing job's arguments: {message}")
