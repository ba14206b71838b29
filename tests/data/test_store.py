"""The object store: one contract for every backend, and a bucket behind a network that fails."""

import asyncio
import hashlib
import socket
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from obstore.store import MemoryStore
from tests.s3_server import ACCESS_DENIED, LIST, NO_SUCH_BUCKET, NOT_S3, Fault, Faults, Request, S3Server, refusal

from bintally.data.store import Entry, Store, open_store, write_whole
from bintally.errors import (
    CannotWriteError,
    ObjectNotFoundError,
    StoreAccessError,
    StoreError,
    StoreUnavailableError,
)

OBJECTS = {
    "bin-images/10.jpg": b"ten",
    "bin-images/1.jpg": b"one",
    "bin-images/2.jpg": b"two",
    "metadata/1.json": b"{}",
}
ODD_KEYS = ["a b%41#~é+&=?.jpg", "[1]*.jpg", "deeply/below/a/folder.jpg", "..a..jpg"]


@pytest.fixture(autouse=True)
def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a bucket of their own; and nothing outside is to be asked for credentials."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "DEFAULT_REGION", "SKIP_SIGNATURE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("ENDPOINT", "ENDPOINT_URL", "ENDPOINT_URL_S3", "WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("RELATIVE_URI", "FULL_URI"):
        monkeypatch.delenv(f"AWS_CONTAINER_CREDENTIALS_{name}", raising=False)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{free_port()}")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test is about how long it waits before it asks again."""
    monkeypatch.setattr("bintally.data.bucket._FIRST_WAIT_SECONDS", 0.001)


@pytest.fixture
def s3() -> Iterator[S3Server]:
    with S3Server({f"pre/{key}": data for key, data in OBJECTS.items()}, page_keys=2) as server:
        yield server


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def open_s3(
    server: S3Server, *, max_retries: int = 2, anonymous: bool = True, fault: Fault | None = None, stalled: float = 10.0
) -> Store:
    """With a short patience only for faults that stall: a slow machine is no fault."""
    return open_store(
        "s3://bucket/pre/",
        endpoint=server.endpoint,
        anonymous=anonymous,
        max_retries=max_retries,
        retry_seconds=10,
        stalled_seconds=0.3 if fault in (Fault.STALL, Fault.STALL_BODY) else stalled,
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


async def entries(store: Store, prefix: str) -> list[Entry]:
    return [entry async for entry in store.list(prefix)]


async def listed(store: Store, prefix: str) -> list[str]:
    return [entry.key for entry in await entries(store, prefix)]


# --- what every store does ---------------------------------------------------------------------------------------


def test_gives_an_objects_bytes(store: Store) -> None:
    assert asyncio.run(store.get("bin-images/10.jpg")) == b"ten"


def test_an_absent_object_is_not_found(store: Store) -> None:
    with pytest.raises(ObjectNotFoundError, match=r"cannot read bin-images/3\.jpg"):
        asyncio.run(store.get("bin-images/3.jpg"))


def test_lists_a_folder_in_order_of_bytes_with_sizes(store: Store) -> None:
    found = asyncio.run(entries(store, "bin-images/"))
    assert [entry.key for entry in found] == ["bin-images/1.jpg", "bin-images/10.jpg", "bin-images/2.jpg"]
    assert {entry.size_bytes for entry in found} == {3}


def test_lists_all_there_is(store: Store) -> None:
    assert asyncio.run(listed(store, "")) == sorted(OBJECTS)


def test_lists_nothing_where_nothing_is(store: Store) -> None:
    assert asyncio.run(listed(store, "bin-image/")) == []


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 1000], ids=len)
def test_what_is_put_is_there_and_can_be_replaced(store: Store, data: bytes) -> None:
    asyncio.run(store.put("prepared/new.bin", b"before"))
    asyncio.run(store.put("prepared/new.bin", data))
    assert asyncio.run(store.get("prepared/new.bin")) == data
    assert asyncio.run(listed(store, "prepared/")) == ["prepared/new.bin"]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_keys_like_others(store: Store, key: str) -> None:
    asyncio.run(store.put(f"odd/{key}", b"data"))
    assert asyncio.run(store.get(f"odd/{key}")) == b"data"
    assert asyncio.run(listed(store, "odd/")) == [f"odd/{key}"]


