"""The store against moto's server: an S3 that was not written for these tests."""

import asyncio
import hashlib
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from bintally.data.store import Store, open_store
from bintally.errors import ObjectNotFoundError, StoreError

OBJECTS = {f"pre/bin-images/{number:05d}.jpg": f"photo {number}".encode() for number in range(1, 26)}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def bucket(endpoint: str) -> Iterator[str]:
    """A bucket with objects that anyone may read."""
    s3 = boto3.resource("s3", endpoint_url=endpoint, region_name="us-east-1")
    bucket = s3.create_bucket(Bucket="photos", ACL="public-read")
    for key, data in OBJECTS.items():
        bucket.put_object(Key=key, Body=data, ACL="public-read")
    yield "s3://photos/pre"
    bucket.objects.all().delete()
    bucket.delete()


@pytest.fixture(params=["signed", "anonymous"])
def store(request: pytest.FixtureRequest, bucket: str, endpoint: str) -> Store:
    return open_store(bucket, endpoint=endpoint, anonymous=request.param == "anonymous", max_retries=1)


def test_lists_and_reads(store: Store) -> None:
    async def everything() -> dict[str, tuple[bytes, int, str | None]]:
        entries = [entry async for entry in store.list("bin-images/")]
        return {f"pre/{one.key}": (await store.get(one.key), one.size_bytes, one.etag) for one in entries}

    expected = {
        key: (data, len(data), f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"')
        for key, data in OBJECTS.items()
    }
    assert asyncio.run(everything()) == expected


def test_an_absent_object_is_not_found(store: Store) -> None:
    with pytest.raises(ObjectNotFoundError, match="not found"):
        asyncio.run(store.get("bin-images/99999.jpg"))


@pytest.mark.parametrize("size", [0, 1000, 12_000_000], ids=["empty", "small", "in-parts"])
def test_what_is_put_comes_back_and_goes_again(bucket: str, endpoint: str, size: int) -> None:
    store = open_store(bucket, endpoint=endpoint)
    data = (bytes(range(251)) * (size // 251 + 1))[:size]

    async def there_and_back() -> bytes:
        await store.put("prepared/odd name+é.bin", data)
        back = await store.get("prepared/odd name+é.bin")
        await store.delete("prepared/odd name+é.bin")
        await store.delete("prepared/odd name+é.bin")
        assert [entry async for entry in store.list("prepared/")] == []
        return back

    assert asyncio.run(there_and_back()) == data


@pytest.mark.parametrize("deed", ["get", "list", "put"])
def test_a_bucket_that_is_not_there_is_named(endpoint: str, deed: str) -> None:
    store = open_store("s3://no-such-bucket", endpoint=endpoint, max_retries=0)

    async def do() -> None:
        if deed == "get":
            await store.get("x")
        elif deed == "put":
            await store.put("x", b"x")
        else:
            [entry async for entry in store.list("")]

    with pytest.raises(StoreError, match=r"s3://no-such-bucket at .*there is no such bucket \(404 NoSuchBucket\)"):
        asyncio.run(do())
