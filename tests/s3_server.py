"""An S3 server for tests, on loopback only: one bucket, in memory or over a folder, with faults where it is told.

It speaks what object stores are read and written with: GET (ranges too), HEAD, PUT, DELETE, ListObjectsV2, bulk delete,
multipart uploads; path-style addresses; ETags as S3 makes them. It checks checksums, but no signatures.

    with S3Server({"bin-images/1.jpg": b"..."}, faults=Faults(share=0.05, seed=1)) as s3:
        store = open_store("s3://bucket", endpoint=s3.endpoint, anonymous=True, stalled_seconds=0.3)
        ...
        assert len(s3.requests) <= needed + s3.injected

Which requests fail is a function of the seed, the request and how often it came, not of the order in which requests
arrive. As a process of its own (`python tests/s3_server.py --help`) it serves a folder and says its address on
standard output; `GET /-/stats` then answers what `requests` and `faults` would.
"""

import argparse
import asyncio
import hashlib
import json
import os
import re
import signal
import socket
import struct
import threading
import time
from base64 import b64encode
from bisect import bisect_left, bisect_right
from collections import Counter, UserDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "bucket"
LIST = "?list"  # what a listing is called where a key is expected
DELETE = "?delete"  # what a bulk delete is called there
_HTTP_DATE = "Wed, 01 Jan 2020 00:00:00 GMT"
_ISO_DATE = "2020-01-01T00:00:00.000Z"
_REASONS = {
    200: "OK",
    204: "No Content",
    206: "Partial Content",
    301: "Moved Permanently",
    403: "Forbidden",
    404: "Not Found",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Fault(StrEnum):
    """What can go wrong once. What is asked for is done before the last three."""

    ERROR = "error"  # 500 InternalError
    SLOW_DOWN = "slow-down"  # 503 SlowDown
    RESET = "reset"  # the connection is reset before any answer
    STALL = "stall"  # no answer, ever
    CUT = "cut"  # half the body, then the connection is closed in good order
    RESET_BODY = "reset-body"  # half the body, then the connection is reset
    STALL_BODY = "stall-body"  # half the body, then nothing, ever


QUICK_FAULTS = (Fault.ERROR, Fault.SLOW_DOWN, Fault.RESET, Fault.CUT, Fault.RESET_BODY)  # no client waits for these


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A fixed answer, given in place of what was asked for."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/xml"),)


def _xml(name: str, inner: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}>{inner}</{name}>'.encode()


def refusal(status: int, code: str, message: str = "So it was told", **elements: str) -> Answer:
    """An error as S3 says it: `elements` are further ones, such as `Region`."""
    more = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in elements.items())
    return Answer(status=status, body=_xml("Error", f"<Code>{code}</Code><Message>{escape(message)}</Message>{more}"))