def test_what_is_deleted_is_gone_and_deleting_nothing_is_no_error(store: Store) -> None:
    asyncio.run(store.delete("bin-images/1.jpg"))
    asyncio.run(store.delete("bin-images/1.jpg"))
    assert asyncio.run(listed(store, "bin-images/")) == ["bin-images/10.jpg", "bin-images/2.jpg"]


@pytest.mark.parametrize("key", ["../secret", "bin-images/../../secret", "a\nb"])
def test_a_key_that_leaves_the_store_or_is_none_is_refused(store: Store, key: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"mine")
    for deed in (store.get(key), store.put(key, b"x"), store.delete(key)):
        with pytest.raises(StoreError):
            asyncio.run(deed)
    assert (tmp_path / "secret").read_bytes() == b"mine"


def test_a_path_of_its_own_is_no_key(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"mine")
    key = str(tmp_path / "secret")
    for deed in (store.get(key), store.put(key, b"x"), store.delete(key)):
        with pytest.raises(StoreError, match="expected a key below it"):
            asyncio.run(deed)
    assert (tmp_path / "secret").read_bytes() == b"mine"


# --- folders -----------------------------------------------------------------------------------------------------


def test_a_file_that_was_not_finished_is_no_object(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    asyncio.run(store.put("bin-images/1.jpg", b"x"))
    (tmp_path / "bin-images" / ".2.jpg.part").write_bytes(b"ha")
    assert asyncio.run(listed(store, "bin-images/")) == ["bin-images/1.jpg"]


def test_a_folder_to_be_written_is_made(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "new" / "one"), create=True)
    asyncio.run(store.put("bin-images/1.jpg", b"x"))
    assert (tmp_path / "new" / "one" / "bin-images" / "1.jpg").read_bytes() == b"x"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(CannotWriteError, match=r"a file is where a folder is needed. To do: choose another"):
        open_store(str(tmp_path / "a-file" / "below"), create=True)


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(CannotWriteError, match=r"a-file/1\.jpg: cannot write: a file is where a folder is needed"):
        write_whole(tmp_path / "a-file" / "1.jpg", b"x")
    with pytest.raises(CannotWriteError, match="a folder is where the file is to be"):
        write_whole(tmp_path, b"x")


def test_a_file_that_cannot_be_removed_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(CannotWriteError, match=r"folder: cannot write: .*To do: "):
        asyncio.run(open_store(str(tmp_path)).delete("folder"))


# --- buckets -----------------------------------------------------------------------------------------------------


def test_stops_listing_a_bucket_early(s3: S3Server) -> None:
    async def first(store: Store) -> str:
        async for entry in store.list("bin-images/"):
            return entry.key
        raise AssertionError

    s3.objects.update({f"pre/bin-images/{number:05d}.jpg": b"x" for number in range(5000)})
    s3.page_keys = 1000
    assert asyncio.run(first(open_s3(s3))) == "bin-images/00000.jpg"
    assert len(s3.requests) == 1


def test_a_buckets_entries_have_the_md5_of_what_is_there(s3: S3Server) -> None:
    found = asyncio.run(entries(open_s3(s3), "bin-images/"))
    assert [entry.etag for entry in found] == [
        f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"' for data in (b"one", b"ten", b"two")
    ]


def test_an_object_costs_one_request_to_read_write_and_remove(s3: S3Server) -> None:
    store = open_s3(s3)
    asyncio.run(store.get("bin-images/1.jpg"))
    asyncio.run(store.put("bin-images/1.jpg", b"x"))
    asyncio.run(store.delete("bin-images/1.jpg"))
    assert [request.method for request in s3.requests] == ["GET", "PUT", "DELETE"]


def test_a_bucket_is_told_the_sha256_of_what_it_gets(s3: S3Server) -> None:
    asyncio.run(open_s3(s3).put("x", b"data"))
    assert s3.requests[0].sha256 == b64encode(hashlib.sha256(b"data").digest()).decode()


