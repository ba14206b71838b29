"""Any object store by URL: a bucket (`s3://bucket/prefix`) or a folder (`file://`, a plain path).

The one place where obstore is called, and where its errors and the system's become `bintally.errors`. It reads only;
retries are obstore's own. Refuses other schemes, URLs with credentials in them, and folders that do not exist.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from obstore import exceptions
from obstore.store import LocalStore, S3Store

from bintally.errors import ObjectNotFoundError, StoreAccessError, StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

LAYOUT = "photos at bin-images/ID.jpg and records at metadata/ID.json"
_PUBLIC_BUCKETS = {"aft-vbi-pds": "us-east-1"}  # the Amazon Bin Image Dataset: read without credentials
_LIST_CHUNK = 1000  # S3's largest page
_REQUEST_TIMEOUT = timedelta(seconds=30)

# Every class that obstore raises, and the system's errors it lets through; `_refine` looks closer at generic ones.
ERRORS: dict[type[Exception], type[StoreError]] = {
    exceptions.NotFoundError: ObjectNotFoundError,
    FileNotFoundError: ObjectNotFoundError,  # what obstore raises in truth for an object that is not there
    exceptions.PermissionDeniedError: StoreAccessError,
    exceptions.UnauthenticatedError: StoreAccessError,
    PermissionError: StoreAccessError,
    ConnectionError: StoreUnavailableError,
    TimeoutError: StoreUnavailableError,
    exceptions.AlreadyExistsError: StoreError,
    exceptions.GenericError: StoreError,
    exceptions.InvalidPathError: StoreError,
    exceptions.JoinError: StoreError,
    exceptions.NotModifiedError: StoreError,
    exceptions.NotSupportedError: StoreError,
    exceptions.PreconditionError: StoreError,
    exceptions.UnknownConfigurationKeyError: StoreError,
    exceptions.BaseError: StoreError,
    OSError: StoreError,
    ValueError: StoreError,  # a URL or key that cannot be parsed
}
# obstore has one class for whatever S3 or the network did; only the words tell what it was: the first that fits.
_CREDENTIAL_SERVER = re.compile(r"//169\.254\.\d+\.\d+/")  # asked where the environment has no credentials
_REASONS: tuple[tuple[re.Pattern[str], type[StoreError]], ...] = (
    (re.compile(r"redirect|region|credential|status code: 40[13]", re.IGNORECASE), StoreAccessError),
    (re.compile(r"status code: 404"), ObjectNotFoundError),
    (
        re.compile(r"HTTP error|sending request|timed? ?out|status code: (5\d\d|429)", re.IGNORECASE),
        StoreUnavailableError,
    ),
)

_ADVICE = {
    ObjectNotFoundError: "check the address and the key",
    StoreAccessError: "check the bucket, its region (--region) and the credentials in the environment, or read a "
    "public bucket with --anonymous",
    StoreUnavailableError: "check the network and --endpoint, then run the same command again",
    StoreError: "check the address",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A bucket or folder that is read.

    Attributes:
        url: where it is, without credentials: the name that manifests and messages give it.
        backend: obstore's client for it, rooted at the bucket's prefix or the folder.
        sorts: whether it lists keys in order of their bytes by itself, as S3 does.
    """

    url: str
    backend: "ObjectStore"
    sorts: bool

    async def get(self, key: str) -> bytes:
        """The bytes at `key`.

        Raises:
            ObjectNotFoundError: if there is nothing at `key`.
            StoreError: of the kind that says why it could not be read.
        """
        with _translated(f"{self.url}: cannot read {key}"):
            answer = await self.backend.get_async(key)
            return bytes(await answer.bytes_async())

    async def list(self, prefix: str) -> AsyncIterator[str]:
        """The keys below the folder `prefix`, in order of their bytes.

        A bucket's pages are asked for as the keys are taken, so stopping early costs no more than was taken; a
        folder's names are read at once, to be sorted.

        Raises:
            StoreError: of the kind that says why it could not be listed.
        """
        doing = f"{self.url}: cannot list {prefix}"
        with _translated(doing):
            pages = self.backend.list(prefix, chunk_size=_LIST_CHUNK)
        if not self.sorts:
            with _translated(doing):
                names = sorted(entry["path"] for entry in await pages.collect_async())
            for name in names:
                yield name
            return
        while True:
            try:
                with _translated(doing):
                    page = await anext(pages)
            except StopAsyncIteration:
                return
            for entry in page:
                yield entry["path"]