ACCESS_DENIED = refusal(403, "AccessDenied", "Access Denied")
EXPIRED_TOKEN = refusal(400, "ExpiredToken", "The provided token has expired.")
REQUEST_EXPIRED = refusal(403, "RequestTimeTooSkewed", "The difference between the request time and ... is too large.")
UNKNOWN_KEY_ID = refusal(
    403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", AWSAccessKeyId="x"
)
WRONG_SECRET = refusal(403, "SignatureDoesNotMatch", "The request signature we calculated does not match ...")
NO_SUCH_KEY = refusal(404, "NoSuchKey", "The specified key does not exist.")
NO_SUCH_BUCKET = refusal(404, "NoSuchBucket", "The specified bucket does not exist")
OTHER_REGION_SIGNED = refusal(
    400,
    "AuthorizationHeaderMalformed",
    "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'",
    Region="eu-west-1",
)
OTHER_REGION = Answer(
    status=301,
    body=refusal(
        301,
        "PermanentRedirect",
        "The bucket you are attempting to access must be addressed using the specified endpoint.",
        Endpoint="bucket.s3-eu-west-1.amazonaws.com",
        Bucket="bucket",
    ).body,
    headers=(("Content-Type", "application/xml"), ("x-amz-bucket-region", "eu-west-1")),
)
NOT_S3 = Answer(
    status=200, body=b"<!doctype html><html><body>Welcome</body></html>", headers=(("Content-Type", "text/html"),)
)
NOT_S3_404 = Answer(status=404, body=b"<html><body>No page</body></html>", headers=(("Content-Type", "text/html"),))


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What goes wrong, and where.

    Attributes:
        share: how many requests in one fail, by chance.
        kinds: with what, each as likely; `QUICK_FAULTS` for tests that must not wait for a stall.
        seed: other seeds, other requests.
        in_a_row: how often at most the same request fails by chance before it succeeds.
        script: what goes wrong with the first requests for a key (or `LIST`, `DELETE`), one after the other.
        fixed: what is answered for a key (or `LIST`, `DELETE`), always. A bulk delete heeds its keys' too.
        always: what is answered to everything.
        signed_only: whether requests without a signature are refused.
    """

    share: float = 0.0
    kinds: Sequence[Fault] = tuple(Fault)
    seed: int = 0
    in_a_row: int = 2
    script: Mapping[str, Sequence[Fault]] = field(default_factory=dict)
    fixed: Mapping[str, Answer] = field(default_factory=dict)
    always: Answer | None = None
    signed_only: bool = False

    def of(self, request: "Request", tries: int) -> Fault | None:
        """What goes wrong with a request that came `tries` times before."""
        script = self.script.get(request.key, ())
        if tries < len(script):
            return script[tries]
        chances = [self._chance(request, attempt) for attempt in range(max(0, tries - self.in_a_row), tries + 1)]
        if chances[-1] is None or (len(chances) > self.in_a_row and None not in chances):
            return None
        return chances[-1]

    def _chance(self, request: "Request", attempt: int) -> Fault | None:
        name = f"{self.seed} {request.method} {request.key} {sorted(request.query.items())} {attempt}"
        number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
        if number / 2**64 >= self.share:
            return None
        return self.kinds[number % len(self.kinds)]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it came.

    Attributes:
        method: such as `GET`.
        key: the object's, below the bucket; `LIST` and `DELETE` for what is asked of the bucket.
        query: what stood behind the question mark.
        signed: whether it bore a signature.
        sha256: what it said its body's is (base64), if it did.
        fault: what went wrong with it, on purpose.
    """

    method: str
    key: str
    query: Mapping[str, str]
    signed: bool
    sha256: str = ""
    fault: Fault | None = None


class MemoryObjects(UserDict[str, bytes]):
    """Objects in memory, with their keys in order."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self._sorted: list[str] | None = None
        self._etags: dict[str, tuple[bytes, str]] = {}
        super().__init__(objects)

    def __setitem__(self, key: str, data: bytes) -> None:
        if key not in self.data:
            self._sorted = None
        self.data[key] = data

    def __delitem__(self, key: str) -> None:
        del self.data[key]
        self._sorted = None

    def in_order(self, *, anew: bool) -> list[str]:
        """All keys, in order of their bytes."""
        if self._sorted is None:
            self._sorted = sorted(self.data, key=str.encode)
        return self._sorted

    def etag(self, key: str) -> str:
        """What an object's contents are called."""
        data, etag = self._etags.get(key, (None, ""))
        if data is not self.data[key]:
            self.name(key, etag := _md5(self.data[key]))
        return etag

    def name(self, key: str, etag: str) -> None:
        """Call an object's contents so, until they change."""
        self._etags[key] = (self.data[key], etag)

    def size(self, key: str) -> int:
        """How many bytes an object has."""
        return len(self.data[key])


class FolderObjects(MutableMapping[str, bytes]):
    """Objects as files below a folder; others may read and write it too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sorted: list[str] = []
        self._etags: dict[str, tuple[tuple[int, int], str]] = {}

    def __getitem__(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise KeyError(key) from error

    def __setitem__(self, key: str, data: bytes) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.s3-part")
        part.write_bytes(data)
        part.replace(path)

    def __delitem__(self, key: str) -> None:
        try:
            self._path(key).unlink()
        except FileNotFoundError as error:
            raise KeyError(key) from error

    def __iter__(self) -> Iterator[str]:
        for folder, _, names in os.walk(self._folder):
            below = Path(folder).relative_to(self._folder)
            yield from ((below / name).as_posix() for name in names if not name.endswith(".s3-part"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def in_order(self, *, anew: bool) -> list[str]:
        """All keys, in order of their bytes; `anew`: as they are now, not when it was asked last."""
        if anew or not self._sorted:
            self._sorted = sorted(self, key=str.encode)
        return self._sorted

    def etag(self, key: str) -> str:
        """What an object's contents are called."""
        state, etag = self._etags.get(key, (None, ""))
        if state != self._state(key):
            self._etags[key] = (self._state(key), etag := _md5(self[key]))
        return etag

    def name(self, key: str, etag: str) -> None:
        """Call an object's contents so, until they change."""
        self._etags[key] = (self._state(key), etag)

    def size(self, key: str) -> int:
        """How many bytes an object has."""
        return self._path(key).stat().st_size

    def _path(self, key: str) -> Path:
        path = self._folder / key
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise KeyError(key)
        return path

    def _state(self, key: str) -> tuple[int, int]:
        stat = self._path(key).stat()
        return stat.st_mtime_ns, stat.st_size