def test_a_large_object_goes_in_one_piece_and_its_etag_is_its_md5(s3: S3Server) -> None:
    data = bytes(range(256)) * 50_000
    store = open_s3(s3)
    asyncio.run(store.put("large", data))
    assert len(s3.requests) == 1
    assert s3.objects.etag("pre/large") == f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def test_signs_with_the_environments_credentials_unless_anonymous(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    asyncio.run(open_s3(s3).get("bin-images/1.jpg"))
    asyncio.run(open_s3(s3, anonymous=False).get("bin-images/1.jpg"))
    assert [request.signed for request in s3.requests] == [False, True]


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
    url: str, anonymous: bool | None, region: str | None, unsigned: bool, in_region: str | None
) -> None:
    config = open_store(url, anonymous=anonymous, region=region).backend.config
    assert (config.get("skip_signature") in (True, "true")) is unsigned
    assert config.get("region") == in_region


def test_the_environment_may_ask_for_no_signature(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    store = open_store("s3://bucket/pre", endpoint=s3.endpoint)
    asyncio.run(store.get("bin-images/1.jpg"))
    assert not s3.requests[0].signed


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_the_environments_endpoint_is_used_and_named_and_gives_way(
    s3: S3Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, s3.endpoint)
    store = open_store("s3://bucket/pre", anonymous=True)
    assert store.url == f"s3://bucket/pre at {s3.endpoint}"
    assert asyncio.run(store.get("bin-images/1.jpg")) == b"one"
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert asyncio.run(open_s3(s3).get("bin-images/1.jpg")) == b"one"


# --- a network that fails ----------------------------------------------------------------------------------------

LARGE = bytes(range(256)) * 200  # more than one read of a socket
FAULTS = pytest.mark.parametrize("fault", list(Fault))


@FAULTS
def test_reading_survives_faults_with_one_request_for_each(s3: S3Server, fault: Fault) -> None:
    s3.objects["pre/x"] = LARGE
    s3.faults = Faults(script={"pre/x": [fault] * 2})
    assert asyncio.run(open_s3(s3, fault=fault).get("x")) == LARGE
    assert len(s3.requests) == 3


@FAULTS
def test_writing_survives_faults_with_one_request_for_each(s3: S3Server, fault: Fault) -> None:
    s3.faults = Faults(script={"pre/x": [fault] * 2})
    asyncio.run(open_s3(s3, fault=fault).put("x", b"data"))
    assert s3.objects["pre/x"] == b"data"
    assert len(s3.requests) == 3


@FAULTS
def test_removing_survives_faults_with_one_request_for_each(s3: S3Server, fault: Fault) -> None:
    s3.faults = Faults(script={"pre/bin-images/1.jpg": [fault] * 2})
    asyncio.run(open_s3(s3, fault=fault).delete("bin-images/1.jpg"))
    assert "pre/bin-images/1.jpg" not in s3.objects
    assert len(s3.requests) == 3


@FAULTS
@pytest.mark.parametrize("page", [0, 2])
def test_listing_survives_faults_on_any_page(s3: S3Server, fault: Fault, page: int) -> None:
    class OnOnePage(Faults):
        def of(self, request: Request, tries: int) -> Fault | None:
            return fault if len(s3.requests) in (page, page + 1) else None

    s3.objects.update({f"pre/bin-images/{number}.jpg": b"x" for number in range(3, 26)})
    keys = sorted(key.removeprefix("pre/") for key in s3.objects if "images" in key)
    s3.page_keys = 10
    s3.faults = OnOnePage()
    assert asyncio.run(listed(open_s3(s3, fault=fault), "bin-images/")) == keys
    assert len(s3.requests) == 3 + 2


@pytest.mark.parametrize(("size", "arrives"), [(100_000, True), (100, False)], ids=["large", "small"])
def test_a_large_object_may_take_its_time_to_arrive(s3: S3Server, size: int, arrives: bool) -> None:
    s3.delay_seconds = 0.8  # of which a client cannot tell whether it is sending or waiting
    store = open_s3(s3, max_retries=0, stalled=0.2)
    if arrives:
        asyncio.run(store.put("x", bytes(size)))
    else:
        with pytest.raises(
            StoreUnavailableError, match=r"cannot write x: no answer in time\. To do: check the network"
        ):
            asyncio.run(store.put("x", bytes(size)))
    assert len(s3.requests) == 1


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.RESET, Fault.CUT])
def test_faults_without_end_are_an_error_after_a_bounded_number_of_requests(s3: S3Server, fault: Fault) -> None:
    s3.faults = Faults(share=1, kinds=[fault], in_a_row=1000)
    store = open_s3(s3, max_retries=2, fault=fault)
    for deed in (store.get("bin-images/1.jpg"), store.put("x", b"x"), store.delete("x"), listed(store, "")):
        s3.forget()
        with pytest.raises(StoreUnavailableError, match=r"To do: "):
            asyncio.run(deed)
        assert 3 <= len(s3.requests) <= 6, "three times, and a read of a body that breaks off once more from anew"


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.RESET, Fault.CUT])
def test_no_retries_means_one_request(s3: S3Server, fault: Fault) -> None:
    s3.faults = Faults(share=1, kinds=[fault], in_a_row=1000)
    store = open_s3(s3, max_retries=0, fault=fault)
    for deed in (store.get("bin-images/1.jpg"), store.put("x", b"x"), store.delete("x"), listed(store, "")):
        s3.forget()
        with pytest.raises(StoreUnavailableError):
            asyncio.run(deed)
        assert len(s3.requests) == 1