def open_store(
    url: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    anonymous: bool | None = None,
    max_retries: int = 6,
    retry_seconds: float = 60.0,
) -> Store:
    """Open a bucket or folder; nothing is read yet.

    Args:
        url: `s3://bucket/prefix`, `file:///folder`, or a folder's path.
        endpoint: another server that speaks S3, such as `http://127.0.0.1:9000`.
        region: the bucket's region; from the environment where not given.
        anonymous: read without credentials; None: so for the public ABID bucket, else with the environment's.
        max_retries: how often obstore asks again when the network or the server fails.
        retry_seconds: for how long.

    Raises:
        ObjectNotFoundError: if the folder does not exist.
        StoreError: if the URL cannot be meant.
    """
    if "://" not in url:
        return _open_folder(Path(url))
    parts = urlsplit(url)
    scheme, host, path = parts.scheme, parts.netloc, parts.path
    if scheme == "file" and host in ("", "localhost"):
        return _open_folder(Path(url2pathname(path)))
    if scheme != "s3" or not host or "@" in host:
        raise StoreError(
            f"{_without_credentials(url)}: expected s3://bucket/prefix, file:///folder or a folder's path, and no "
            "credentials in it: those are read from the environment"
        )
    config: S3Config = {}
    if endpoint:
        config["endpoint"] = endpoint
    elif host in _PUBLIC_BUCKETS:
        config["region"] = _PUBLIC_BUCKETS[host]
    if region:
        config["region"] = region
    if host in _PUBLIC_BUCKETS if anonymous is None else anonymous:
        config["skip_signature"] = True
    retries: RetryConfig = {"max_retries": max_retries, "retry_timeout": timedelta(seconds=retry_seconds)}
    return _open_bucket(host, path.strip("/"), config, retries)


def _open_bucket(bucket: str, prefix: str, config: "S3Config", retries: "RetryConfig") -> Store:
    endpoint = config.get("endpoint", "")
    client: ClientConfig = {"timeout": _REQUEST_TIMEOUT, "allow_http": endpoint.startswith("http://")}
    name = f"s3://{bucket}/{prefix}".rstrip("/") + (f" at {_without_credentials(endpoint)}" if endpoint else "")
    with _translated(f"{name}: cannot open"):
        backend = S3Store(bucket, prefix=prefix or None, config=config, retry_config=retries, client_options=client)
    return Store(url=name, backend=backend, sorts=True)


def _open_folder(folder: Path) -> Store:
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise ObjectNotFoundError(
            f"{folder}: expected a folder in the bucket's layout ({LAYOUT}), found {found} there. Check the path, or "
            "name the bucket as s3://bucket/prefix"
        )
    resolved = folder.resolve()
    with _translated(f"{folder}: cannot open"):
        backend = LocalStore(prefix=resolved)
    return Store(url=resolved.as_uri(), backend=backend, sorts=False)


def _without_credentials(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except tuple(ERRORS) as error:
        raise translate(error, doing) from error


def translate(error: Exception, doing: str) -> StoreError:
    """The error of ours that says what `error`, of obstore or the system, means.

    Args:
        error: what was caught.
        doing: which store could not do what; the message begins with it.

    >>> translate(exceptions.UnauthenticatedError("no key"), "s3://b: cannot read x")  # doctest: +ELLIPSIS
    StoreAccessError('s3://b: cannot read x: no key. ...')
    """
    kind = next(ours for theirs, ours in ERRORS.items() if isinstance(error, theirs))
    detail = str(error).partition("\n")[0].rstrip(". ")
    if isinstance(error, exceptions.GenericError):
        kind = _refine(str(error), kind)
    return kind(f"{doing}: {detail}. To do: {_ADVICE[kind]}")


def _refine(text: str, kind: type[StoreError]) -> type[StoreError]:
    """What a generic error means: obstore writes `what was done to which URL - reason`, then details."""
    first = text.partition("\n")[0]
    if _CREDENTIAL_SERVER.search(first):
        return StoreAccessError
    done, dash, reason = first.partition(" - ")
    return next((ours for words, ours in _REASONS if words.search(reason if dash else done)), kind)
