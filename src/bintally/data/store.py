"""Any object store by URL: a bucket (`s3://bucket/prefix`) or a folder (`file://`, a plain path).

The one place where obstore is called. What is written is there whole or not at all. Refuses other schemes, URLs with
credentials in them, keys that lead out of a folder, and folders that do not exist, unless they are to be written.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from obstore.store import LocalStore, S3Store

from bintally.data.bucket import Bucket, credential_server
from bintally.data.files import cannot_write, is_part, whole_file
from bintally.data.refusals import ERRORS, Asked, not_s3, translate
from bintally.errors import ObjectNotFoundError, StoreError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, S3Config

T = TypeVar("T")
LAYOUT = "photos at bin-images/ID.jpg and records at metadata/ID.json"
_PUBLIC_BUCKETS = {"aft-vbi-pds": "us-east-1"}  # the Amazon Bin Image Dataset: read without credentials
_AWS = "https://s3.amazonaws.com"
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")  # obstore reads them, too
_LIST_CHUNK = 10  # handed over by obstore at once; of a page of the server's, what was handed over is not asked again
_CONNECT_TIMEOUT = timedelta(seconds=10)
_READ_TIMEOUT = timedelta(hours=1)  # in all, for the largest file there is: a manifest on a slow line
_WRITE_TIMEOUT = timedelta(days=1)  # `Store.put` has a closer one, by the size
_SLOWEST_BYTES_PER_SECOND = 50_000  # of an upload that is not taken for stalled


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One object of a listing.

    Attributes:
        key: below the store's root.
        size_bytes: how long it is.
        etag: what the store calls its contents; of an S3 object that was put in one piece, and is not encrypted with
            a key of one's own, the MD5 of its bytes. None where the store has none.
    """

    key: str
    size_bytes: int
    etag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A bucket or folder.

    Attributes:
        url: where it is, without credentials: the name that manifests and messages give it.
        backend: obstore's client for it, rooted at the bucket's prefix or the folder.
        writer: obstore's client for writing to a bucket, which has more patience and asks once only.
        sorts: whether it lists keys in order of their bytes by itself, as S3 does.
        folder: the folder, where it is one.
        bucket: the bucket, where it is one.
    """

    url: str
    backend: "ObjectStore"
    sorts: bool
    folder: Path | None = None
    bucket: Bucket | None = None
    writer: "ObjectStore | None" = None

    async def get(self, key: str) -> bytes:
        """The bytes at `key`, all of them and of one version.

        Raises:
            ObjectNotFoundError: if there is nothing at `key`.
            StoreError: of the kind that says why it could not be read.
        """
        asked = self._asked(f"cannot read {key}", "s3:GetObject", key)

        async def read() -> bytes:
            answer = await self.backend.get_async(key)
            if self.bucket is not None and answer.meta["e_tag"] is None:
                raise not_s3(asked)
            data = bytes(await answer.bytes_async())
            if len(data) != answer.meta["size"]:
                raise ConnectionError(f"expected {answer.meta['size']} bytes, got {len(data)}")
            return data

        # obstore asks for the rest of a body that broke off, unless the object has changed meanwhile: then from anew.
        return await self._ask(read, asked, min(1, self._max_retries))

    async def list(self, prefix: str) -> AsyncIterator[Entry]:
        """What lies below the folder `prefix`, in order of the keys' bytes.

        A bucket's pages are asked for as the entries are taken, so stopping early costs no more than was taken; a
        folder's names are read at once, to be sorted, and files that are not finished are left out.

        Raises:
            StoreError: of the kind that says why it could not be listed.
        """
        if self.sorts:
            async for page in self._pages(prefix):
                for entry in page:
                    yield entry
            return
        found = [entry async for page in self._pages(prefix) for entry in page]
        for entry in sorted(found, key=lambda entry: entry.key):
            if not is_part(PurePosixPath(entry.key).name):
                yield entry

    async def _pages(self, prefix: str) -> AsyncIterator[Sequence[Entry]]:
        """Pages of a listing; one that breaks off is asked for anew, behind the last key of the page before."""
        asked = self._asked(f"cannot list {prefix or 'it'}", "s3:ListBucket")
        pages = last = None

        async def page() -> Sequence[Entry]:
            nonlocal pages
            asking, pages = pages or self.backend.list(prefix, offset=last, chunk_size=_LIST_CHUNK), None
            try:
                found = await anext(asking)
            except StopAsyncIteration:
                return ()
            pages = asking
            return [Entry(key=one["path"], size_bytes=one["size"], etag=one["e_tag"]) for one in found]

        while entries := await self._ask(page, asked, self._max_retries):
            yield entries
            last = entries[-1].key

    async def put(self, key: str, data: bytes) -> None:
        """Write `data` at `key`, whole or not at all; a bucket checks its sha256 as it arrives.

        Raises:
            CannotWriteError: if it is a folder that is full or cannot be written.
            StoreError: of the kind that says why a bucket did not take it.
        """
        asked = self._asked(f"cannot write {key}", "s3:PutObject", key)
        if self.folder is not None:
            write_whole(self.folder / key, data)
            return
        writer = self.writer or self.backend
        # obstore would take the time that it sends for silence: a large file on a slow line would never arrive. It is
        # sent in one piece, however large: then its ETag is its MD5, and a run that is killed leaves no parts behind.
        patience = self.bucket.stalled_seconds + len(data) / _SLOWEST_BYTES_PER_SECOND if self.bucket else None

        async def write() -> None:
            writing = writer.put_async(key, data, use_multipart=False)
            try:
                await asyncio.wait_for(writing, patience)
            except TimeoutError as error:
                raise TimeoutError("no answer in time") from error

        await self._ask(write, asked, self._max_retries)

    async def delete(self, key: str) -> None:
        """Remove what is at `key`; nothing there is no error.

        Raises:
            CannotWriteError: if it is a folder that cannot be written.
            StoreError: of the kind that says why it could not be removed.
        """
        asked = self._asked(f"cannot remove {key}", "s3:DeleteObject", key)
        if self.folder is not None:
            _remove(self.folder / key)
            return
        try:
            await self._ask(lambda: self.backend.delete_async(key), asked, self._max_retries)
        except ObjectNotFoundError:
            return

    @property
    def _max_retries(self) -> int:
        return self.bucket.max_retries if self.bucket else 0

    def _asked(self, doing: str, action: str, key: str = "") -> Asked:
        """What is asked, in words; a key that cannot be one is refused."""
        doing = f"{self.url}: {doing}"
        if key.startswith("/") or ".." in key.split("/") or re.search(r"[\x00-\x1f]", key):
            raise StoreError(f"{' '.join(doing.split())}: expected a key below it. To do: name one without .. in it")
        return self.bucket.asked(doing, action, key) if self.bucket else Asked(doing=doing)

    async def _ask(self, attempt: Callable[[], Awaitable[T]], asked: Asked, retries: int) -> T:
        if self.bucket is not None:
            return await self.bucket.ask(attempt, asked, retries)
        try:
            return await attempt()
        except tuple(ERRORS) as error:
            raise translate(error, asked) from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file of a dataset's folder, whole or not at all.

    Raises:
        CannotWriteError: saying what the system said, and what to do.
    """
    try:
        with whole_file(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise cannot_write(path, error) from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def open_store(
    url: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    anonymous: bool | None = None,
    create: bool = False,
    max_retries: int = 6,
    retry_seconds: float = 60.0,
    stalled_seconds: float = 20.0,
) -> Store:
    """Open a bucket or folder; nothing is read yet.

    Args:
        url: `s3://bucket/prefix`, `file:///folder`, or a folder's path.
        endpoint: another server that speaks S3, such as `http://127.0.0.1:9000`; from the environment where not given.
        region: the bucket's region; from the environment where not given.
        anonymous: read without credentials; None: so for the public ABID bucket, else with the environment's.
        create: it is to be written: a folder that does not exist is no error, and is made.
        max_retries: how often a request is made again when the network or the server fails.
        retry_seconds: for how long.
        stalled_seconds: how long a request may bring nothing before it is given up and made again.

    Raises:
        ObjectNotFoundError: if the folder does not exist.
        StoreAccessError: if only half of a key is in the environment.
        StoreError: if the URL or the endpoint cannot be meant.
    """
    if "://" not in url:
        return _open_folder(Path(url), create=create)
    parts = urlsplit(url)
    scheme, host, path = parts.scheme, parts.netloc, parts.path
    if scheme == "file" and host in ("", "localhost"):
        return _open_folder(Path(url2pathname(path)), create=create)
    if scheme != "s3" or not host or "@" in host:
        raise StoreError(
            f"{_without_credentials(url)}: expected s3://bucket/prefix, file:///folder or a folder's path, and no "
            "credentials in it: those are read from the environment"
        )
    endpoint = endpoint or next(filter(None, map(os.environ.get, _ENDPOINT_VARIABLES)), None)
    if endpoint and not re.match(r"https?://[^/]", endpoint):
        raise StoreError(f"--endpoint {_without_credentials(endpoint)}: expected http://HOST:PORT or https://HOST")
    if anonymous is None:
        anonymous = host in _PUBLIC_BUCKETS or os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("true", "1")
    bucket = Bucket(
        server=endpoint or _AWS,
        name=host,
        prefix=path.strip("/"),
        anonymous=anonymous,
        max_retries=max_retries,
        retry_seconds=retry_seconds,
        stalled_seconds=stalled_seconds,
        credentials=None if anonymous else credential_server(),
    )
    return _open_bucket(bucket, endpoint, region)


def _open_bucket(bucket: Bucket, endpoint: str | None, region: str | None) -> Store:
    url = f"s3://{bucket.name}/{bucket.prefix}".rstrip("/")
    config: S3Config = {"checksum_algorithm": "SHA256", "disable_bulk_delete": True}
    if bucket.anonymous:
        config["skip_signature"] = True
    if endpoint:
        config["endpoint"] = endpoint
        config["aws_endpoint_url_s3"] = endpoint  # or the environment's would win
        url += f" at {_without_credentials(endpoint)}"
    elif bucket.name in _PUBLIC_BUCKETS:
        config["region"] = _PUBLIC_BUCKETS[bucket.name]
    if region:
        config["region"] = region
    client: ClientConfig = {"connect_timeout": _CONNECT_TIMEOUT, "allow_http": (endpoint or "").startswith("http://")}
    reading: ClientConfig = {"read_timeout": timedelta(seconds=bucket.stalled_seconds), "timeout": _READ_TIMEOUT}
    writing: ClientConfig = {"timeout": _WRITE_TIMEOUT}
    name, prefix = bucket.name, bucket.prefix or None
    try:
        reader = S3Store(
            name, prefix=prefix, config=config, retry_config=bucket.retries, client_options={**client, **reading}
        )
        writer = S3Store(
            name, prefix=prefix, config=config, retry_config={"max_retries": 0}, client_options={**client, **writing}
        )
    except tuple(ERRORS) as error:
        raise translate(error, Asked(doing=f"{url}: cannot open")) from error
    return Store(url=url, backend=reader, writer=writer, sorts=True, bucket=bucket)


def _open_folder(folder: Path, *, create: bool) -> Store:
    if not folder.is_dir() and not (create and not folder.exists()):
        found = "a file" if folder.exists() else "nothing"
        raise ObjectNotFoundError(
            f"{folder}: expected a folder in the bucket's layout ({LAYOUT}), found {found} there. Check the path, or "
            "name the bucket as s3://bucket/prefix"
        )
    resolved = folder.resolve()
    if create:
        try:
            resolved.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
    try:
        backend = LocalStore(prefix=resolved)
    except tuple(ERRORS) as error:
        raise translate(error, Asked(doing=f"{folder}: cannot open")) from error
    return Store(url=resolved.as_uri(), backend=backend, sorts=False, folder=resolved)


def _without_credentials(url: str) -> str:
    return re.sub(r"(^|//)[^/@]*@", r"\1", url)