def test_it_is_not_asked_again_once_the_time_is_up(s3: S3Server) -> None:
    s3.faults = Faults(script={LIST: [Fault.CUT], "pre/x": [Fault.RESET]})
    store = open_store("s3://bucket/pre", endpoint=s3.endpoint, anonymous=True, retry_seconds=0.0)
    for deed in (listed(store, ""), store.put("x", b"x")):
        with pytest.raises(StoreUnavailableError):
            asyncio.run(deed)
    assert len(s3.requests) == 2


@pytest.mark.parametrize("answer", [ACCESS_DENIED, NO_SUCH_BUCKET, refusal(400, "InvalidArgument")], ids=str)
def test_what_will_not_pass_is_asked_once(s3: S3Server, answer: object) -> None:
    s3.faults = Faults(always=answer)
    store = open_s3(s3)
    for deed in (store.get("bin-images/1.jpg"), store.put("x", b"x"), store.delete("x"), listed(store, "")):
        s3.forget()
        with pytest.raises(StoreError):
            asyncio.run(deed)
        assert len(s3.requests) == 1


def test_an_object_that_changes_while_it_is_read_is_read_anew(s3: S3Server) -> None:
    class Change(Faults):
        def of(self, request: Request, tries: int) -> Fault | None:
            s3.objects["pre/x"] = LARGE if tries == 0 else LARGE[::-1]
            return Fault.CUT if tries == 0 else None

    s3.faults = Change()
    assert asyncio.run(open_s3(s3).get("x")) == LARGE[::-1]
    assert len(s3.requests) <= 4


class _Short:
    """What obstore would answer if a server said that there is more than it sent."""

    def __init__(self, *, told: int) -> None:
        self.meta = {"e_tag": '"x"', "size": told}

    async def bytes_async(self) -> bytes:
        return b"one"


def test_fewer_bytes_than_the_store_said_are_none(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([4, 3])

    async def get_async(*_: object) -> _Short:
        return _Short(told=next(told))

    store = open_s3(s3)
    monkeypatch.setattr(type(store.backend), "get_async", get_async)
    assert asyncio.run(store.get("x")) == b"one"
    assert list(told) == []


def test_a_twentieth_of_all_requests_may_fail(s3: S3Server) -> None:
    objects = {f"bin-images/{number:04d}.jpg": f"{number} ".encode() * 999 for number in range(250)}
    s3.objects = type(s3.objects)({f"pre/{key}": data for key, data in objects.items()})
    s3.page_keys = 50
    s3.faults = Faults(share=0.05, seed=1)

    async def copy(store: Store) -> dict[str, bytes]:
        async def one(key: str) -> tuple[str, bytes]:
            data = await store.get(key)
            await store.put(f"copy/{key}", data)
            return key, data

        return dict(await asyncio.gather(*(one(entry.key) for entry in await entries(store, "bin-images/"))))

    assert asyncio.run(copy(open_s3(s3, stalled=1.0))) == objects
    assert {key: s3.objects[f"pre/copy/{key}"] for key in objects} == objects
    assert set(s3.injected_kinds) == set(Fault)
    assert len(s3.requests) <= 5 + 250 + 250 + s3.injected


def test_a_request_that_is_given_up_leaves_nothing_under_way(s3: S3Server) -> None:
    s3.faults = Faults(script={"pre/bin-images/1.jpg": [Fault.STALL]})

    async def give_up(store: Store) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.get("bin-images/1.jpg"), 0.1)

    asyncio.run(give_up(open_store("s3://bucket/pre", endpoint=s3.endpoint, anonymous=True)))
    assert len(s3.requests) == 1


