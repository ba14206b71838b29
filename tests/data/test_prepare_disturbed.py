"""Prepare into buckets, into ones that fail, into full disks, and killed on the way: everything arrives, once.

`BINTALLY_KILLS=10` kills it as often as one likes; three times by default.
"""

import asyncio
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal
from tests.preparing import JPEG, SIDE_PX, draw_dataset, files
from tests.s3_server import ACCESS_DENIED, EXPIRED_TOKEN, LIST, NO_SUCH_BUCKET, Faults, S3Server

from bintally.data import prepare as module
from bintally.data import preparing, store
from bintally.data.ingest import ingest
from bintally.data.manifest import FILE_NAME, Flag, Manifest, manifest_bytes, parse_manifest, read_manifest
from bintally.data.prepare import prepare
from bintally.data.source import COMPLETE
from bintally.data.store import Store, open_store
from bintally.errors import (
    CannotWriteError,
    ManifestError,
    StoreAccessError,
    StoreError,
    StoreUnavailableError,
)

PHOTOS = 120
KILLS = int(os.environ.get("BINTALLY_KILLS", "3"))
RATE = 150  # photos a second of a run that is to be killed: so it takes about a second

# As `bintally prepare` runs, but with checkpoints in a hurry.
RUN = f"""
import sys
from pathlib import Path
from bintally.data import prepare as module
from bintally.data.manifest import read_manifest
from bintally.data.store import open_store
module.CHECKPOINT_SECONDS, module._CHECKPOINT_SHARE = 0.05, 1
data, dest, endpoint = sys.argv[1:]
store = open_store(dest, endpoint=endpoint or None, anonymous=True, create=True)
report = module.prepare(
    read_manifest(Path(data)), store, module.PrepareSettings(side_px={SIDE_PX}), per_second={RATE}
)
print(report.prepared, report.kept)
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return draw_dataset(tmp_path_factory.mktemp("drawn"), photos=PHOTOS)


@pytest.fixture(scope="module")
def undisturbed(drawn: Manifest) -> dict[str, bytes]:
    """What lies in a bucket after a run that nothing disturbed."""
    with S3Server() as server:
        prepare(drawn, bucket(server), JPEG)
        return dict(server.objects)


@pytest.fixture
def server() -> Iterator[S3Server]:
    with S3Server(page_keys=50) as server:
        yield server


def bucket(server: S3Server, name: str = "bucket", **options: object) -> Store:
    limits = {"anonymous": True, "max_retries": 6, "retry_seconds": 20, "stalled_seconds": 0.3} | options
    return open_store(f"s3://{name}", endpoint=server.endpoint, create=True, **limits)  # type: ignore[arg-type]


def needed(manifest: Manifest) -> int:
    """Requests of a run into an empty bucket: a listing, photos, records, the manifest twice."""
    return 1 + manifest.frame["sha256"].count() + manifest.frame["record_sha256"].count() + 2


# --- buckets -----------------------------------------------------------------------------------------------------


def test_a_bucket_gets_what_a_folder_gets(drawn: Manifest, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    prepare(drawn, open_store(str(tmp_path), create=True), JPEG)
    here = files(tmp_path)
    assert_frame_equal(parsed(undisturbed).frame, parsed(here).frame)
    assert {**here, FILE_NAME: b""} == {**undisturbed, FILE_NAME: b""}


def parsed(objects: dict[str, bytes]) -> Manifest:
    return parse_manifest(objects[FILE_NAME], Path(), FILE_NAME)


def test_a_bucket_gets_no_path_of_this_machine(drawn: Manifest, undisturbed: dict[str, bytes]) -> None:
    header = parsed(undisturbed).header
    assert header.source.startswith("folder:data-")
    assert header.origin.startswith("folder:bins-")
    assert str(drawn.root.parent).encode() not in undisturbed[FILE_NAME]


def test_a_bucket_is_ingested_as_it_was_prepared(server: S3Server, drawn: Manifest, tmp_path: Path) -> None:
    prepare(drawn, bucket(server), JPEG)
    ingest(bucket(server), tmp_path)
    there = parsed(dict(server.objects))
    here = read_manifest(tmp_path)
    assert_frame_equal(here.frame, there.frame)
    assert here.header.extra["prepared"] == JPEG.to_json()
    assert here.header.origin == there.header.origin
    assert here.split_hash == drawn.split_hash


def test_requests_are_as_few_as_can_be(server: S3Server, drawn: Manifest) -> None:
    prepare(drawn, bucket(server), JPEG)
    assert len(server.requests) == needed(drawn)
    server.forget()
    prepare(drawn, bucket(server), JPEG)
    pages = -(-len(server.objects) // 50)
    assert len(server.requests) == pages + 1  # the listing and the manifest, and nothing is written


def test_checkpoints_are_written_on_the_way_and_may_fail(
    server: S3Server, drawn: Manifest, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.02)
    monkeypatch.setattr(module, "_CHECKPOINT_SHARE", 0)
    destination, notes = failing_at(bucket(server), {2, 4})
    report = prepare(drawn, destination, JPEG, per_second=RATE)
    assert (report.prepared, report.refused.count) == (PHOTOS, 0)
    assert len(notes) > 4
    assert (notes[:-1], notes[-1]) == (["no"] * (len(notes) - 1), None)
    assert dict(server.objects) == undisturbed


def failing_at(store: Store, failing: set[int]) -> tuple[Store, list[str | None]]:
    """A store that refuses some of its manifests, by their number; and each one's note of completeness."""
    notes: list[str | None] = []
    busy = asyncio.Lock()

    class Failing(Store):
        async def put(self, key: str, data: bytes) -> None:
            if key != FILE_NAME:
                return await store.put(key, data)
            assert not busy.locked()  # of two under way the older one might arrive last
            async with busy:
                await asyncio.sleep(0.1)
                notes.append(parse_manifest(data, Path(), key).header.extra.get(COMPLETE))
                if len(notes) in failing:
                    raise StoreError("no checkpoint now")
                return await store.put(key, data)

    return Failing(**{each.name: getattr(store, each.name) for each in fields(Store)}), notes


