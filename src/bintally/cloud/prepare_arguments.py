"""What a processing job's container is told: the arguments of `cloud.container.prepare`, written and read here.

Refuses arguments it does not know, and what SageMaker would not pass on.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Never

from bintally.errors import SettingsError

_LONGEST = 256  # of one argument
_NO_COUNTS = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSettings:
    """What is done to a dataset in the cloud: ingest, split, audit, reduce where asked, push.

    Attributes:
        source: what to ingest: `s3://bucket/prefix`.
        dest: where the dataset is pushed to.
        keys: only these photos: `00001-00500`; empty: all.
        limit: at most so many photos; 0: no limit.
        side_px: photos are reduced to squares of so many pixels; 0: they stay as they came.
        salt: of the splits; empty: the usual one.
        required_counts: every split must hold a photo of each; None: those of 1-5 that occur.
        replace: whether a dataset that lies at `dest` may be overwritten.
        file_list: a `file_list.json` in the container: only the photos on it; empty: none.
        region: of the source's bucket; empty: the container's own.
        anonymous: whether the source is read without credentials; None: so for the public ABID bucket only.
    """

    source: str
    dest: str
    keys: str = ""
    limit: int = 0
    side_px: int = 0
    salt: str = ""
    required_counts: tuple[int, ...] | None = None
    replace: bool = False
    file_list: str = ""
    region: str = ""
    anonymous: bool | None = None


def format_arguments(settings: PrepareSettings) -> list[str]:
    """As the container gets them.

    Raises:
        SettingsError: if one is too long for SageMaker.

    >>> format_arguments(PrepareSettings(source="s3://a-b/", dest="s3://c-d/e", limit=3))
    ['--source=s3://a-b/', '--dest=s3://c-d/e', '--limit=3']
    """
    said = [f"--source={settings.source}", f"--dest={settings.dest}"]
    values = {
        "keys": settings.keys,
        "limit": settings.limit,
        "side-px": settings.side_px,
        "salt": settings.salt,
        "require-counts": _format_counts(settings.required_counts),
        "file-list": settings.file_list,
        "region": settings.region,
    }
    said += [f"--{name}={value}" for name, value in values.items() if value]
    said += ["--replace"] if settings.replace else []
    if settings.anonymous is not None:
        said.append("--anonymous" if settings.anonymous else "--signed")
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
    parser.add_argument("--require-counts", dest="required_counts", type=_parse_counts)
    parser.add_argument("--replace", action="store_true")
    parser.add_argument("--file-list", default="")
    parser.add_argument("--region", default="")
    parser.add_argument("--anonymous", action="store_true", default=None)
    parser.add_argument("--signed", dest="anonymous", action="store_false", default=None)
    return PrepareSettings(**vars(parser.parse_args(list(arguments))))


def _format_counts(counts: Sequence[int] | None) -> str:
    """Counts as one argument carries them; empty: nothing is said.

    >>> _format_counts((0, 1, 2)), _format_counts(()), _format_counts(None)
    ('0,1,2', 'none', '')
    """
    return "" if counts is None else ",".join(map(str, counts)) or _NO_COUNTS


def _parse_counts(text: str) -> tuple[int, ...]:
    return () if text == _NO_COUNTS else tuple(int(count) for count in text.split(","))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        raise SettingsError(f"the processing job's arguments: {message}")
