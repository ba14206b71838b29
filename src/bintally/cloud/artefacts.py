"""What a job left in the bucket, fetched and unpacked: the model's archive and the reports'; or the audit's page.

Refuses members that would land outside the folder, links and devices, and archives larger than can be meant.
"""

import gzip
import tarfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError

from bintally.cloud.job_state import JobState
from bintally.cloud.places import parse_url
from bintally.cloud.refusals import translate
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.data.files import cannot_write, whole_file
from bintally.errors import CloudError, NotInCloudError

_CHUNK = 1 << 20
_MOST_BYTES = 50 << 30  # unpacked
_MOST_FILES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefacts:
    """What was fetched.

    Attributes:
        files: unpacked, below `folder`, sorted.
        missing: addresses at which there was nothing.
    """

    folder: Path
    files: tuple[Path, ...]
    missing: tuple[str, ...]


def fetch_artefacts(
    cloud: Cloud, state: JobState, folder: Path, *, on_bytes: Callable[[int], None] = lambda _: None
) -> Artefacts:
    """Fetch and unpack what a job left into `folder`; `on_bytes` is told of every chunk that came.

    Raises:
        CloudError: if the bucket does not give it, or an archive holds what it must not.
        CannotWriteError: if the folder cannot be written.
    """
    missing = []
    for url in filter(None, (state.reports_url, state.model_url, state.page_url)):
        fetched = folder / url.rpartition("/")[2]
        try:
            download(cloud, url, fetched, on_bytes=on_bytes)
        except NotInCloudError:
            missing.append(url)
            continue
        if url != state.page_url:
            unpack(fetched, folder)
            fetched.unlink()
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return Artefacts(folder=folder, files=tuple(files), missing=tuple(missing))


def download(cloud: Cloud, url: str, path: Path, *, on_bytes: Callable[[int], None]) -> None:
    """One object into a file, whole or not at all.

    Raises:
        CloudError: if it is not there or broke off.
        CannotWriteError: if the file cannot be written.
    """
    request = _get(url)
    answer = cloud.send(request)
    received = 0
    try:
        with whole_file(path) as part, part.open("wb") as file:
            while chunk := answer["Body"].read(_CHUNK):
                file.write(chunk)
                received += len(chunk)
                on_bytes(len(chunk))
            if received != answer.get("ContentLength", received):
                raise CloudError(f"{url}: broke off after {received} bytes; run the same command again")
    except BotoCoreError as error:
        raise translate(error, request, doing=f"{url}: cannot be fetched") from error
    except OSError as error:
        raise cannot_write(path, error) from error


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a `.tar.gz`.

    Raises:
        CloudError: if it is damaged, or holds what it must not.
        CannotWriteError: if the folder cannot be written.
    """
    files = total = 0
    try:
        with tarfile.open(archive, "r:gz") as held:
            for member in held:
                files, total = files + 1, total + member.size
                if files > _MOST_FILES or total > _MOST_BYTES:
                    raise CloudError(f"{archive}: holds more than {_MOST_FILES} files or {_MOST_BYTES >> 30} GiB")
                held.extract(member, folder, filter="data")
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        with suppress(OSError):
            archive.unlink()
        raise CloudError(f"{archive}: not an archive that can be unpacked ({error}); fetch it again") from error
    except OSError as error:
        raise cannot_write(folder, error) from error


def _get(url: str) -> Request:
    bucket, key = parse_url(url)
    return Request(service="s3", operation="GetObject", parameters={"Bucket": bucket, "Key": key})