class S3Server:
    """The server, in a thread of its own from `with` to its end; every public attribute may be changed meanwhile."""

    def __init__(
        self,
        objects: Mapping[str, bytes] | Path | None = None,
        *,
        bucket: str = BUCKET,
        faults: Faults | None = None,
        page_keys: int = 1000,
        delay_seconds: float = 0.0,
        port: int = 0,
    ) -> None:
        """Make a server that serves nothing yet.

        Args:
            objects: what is in the bucket; a path: the files below that folder, written there too.
            bucket: its name; every other bucket is missing.
            faults: what goes wrong; by default nothing.
            page_keys: how many keys a page of a listing holds at most.
            delay_seconds: how long each answer takes.
            port: which to listen on; 0: any that is free.
        """
        self.objects = FolderObjects(objects) if isinstance(objects, Path) else MemoryObjects(objects or {})
        self.bucket = bucket
        self.faults = faults or Faults()
        self.page_keys = page_keys
        self.delay_seconds = delay_seconds
        self.requests: list[Request] = []
        self.port = port
        self.uploads: dict[str, dict[int, bytes]] = {}  # multipart uploads under way
        self._tries: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="s3-server", daemon=True)
        self._ready = threading.Event()
        self._error: OSError | None = None

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def injected(self) -> int:
        """How many requests failed by chance or by script."""
        return sum(request.fault is not None for request in self.requests)

    @property
    def injected_kinds(self) -> Counter[Fault]:
        """How many failed with what."""
        return Counter(request.fault for request in self.requests if request.fault is not None)

    def asked(self, method: str, key: str | None = None) -> int:
        """How many requests came with that method, for that key (or `LIST`, `DELETE`)."""
        return sum(request.method == method and key in (None, request.key) for request in self.requests)

    def forget(self) -> None:
        """Forget the requests that came, and which of them failed."""
        self.requests = []
        self._tries.clear()

    def __enter__(self) -> "S3Server":
        self._thread.start()
        self._ready.wait()
        if self._error:
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            listening = self._loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, backlog=1024)
            server = self._loop.run_until_complete(listening)
        except OSError as error:
            self._error = error
            self._ready.set()
            return
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for connection in list(self._connections):
            connection.reset()
        self._loop.run_until_complete(asyncio.sleep(0))  # connections are told that they are closed
        self._loop.close()

    # --- what it answers -----------------------------------------------------------------------------------------

    def take(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[Answer, Fault | None]:
        """What to answer to a request, and what shall go wrong with that answer."""
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        bucket, _, key = unquote(url.path).removeprefix("/").partition("/")
        if bucket == "-":
            return Answer(status=200, body=json.dumps(self._stats()).encode()), None
        key = key or (DELETE if "delete" in query else LIST)
        signed = "authorization" in headers or "X-Amz-Signature" in query
        sha256 = headers.get("x-amz-checksum-sha256", "")
        request = Request(method=method, key=key, query=query, signed=signed, sha256=sha256)
        named = (method, key, url.query)
        fault = self.faults.of(request, self._tries[named])
        self._tries[named] += 1
        self.requests.append(replace(request, fault=fault))
        if fault in (Fault.RESET, Fault.STALL):
            return Answer(status=500), fault
        if fault is Fault.ERROR:
            return refusal(500, "InternalError", "We encountered an internal error. Please try again."), fault
        if fault is Fault.SLOW_DOWN:
            return refusal(503, "SlowDown", "Please reduce your request rate."), fault
        told = self.faults.always or self.faults.fixed.get(key)
        if told is None and self.faults.signed_only and not signed:
            told = ACCESS_DENIED
        if told is None and bucket != self.bucket:
            told = NO_SUCH_BUCKET
        return told or self._do(request, headers, body), fault

    def _stats(self) -> dict[str, object]:
        return {
            "requests": len(self.requests),
            "injected": self.injected,
            "injected_kinds": self.injected_kinds,
            "methods": Counter(request.method for request in self.requests),
        }

    def _do(self, request: Request, headers: Mapping[str, str], body: bytes) -> Answer:
        deeds: dict[str, Callable[[Request, Mapping[str, str], bytes], Answer]] = {
            "GET": self._get,
            "HEAD": self._get,
            "PUT": self._put,
            "POST": self._post,
            "DELETE": self._delete,
        }
        wrong = _wrong_checksum(headers, body)
        if wrong or request.method not in deeds:
            return wrong or refusal(405, "MethodNotAllowed")
        try:
            return deeds[request.method](request, headers, body)
        except (KeyError, ValueError, OSError) as error:
            return refusal(400, "InvalidRequest", repr(error))

    def _get(self, request: Request, headers: Mapping[str, str], _: bytes) -> Answer:
        if request.key == LIST:
            return self._page(request.query)
        try:
            data, etag = self.objects[request.key], self.objects.etag(request.key)
        except KeyError:
            return NO_SUCH_KEY
        if headers.get("if-match", etag) not in (etag, "*"):
            return refusal(412, "PreconditionFailed")
        known = (("ETag", etag), ("Last-Modified", _HTTP_DATE), ("Accept-Ranges", "bytes"))
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        if not asked:
            return Answer(status=200, body=data, headers=known)
        start, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        if start >= len(data):
            return refusal(416, "InvalidRange")
        span = ("Content-Range", f"bytes {start}-{end}/{len(data)}")
        return Answer(status=206, body=data[start : end + 1], headers=(*known, span))

    def _page(self, query: Mapping[str, str]) -> Answer:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        token = query.get("continuation-token")
        keys = self.objects.in_order(anew=token is None)
        start = max(
            bisect_left(keys, prefix.encode(), key=str.encode),
            bisect_right(keys, (token or query.get("start-after", "")).encode(), key=str.encode),
        )
        limit = min(self.page_keys, int(query.get("max-keys", 1000)))
        parts, folders, last = [], set[str](), None
        for key in keys[start:]:
            if not key.startswith(prefix):
                break
            if last is not None and len(parts) + len(folders) >= limit:
                token = escape(last)
                parts.append(f"<NextContinuationToken>{token}</NextContinuationToken>")
                break
            below, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            last = key
            if found:
                folders.add(prefix + below + delimiter)
            else:
                parts.append(self._entry(key))
        more = bool(parts) and parts[-1].startswith("<Next")
        parts += [f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders)]
        head = f"<Name>{self.bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(parts)}</KeyCount>"
        body = _xml("ListBucketResult", f"{head}<IsTruncated>{str(more).lower()}</IsTruncated>{''.join(parts)}")
        return Answer(status=200, body=body)

    def _entry(self, key: str) -> str:
        return (
            f"<Contents><Key>{escape(key)}</Key><LastModified>{_ISO_DATE}</LastModified>"
            f"<ETag>{escape(self.objects.etag(key))}</ETag><Size>{self.objects.size(key)}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
        )

    def _put(self, request: Request, headers: Mapping[str, str], body: bytes) -> Answer:
        if upload := request.query.get("uploadId"):
            if upload not in self.uploads:
                return refusal(404, "NoSuchUpload")
            self.uploads[upload][int(request.query["partNumber"])] = body
            return Answer(status=200, headers=(("ETag", _md5(body)),))
        if headers.get("if-none-match") == "*" and request.key in self.objects:
            return refusal(412, "PreconditionFailed")
        self.objects[request.key] = body
        return Answer(status=200, headers=(("ETag", self.objects.etag(request.key)),))

    def _post(self, request: Request, _: Mapping[str, str], body: bytes) -> Answer:
        if request.key == DELETE:
            return self._delete_many(body)
        if "uploads" in request.query:
            upload = f"upload-{len(self.requests)}"
            self.uploads[upload] = {}
            inner = f"<Bucket>{self.bucket}</Bucket><Key>{escape(request.key)}</Key><UploadId>{upload}</UploadId>"
            return Answer(status=200, body=_xml("InitiateMultipartUploadResult", inner))
        parts = self.uploads.pop(request.query.get("uploadId", ""), None)
        if parts is None:
            return refusal(404, "NoSuchUpload")
        named = [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
        if named != sorted(parts):
            return refusal(400, "InvalidPart")
        self.objects[request.key] = b"".join(parts[number] for number in named)
        sums = b"".join(hashlib.md5(parts[number]).digest() for number in named)  # noqa: S324
        self.objects.name(request.key, f'"{hashlib.md5(sums).hexdigest()}-{len(named)}"')  # noqa: S324
        inner = f"<Key>{escape(request.key)}</Key><ETag>{escape(self.objects.etag(request.key))}</ETag>"
        return Answer(status=200, body=_xml("CompleteMultipartUploadResult", inner))

    def _delete(self, request: Request, _: Mapping[str, str], __: bytes) -> Answer:
        if "uploadId" in request.query:
            self.uploads.pop(request.query["uploadId"], None)
        else:
            self.objects.pop(request.key, None)
        return Answer(status=204)

    def _delete_many(self, body: bytes) -> Answer:
        said = []
        for found in re.findall(rb"<Key>(.*?)</Key>", body):
            key = found.decode()
            name = key.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
            if refused := self.faults.fixed.get(name):
                why = re.search(rb"<Code>.*</Message>", refused.body)
                said.append(f"<Error><Key>{key}</Key>{why[0].decode() if why else ''}</Error>")
                continue
            self.objects.pop(name, None)
            said.append(f"<Deleted><Key>{key}</Key></Deleted>")
        return Answer(status=200, body=_xml("DeleteResult", "".join(said)))

    # --- connections, in the server's thread ---------------------------------------------------------------------

    def opened(self, connection: "_Connection") -> None:
        """A client is there."""
        self._connections.add(connection)

    def closed(self, connection: "_Connection") -> None:
        """It is gone."""
        self._connections.discard(connection)


class _Connection(asyncio.Protocol):
    """One client's connection: one request after the other."""

    def __init__(self, server: S3Server) -> None:
        self._server = server
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.opened(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received[:1].isalpha() and not self._answering:  # TLS: this is no server for it
            self.reset()
        else:
            self._next()

    def _next(self) -> None:
        end = self._received.find(b"\r\n\r\n")
        if self._answering or end < 0:
            return
        first, *lines = self._received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        until = end + 4 + int(headers.get("content-length", 0))
        if len(self._received) < until:
            return
        body = bytes(self._received[end + 4 : until])
        del self._received[:until]
        method, target, _ = first.split(" ")
        self._answering = True
        answer, fault = self._server.take(method, target, headers, body)
        if self._server.delay_seconds:
            later = asyncio.get_running_loop().call_later
            later(self._server.delay_seconds, self._answer, method, answer, fault)
        else:
            self._answer(method, answer, fault)

    def _answer(self, method: str, answer: Answer, fault: Fault | None) -> None:
        if self._transport is None or fault is Fault.STALL:
            return
        if fault is Fault.RESET:
            self.reset()
            return
        body = b"" if method == "HEAD" else answer.body
        lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Said')}"]
        lines += [f"{name}: {value}" for name, value in answer.headers]
        lines += [f"Content-Length: {len(answer.body)}", "x-amz-request-id: 1", f"Date: {formatdate(usegmt=True)}"]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if fault in (Fault.CUT, Fault.RESET_BODY, Fault.STALL_BODY):
            self._half(head, body, fault)
            return
        self._transport.write(head + body)
        self._answering = False
        self._next()

    def _half(self, head: bytes, body: bytes, fault: Fault) -> None:
        assert self._transport is not None
        self._transport.write(head + body[: len(body) // 2] if body else head[: len(head) // 2])
        if fault is Fault.CUT:
            self._transport.close()
        elif fault is Fault.RESET_BODY:
            asyncio.get_running_loop().call_later(0.02, self.reset)  # a reset overtakes what was sent just before

    def reset(self) -> None:
        """End the connection as a crash would."""
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()


def _wrong_checksum(headers: Mapping[str, str], body: bytes) -> Answer | None:
    digest = hashlib.sha256(body).digest()
    if headers.get("x-amz-checksum-sha256", said := b64encode(digest).decode()) != said:
        return refusal(400, "BadDigest", "The SHA256 you specified did not match the calculated checksum.")
    signed = headers.get("x-amz-content-sha256", "")
    if re.fullmatch("[0-9a-f]{64}", signed) and signed != digest.hex():
        return refusal(400, "XAmzContentSHA256Mismatch")
    return None


def _md5(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'  # noqa: S324


def main() -> None:
    """Serve a folder until told to stop."""
    parser = argparse.ArgumentParser(description="An S3 server for tests, on loopback only.")
    parser.add_argument("--folder", type=Path, required=True, help="what is in the bucket")
    parser.add_argument("--bucket", default=BUCKET)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--faults", type=float, default=0.0, help="how many requests in one fail")
    parser.add_argument("--kinds", nargs="+", type=Fault, default=list(Fault), help="with what")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that each answer takes")
    options = parser.parse_args()
    faults = Faults(share=options.faults, kinds=options.kinds, seed=options.seed)
    server = S3Server(
        options.folder, bucket=options.bucket, faults=faults, delay_seconds=options.delay, port=options.port
    )
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with server:
        print(server.endpoint, flush=True)  # noqa: T201
        while not stopped.is_set():
            time.sleep(0.1)


if __name__ == "__main__":
    main()
