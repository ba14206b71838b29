"""What a batch transform answered, joined with what it was asked: one Parquet file, a row for each photo.

Refuses to leave a photo out: one that was not answered has a row that says why.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from bintally.cloud.job_kinds import JOB_KINDS
from bintally.cloud.logs import LogTail
from bintally.cloud.names import Kind
from bintally.cloud.places import parse_url
from bintally.cloud.refusals import container_sentence
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.data.files import cannot_write, whole_file
from bintally.errors import CloudAccessError, CloudError, NotInCloudError

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "photo": pl.String,
    "count": pl.Int64,
    "probabilities": pl.List(pl.Float64),
    "interval": pl.List(pl.Int64),
    "mean": pl.Float64,
    "error": pl.String,
}
_AT_ONCE = 16
_SHOWN = 5  # errors in the terminal
_OUT = ".out"
_NO_ANSWER = "not answered: the job ended before"
_SAID = re.compile(r"\[sagemaker logs\]: (?P<key>\S+/.*?): (?P<text>.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What was fetched.

    Attributes:
        counted: photos with a count.
        failed: photos with an error.
        first_errors: the first of them, with their reasons, in words.
    """

    path: Path
    counted: int
    failed: int
    first_errors: tuple[str, ...]


def list_request(url: str) -> Request:
    """Asks for what lies below an address."""
    bucket, prefix = parse_url(url)
    return Request(service="s3", operation="ListObjectsV2", parameters={"Bucket": bucket, "Prefix": prefix})


def list_keys(cloud: Cloud, url: str) -> dict[str, int]:
    """Names below a prefix, with their bytes; folders' own marks left out.

    Raises:
        CloudError: if the bucket does not say.
    """
    _, prefix = parse_url(url)
    pages = cloud.pages(
        list_request(url), items="Contents", following="ContinuationToken", named="NextContinuationToken"
    )
    return {each["Key"].removeprefix(prefix): each["Size"] for each in pages if not each["Key"].endswith("/")}


def write_answers(
    cloud: Cloud,
    said: Mapping[str, Any],
    path: Path,
    *,
    complain: Callable[[str], None],
    on_object: Callable[[int, int], None] = lambda _done, _of: None,
) -> Answers:
    """Fetch what a transform job answered and write it as one Parquet file.

    Args:
        cloud: the account.
        said: what DescribeTransformJob answered.
        path: of the file.
        complain: told what could not be read.
        on_object: told how many of how many objects are done.

    Raises:
        CloudError: if AWS cannot be asked.
        CannotWriteError: if the file cannot be written.
    """
    source = said["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
    output = f"{said['TransformOutput']['S3OutputPath'].rstrip('/')}/"
    lines = said["TransformInput"].get("SplitType", "None") == "Line"
    asked = sorted(list_keys(cloud, source))
    answered = set(list_keys(cloud, output))
    reasons = _reasons(cloud, said, source, complain)

    def rows_of(name: str) -> list[dict[str, Any]]:
        if f"{name}{_OUT}" not in answered:
            return [{"photo": name, "error": reasons.get(name, _NO_ANSWER)}]
        return list(read_answer(name, _fetch(cloud, f"{output}{name}{_OUT}"), lines=lines))

    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done, found in enumerate(pool.map(rows_of, asked), start=1):
            rows += found
            on_object(done, len(asked))
    return _write(rows, path)


def read_answer(name: str, body: bytes, *, lines: bool) -> Iterator[dict[str, Any]]:
    """The rows of one object's answer; empty lines are left out.

    >>> next(read_answer("a.jpg", b'{"count": 1, "probabilities": [0, 1], "interval": [1, 1], "mean": 1}', lines=False))
    {'photo': 'a.jpg', 'count': 1, 'probabilities': [0, 1], 'interval': [1, 1], 'mean': 1}
    """
    texts = [line for line in body.decode("utf-8", "replace").splitlines() if line.strip()]
    for place, line in enumerate(texts, start=1):
        label = f"{name}#{place}" if lines else name
        try:
            said = json.loads(line)
            fields = {key: said[key] for key in SCHEMA if key in said and key not in ("photo", "error")}
            error = said.get("error")
        except (ValueError, TypeError, AttributeError):
            fields, error = {}, {"message": f"expected a prediction, got {line[:80]!r}"}
            said = {}
        row = {"photo": said.get("photo", label), **fields}
        yield row if error is None else {"photo": row["photo"], "error": str(error.get("message", error))}


def read_reasons(lines: Iterable[str], bucket_and_prefix: str) -> dict[str, str]:
    """What a job's data log says went wrong with which object, by name.

    Source of its form: "Batch Transform Errors" in SageMaker's developer guide.

    >>> said = "2026-02-03T04:05:06.789:[sagemaker logs]: b/photos/a.jpg: "
    >>> lines = [said + "ClientError: 415", said, said + "Message:", said + '{"error": {"message": "no photo"}}']
    >>> read_reasons(lines, "b/photos/")
    {'a.jpg': 'no photo'}
    """
    texts: dict[str, list[str]] = {}
    for line in lines:
        if (found := _SAID.search(line)) and found["key"].startswith(bucket_and_prefix):
            texts.setdefault(found["key"].removeprefix(bucket_and_prefix), []).append(found["text"].strip())
    return {name: reason for name, said in texts.items() if (reason := _reason(said))}


def _reason(said: Sequence[str]) -> str:
    words = [text for text in said if text and text != "Message:"]
    answered = [text for text in words if not re.match(r"\w*Error: \d+$", text)]
    return container_sentence(answered[-1]).removeprefix("photo: ") if answered else " ".join(words)


def _reasons(cloud: Cloud, said: Mapping[str, Any], source: str, complain: Callable[[str], None]) -> dict[str, str]:
    if said["TransformJobStatus"] == "Completed":
        return {}
    tail = LogTail(cloud, JOB_KINDS[Kind.BATCH].log_group, said["TransformJobName"])
    lines: list[str] = []
    try:
        while new := [line.text for line in tail.new_lines()]:
            lines += new
    except CloudAccessError as error:
        complain(f"why photos were not answered cannot be read: {error}")
    bucket, prefix = parse_url(source)
    return read_reasons(lines, f"{bucket}/{prefix}")


def _fetch(cloud: Cloud, url: str) -> bytes:
    bucket, key = parse_url(url)
    try:
        return cloud.read(Request(service="s3", operation="GetObject", parameters={"Bucket": bucket, "Key": key}))
    except NotInCloudError as error:
        raise CloudError(f"{url}: was there a moment ago: {error}") from error


def _write(rows: Sequence[Mapping[str, Any]], path: Path) -> Answers:
    columns = {name: [row.get(name) for row in rows] for name in SCHEMA}
    frame = pl.DataFrame(columns, schema=pl.Schema(SCHEMA))
    try:
        with whole_file(path) as part:
            frame.write_parquet(part)
    except OSError as error:
        raise cannot_write(path, error) from error
    errors = [f"{row['photo']}: {row['error']}" for row in rows if row.get("error") is not None]
    said = [text for text in errors if not text.endswith(_NO_ANSWER)] or errors
    return Answers(path=path, counted=frame.height - len(errors), failed=len(errors), first_errors=tuple(said[:_SHOWN]))