@pytest.mark.parametrize("seed", [1, 2])
def test_everything_arrives_in_a_bucket_that_fails(
    server: S3Server, drawn: Manifest, undisturbed: dict[str, bytes], seed: int
) -> None:
    server.faults = Faults(share=0.05, seed=seed)
    report = prepare(drawn, bucket(server), JPEG, concurrency=16)
    assert (report.prepared, report.refused.count) == (PHOTOS, 0)
    assert dict(server.objects) == undisturbed
    assert server.injected > 5
    assert len(server.requests) <= needed(drawn) + server.injected


def test_what_a_bucket_refuses_is_told_and_comes_the_next_time(
    server: S3Server, drawn: Manifest, undisturbed: dict[str, bytes]
) -> None:
    photos, records = (
        sorted(key for key in undisturbed if key.startswith(folder)) for folder in ("bin-images/", "metadata/")
    )
    server.faults = Faults(fixed={photos[5]: ACCESS_DENIED, records[20]: ACCESS_DENIED})
    report = prepare(drawn, bucket(server), JPEG)
    assert (report.prepared, report.refused.count) == (PHOTOS - 2, 2)
    refused = parsed(dict(server.objects)).frame.filter(flags=[Flag.NOT_FETCHED.value])
    assert refused.height == 2
    assert COMPLETE not in parsed(dict(server.objects)).header.extra
    server.faults = Faults()
    assert prepare(drawn, bucket(server), JPEG).prepared == 2
    assert dict(server.objects) == undisturbed


def test_signed_requests_are_signed(
    server: S3Server, drawn: Manifest, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    server.faults = Faults(signed_only=True)
    prepare(drawn, bucket(server, anonymous=None), JPEG)
    assert dict(server.objects) == undisturbed
    assert all(request.signed for request in server.requests)


# --- destinations that cannot be ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (Faults(always=ACCESS_DENIED), StoreAccessError),
        (Faults(always=EXPIRED_TOKEN), StoreAccessError),
        (Faults(always=NO_SUCH_BUCKET), StoreError),
        (Faults(fixed={LIST: ACCESS_DENIED}), StoreAccessError),
        (Faults(fixed={FILE_NAME: ACCESS_DENIED}), StoreAccessError),
        (Faults(signed_only=True), StoreAccessError),
    ],
    ids=["forbidden", "expired", "no bucket", "cannot be listed", "manifest forbidden", "needs a signature"],
)
def test_a_bucket_that_refuses_is_told_before_any_photo_is_read(
    server: S3Server, drawn: Manifest, monkeypatch: pytest.MonkeyPatch, faults: Faults, error: type[StoreError]
) -> None:
    server.faults = faults
    monkeypatch.setattr(preparing, "decode", None)
    with pytest.raises(error, match="s3://bucket"):
        prepare(drawn, bucket(server), JPEG)
    assert not server.objects


def test_a_wrong_endpoint_is_told(drawn: Manifest, server: S3Server) -> None:
    nowhere = open_store("s3://bucket", endpoint="http://127.0.0.1:9", anonymous=True, max_retries=1, retry_seconds=1)
    with pytest.raises(StoreUnavailableError, match="--endpoint"):
        prepare(drawn, nowhere, JPEG)


def test_photos_of_others_in_a_bucket_are_left_alone(server: S3Server, drawn: Manifest) -> None:
    server.objects["bin-images/00001.jpg"] = b"an original"
    with pytest.raises(ManifestError, match="holds 1 photos and 0 records, but no manifest"):
        prepare(drawn, bucket(server), JPEG)
    assert dict(server.objects) == {"bin-images/00001.jpg": b"an original"}