def test_a_server_that_is_not_there_is_unavailable() -> None:
    store = open_store(
        "s3://bucket", endpoint=f"http://127.0.0.1:{free_port()}", anonymous=True, max_retries=1, retry_seconds=1
    )
    with pytest.raises(StoreUnavailableError, match=r"takes no connections, asked 2 times. To do: check --endpoint"):
        asyncio.run(store.get("x"))


def test_a_server_that_answers_anything_with_a_page_does_not_speak_s3(s3: S3Server) -> None:
    s3.faults = Faults(always=NOT_S3)
    store = open_s3(s3)
    for deed in (store.get("bin-images/1.jpg"), store.put("x", b"x")):
        with pytest.raises(StoreError, match=r"the server does not speak S3. To do: check --endpoint"):
            asyncio.run(deed)


# --- credentials -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deed", ["get", "put", "delete", "list"])
def test_without_credentials_it_says_so_and_asks_nobody(s3: S3Server, deed: str) -> None:
    store = open_store("s3://bucket/pre", endpoint=s3.endpoint)
    deeds = {
        "get": lambda: store.get("x"),
        "put": lambda: store.put("x", b"x"),
        "delete": lambda: store.delete("x"),
        "list": lambda: listed(store, ""),
    }
    with pytest.raises(
        StoreAccessError, match=r"no credentials found in the environment. To do: set AWS_ACCESS_KEY_ID"
    ):
        asyncio.run(deeds[deed]())
    assert s3.requests == []


def test_a_credential_server_that_is_silent_is_given_up_soon(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr("bintally.data.bucket._CREDENTIALS_SECONDS", 0.05)
    monkeypatch.setattr("asyncio.open_connection", silent)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", s3.endpoint)
    with pytest.raises(StoreAccessError, match="no credentials found"):
        asyncio.run(open_store("s3://bucket/pre", endpoint=s3.endpoint).get("x"))
    assert s3.requests == [], "obstore would have asked it for longer"


def test_a_credential_server_that_is_there_is_asked_for_them(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    role = b'{"AccessKeyId":"i","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}'
    with S3Server({"meta-data/iam/security-credentials/role": role}, bucket="latest") as metadata:
        metadata.objects["meta-data/iam/security-credentials/"] = b"role"
        metadata.objects["api/token"] = b""
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", metadata.endpoint)
        store = open_store("s3://bucket/pre", endpoint=s3.endpoint)
        assert asyncio.run(store.get("bin-images/1.jpg")) == b"one"
    assert s3.requests[0].signed


def test_half_a_key_is_told_when_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    with pytest.raises(StoreAccessError, match=r"only one is set. To do: set both"):
        open_store("s3://bucket")


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


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "localhost", "http://", "ftp://x", "me:hunter2@host"])
def test_an_endpoint_of_another_kind_is_refused(endpoint: str) -> None:
    with pytest.raises(StoreError, match=r"--endpoint .*: expected http://HOST:PORT") as caught:
        open_store("s3://bucket", endpoint=endpoint)
    assert "hunter2" not in str(caught.value)


def test_a_prefix_that_climbs_is_refused() -> None:
    with pytest.raises(StoreError, match="cannot open"):
        open_store("s3://bucket/a/../b")


def test_an_endpoints_password_is_in_no_name_and_no_message() -> None:
    endpoint = f"http://me:hunter2@127.0.0.1:{free_port()}"
    store = open_store("s3://bucket", endpoint=endpoint, anonymous=True, max_retries=0)
    assert store.url == f"s3://bucket at {endpoint.replace('me:hunter2@', '')}"
    with pytest.raises(StoreError) as caught:
        asyncio.run(store.get("x"))
    assert "hunter2" not in str(caught.value)
