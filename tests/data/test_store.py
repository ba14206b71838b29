"""The object store: one contract for every backend, and every lower error mapped onto ours."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from obstore import exceptions
from obstore.store import MemoryStore

from bintally.data.store import ERRORS, Store, open_store, translate
from bintally.errors import ObjectNotFoundError, StoreAccessError, StoreError, StoreUnavailableError

OBJECTS = {
    "bin-images/10.jpg": b"ten",
    "bin-images/1.jpg": b"one",
    "bin-images/2.jpg": b"two",
    "metadata/1.json": b"{}",
}


class LoopbackS3(ThreadingHTTPServer):
    """Just enough of S3 to be listed and read: small pages, and a status to fail with."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = dict(OBJECTS)
        self.page_keys = 2
        self.fail_with: int | None = None
        self.requests: list[tuple[str, bool]] = []  # (path and query, signed)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackS3

    def do_GET(self) -> None:
        self.server.requests.append((self.path, "Authorization" in self.headers))
        url = urlsplit(self.path)
        if self.server.fail_with:
            self._answer(self.server.fail_with, b"<Error><Code>Oops</Code></Error>")
        elif "list-type=2" in url.query:
            self._answer(200, self._page(parse_qs(url.query)))
        elif (key := url.path.removeprefix("/bucket/pre/")) in self.server.objects:
            self._answer(200, self.server.objects[key])
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def _page(self, query: dict[str, list[str]]) -> bytes:
        keys = sorted(f"pre/{key}" for key in self.server.objects if f"pre/{key}".startswith(query["prefix"][0]))
        start = int(query.get("continuation-token", ["0"])[0])
        end = start + self.server.page_keys
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>3</Size><LastModified>2020-01-01T00:00:00.000Z</LastModified></Contents>"
            for key in keys[start:end]
        )
        more = end < len(keys)
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if more else ""
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        return f"<ListBucketResult>{truncated}{token}{entries}</ListBucketResult>".encode()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
        self.send_header("ETag", '"x"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def s3() -> Iterator[LoopbackS3]:
    with LoopbackS3() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def open_s3(server: LoopbackS3, **options: bool) -> Store:
    return open_store(
        "s3://bucket/pre/", endpoint=server.endpoint, anonymous=True, max_retries=1, retry_seconds=2, **options
    )


@pytest.fixture(params=["folder", "file-url", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        return open_s3(request.getfixturevalue("s3"))
    if request.param == "memory":
        backend = MemoryStore()
        for key, data in OBJECTS.items():
            backend.put(key, data)
        return Store(url="memory://", backend=backend, sorts=True)
    folder = tmp_path / "with space"
    for key, data in OBJECTS.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    return open_store(folder.as_uri() if request.param == "file-url" else str(folder))


async def listed(store: Store, prefix: str) -> list[str]:
    return [key async for key in store.list(prefix)]


# --- what every store does ---------------------------------------------------------------------------------------


def test_gives_an_objects_bytes(store: Store) -> None:
    assert asyncio.run(store.get("bin-images/10.jpg")) == b"ten"


def test_an_absent_object_is_not_found(store: Store) -> None:
    with pytest.raises(ObjectNotFoundError, match=r"cannot read bin-images/3\.jpg"):
        asyncio.run(store.get("bin-images/3.jpg"))


def test_lists_a_folder_in_order_of_bytes(store: Store) -> None:
    assert asyncio.run(listed(store, "bin-images/")) == ["bin-images/1.jpg", "bin-images/10.jpg", "bin-images/2.jpg"]


def test_lists_nothing_where_nothing_is(store: Store) -> None:
    assert asyncio.run(listed(store, "bin-image/")) == []


def test_a_key_that_leaves_the_store_is_refused(store: Store) -> None:
    with pytest.raises(StoreError):
        asyncio.run(store.get("../secret"))


# --- buckets -----------------------------------------------------------------------------------------------------


def test_stops_listing_a_bucket_early(s3: LoopbackS3) -> None:
    async def first(store: Store) -> str:
        async for key in store.list("bin-images/"):
            return key
        raise AssertionError

    s3.objects = {f"bin-images/{number:05d}.jpg": b"x" for number in range(5000)}
    s3.page_keys = 1000
    assert asyncio.run(first(open_s3(s3))) == "bin-images/00000.jpg"
    assert len(s3.requests) == 1


REFUSALS = pytest.mark.parametrize(
    ("status", "error"),
    [
        pytest.param(401, StoreAccessError, id="unauthenticated"),
        pytest.param(403, StoreAccessError, id="forbidden"),
        pytest.param(404, ObjectNotFoundError, id="no-such-bucket"),
        pytest.param(500, StoreUnavailableError, id="server-error"),
        pytest.param(503, StoreUnavailableError, id="slow-down"),
    ],
)


@REFUSALS
def test_a_buckets_refusal_is_one_of_our_errors(s3: LoopbackS3, status: int, error: type[StoreError]) -> None:
    s3.fail_with = status
    store = open_s3(s3)
    with pytest.raises(error, match="s3://bucket/pre at http://127") as caught:
        asyncio.run(store.get("x"))
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@REFUSALS
def test_a_bucket_that_cannot_be_listed_is_one_of_our_errors(
    s3: LoopbackS3, status: int, error: type[StoreError]
) -> None:
    s3.fail_with = status
    with pytest.raises(error, match="cannot list bin-images/") as caught:
        asyncio.run(listed(open_s3(s3), "bin-images/"))
    assert type(caught.value) is error


def test_a_server_error_is_tried_again(s3: LoopbackS3) -> None:
    s3.fail_with = 500
    with pytest.raises(StoreUnavailableError):
        asyncio.run(open_s3(s3).get("x"))
    assert len(s3.requests) == 2


def test_a_server_that_is_not_there_is_unavailable(s3: LoopbackS3) -> None:
    endpoint = s3.endpoint
    s3.server_close()
    store = open_store("s3://bucket", endpoint=endpoint, anonymous=True, max_retries=0, retry_seconds=1)
    with pytest.raises(StoreUnavailableError, match="run the same command again"):
        asyncio.run(store.get("x"))


def test_signs_with_the_environments_credentials_unless_anonymous(
    s3: LoopbackS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    asyncio.run(open_s3(s3).get("bin-images/1.jpg"))
    signed = open_store("s3://bucket/pre", endpoint=s3.endpoint, region="eu-west-1")
    asyncio.run(signed.get("bin-images/1.jpg"))
    assert [signed for _, signed in s3.requests] == [False, True]


@pytest.mark.parametrize(
    ("url", "anonymous", "region", "unsigned", "in_region"),
    [
        pytest.param("s3://aft-vbi-pds", None, None, True, "us-east-1", id="public"),
        pytest.param("s3://aft-vbi-pds", False, "eu-west-1", False, "eu-west-1", id="public-but-signed"),
        pytest.param("s3://mine/photos", None, None, False, None, id="private"),
        pytest.param("s3://mine/photos", True, "eu-west-1", True, "eu-west-1", id="private-but-anonymous"),
    ],
)
def test_only_the_public_bucket_is_anonymous_by_default(
    url: str,
    anonymous: bool | None,
    region: str | None,
    unsigned: bool,
    in_region: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SKIP_SIGNATURE"):
        monkeypatch.delenv(name, raising=False)
    config = open_store(url, anonymous=anonymous, region=region).backend.config
    assert (config.get("skip_signature") in (True, "true")) is unsigned
    assert config.get("region") == in_region


# --- addresses ---------------------------------------------------------------------------------------------------


def test_a_bucket_is_named_without_its_last_slash() -> None:
    assert open_store("s3://bucket/some/prefix/").url == "s3://bucket/some/prefix"
    assert open_store("s3://bucket/").url == "s3://bucket"


def test_a_folder_has_one_name_however_it_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    spelled = ["photos", "./photos/", str(tmp_path / "photos"), (tmp_path / "photos").as_uri()]
    assert {open_store(url).url for url in spelled} == {(tmp_path / "photos").as_uri()}


@pytest.mark.parametrize("name", ["nowhere", "a-file"])
def test_a_folder_that_is_none_is_told_what_was_expected(name: str, tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(ObjectNotFoundError, match=rf"{name}: expected a folder .*bin-images/ID\.jpg.*Check the path"):
        open_store(str(tmp_path / name))


@pytest.mark.parametrize(
    "url", ["http://host/x", "gs://bucket", "s3://", "s3:///prefix", "file://elsewhere/x", "s3://id:hunter2@bucket"]
)
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="expected s3://bucket/prefix") as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


def test_a_prefix_that_climbs_is_refused() -> None:
    with pytest.raises(StoreError, match="cannot open"):
        open_store("s3://bucket/a/../b")


def test_an_endpoints_password_is_in_no_name() -> None:
    store = open_store("s3://bucket", endpoint="http://me:hunter2@127.0.0.1:9", anonymous=True)
    assert store.url == "s3://bucket at http://127.0.0.1:9"


# --- errors ------------------------------------------------------------------------------------------------------

LOWER_ERRORS = [value for value in vars(exceptions).values() if isinstance(value, type)]


def test_there_are_lower_errors() -> None:
    assert exceptions.GenericError in LOWER_ERRORS
    assert len(LOWER_ERRORS) >= 12


@pytest.mark.parametrize("lower", [*LOWER_ERRORS, *ERRORS])
def test_every_lower_error_is_mapped_by_name(lower: type[Exception]) -> None:
    error = translate(lower("so it was\n\nDebug source: {}"), "s3://b: cannot read x")
    assert type(error) is ERRORS[lower]
    assert str(error).startswith("s3://b: cannot read x: so it was. To do: ")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Generic S3 error: Error performing GET http://h/b/x - HTTP error: error sending request", "unavailable"),
        ("Generic S3 error: ... Server returned non-2xx status code: 503 Slow Down", "unavailable"),
        ("Generic S3 error: request or response body error: operation timed out", "unavailable"),
        ("Generic S3 error: Received redirect without LOCATION: an incorrectly configured region", "access"),
        ("Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token - HTTP error", "access"),
        (
            "Generic S3 error: Error performing GET http://h/region/x in 2ms - HTTP error: sending request",
            "unavailable",
        ),
        ("Generic S3 error: Error performing GET http://h/b/x - Server returned non-2xx status code: 400", "other"),
        ("Generic LocalFileSystem error: Filenames containing trailing '/#1/' are not supported", "other"),
        ("Generic S3 error: fine\n\nDebug source: HTTP error region", "other"),
    ],
)
def test_a_generic_error_is_told_apart_by_its_first_line(text: str, error: str) -> None:
    kinds = {"unavailable": StoreUnavailableError, "access": StoreAccessError, "other": StoreError}
    assert type(translate(exceptions.GenericError(text), "s3://b: cannot read x")) is kinds[error]