def test_a_folder_that_cannot_be_written_is_told(drawn: Manifest, tmp_path: Path) -> None:
    (tmp_path / "bin-images").write_text("a file where a folder should be")
    with pytest.raises(CannotWriteError, match="bin-images"):
        prepare(drawn, open_store(str(tmp_path), create=True), JPEG)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_disk_that_is_full_ends_the_run_and_the_next_goes_on(
    drawn: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(store, "whole_file", full_after(60, store.whole_file, number))  # all files go through it
    with pytest.raises(CannotWriteError, match=r"dest/(bin-images|metadata)/.*cannot write"):
        prepare(drawn, open_store(str(tmp_path / "dest"), create=True), JPEG)
    monkeypatch.undo()
    prepare(drawn, open_store(str(tmp_path / "dest"), create=True), JPEG)
    prepare(drawn, open_store(str(tmp_path / "fresh"), create=True), JPEG)
    assert files(tmp_path / "dest") == files(tmp_path / "fresh")


def full_after(count: int, write: Callable[[Path], object], number: int) -> Callable[[Path], object]:
    """`write`, until so many files were written."""
    written = 0

    def limited(path: Path) -> object:
        nonlocal written
        written += 1
        if written > count:
            raise OSError(number, os.strerror(number))
        return write(path)

    return limited


# --- ended before its time ---------------------------------------------------------------------------------------


def start(manifest: Manifest, dest: Path | str, endpoint: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, str(manifest.root), str(dest), endpoint]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_again_and_again(
    start_run: Callable[[], subprocess.Popen[str]], begun: Callable[[], bool], seed: int
) -> tuple[int, int]:
    """Kill a run at random moments after it began, let the last one end; (prepared, kept) of that one."""
    moments = random.Random(seed)  # noqa: S311 - nothing is to be kept secret
    for _ in range(KILLS):
        process = start_run()
        while not begun() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.6 * PHOTOS / RATE))
        process.kill()
        process.communicate()
    out, err = start_run().communicate(timeout=60)
    assert out, err
    prepared, kept = out.split()
    return int(prepared), int(kept)


def test_killed_runs_into_a_folder_end_with_the_bytes_of_an_undisturbed_one(drawn: Manifest, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    prepared, kept = kill_again_and_again(lambda: start(drawn, dest), (dest / FILE_NAME).exists, seed=1)
    assert prepared + kept == PHOTOS
    prepare(drawn, open_store(str(tmp_path / "fresh"), create=True), JPEG)
    assert files(dest) == files(tmp_path / "fresh")


def test_killed_runs_into_a_bucket_end_with_the_bytes_of_an_undisturbed_one(
    server: S3Server, drawn: Manifest, undisturbed: dict[str, bytes]
) -> None:
    def start_run() -> subprocess.Popen[str]:
        return start(drawn, "s3://bucket", server.endpoint)

    prepared, kept = kill_again_and_again(start_run, lambda: FILE_NAME in server.objects, seed=2)
    assert prepared + kept == PHOTOS
    assert dict(server.objects) == undisturbed


def test_ctrl_c_ends_it_at_once_and_what_is_done_is_kept(drawn: Manifest, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    process = start(drawn, dest)
    while len(list(dest.glob("bin-images/*.jpg"))) < 20 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert "KeyboardInterrupt" in err
    names = {path.name for path in (dest / "bin-images").iterdir()}
    assert not any(name.startswith(".") for name in names)
    unfinished = read_manifest(dest)
    assert unfinished.header.extra[COMPLETE] == "no"
    under_way = os.cpu_count() or 1
    assert len(names) - under_way <= unfinished.frame["sha256"].count() <= len(names)
    report = prepare(drawn, open_store(str(dest), create=True), JPEG)
    assert report.kept == unfinished.frame["sha256"].count()
    prepare(drawn, open_store(str(tmp_path / "fresh"), create=True), JPEG)
    assert files(dest) == files(tmp_path / "fresh")


def test_an_unfinished_place_is_not_ingested_and_goes_on(drawn: Manifest, server: S3Server, tmp_path: Path) -> None:
    prepare(drawn, bucket(server), JPEG)
    whole = dict(server.objects)
    there = parsed(whole)
    half = replace(there, frame=there.frame.head(50))
    half = replace(half, header=replace(half.header, extra={**half.header.extra, COMPLETE: "no"}))
    server.objects[FILE_NAME] = manifest_bytes(half)
    with pytest.raises(ManifestError, match="not finished"):
        ingest(bucket(server), tmp_path)
    assert prepare(drawn, bucket(server), JPEG).kept == 50
    assert dict(server.objects) == whole
