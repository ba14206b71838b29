"""Push against stores that fail, folders that are full, and kills at any moment."""

import _thread
import asyncio
import errno
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from math import ceil
from pathlib import Path

import pytest
from tests.pushing import (
    PREFIX,
    bucket_of,
    check_all_there,
    files_of,
    folder_objects,
    hashes,
    make_dataset,
    sent_to,
)
from tests.s3_server import (
    ACCESS_DENIED,
    NO_SUCH_KEY,
    QUICK_FAULTS,
    Answer,
    Fault,
    Faults,
    MemoryObjects,
    S3Server,
)

from bintally.data import transfer
from bintally.data.manifest import FILE_NAME, Manifest, read_manifest
from bintally.data.push import push
from bintally.data.store import open_store
from bintally.errors import (
    BintallyError,
    CannotWriteError,
    StoreAccessError,
    StoreError,
    StoreUnavailableError,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


# --- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_store_that_fails_now_and_then_gets_everything(dataset: Manifest, seed: int) -> None:
    kinds = tuple(Fault) if seed == 0 else QUICK_FAULTS  # each stall is waited for
    files = len(files_of(dataset))
    with S3Server(faults=Faults(share=0.05, seed=seed, kinds=kinds), page_keys=30) as server:
        report = push(dataset, bucket_of(server, stalled_seconds=2.0), read_back=True)
        assert server.injected
        check_all_there(server.objects, dataset)
        pages = 1 + ceil(files / 30)
        assert len(server.requests) <= 2 * (files + 1) + pages + server.injected  # everything sent, everything read
        assert report.sent == report.read_back == files


@pytest.mark.parametrize("answer", [ACCESS_DENIED, NO_SUCH_KEY], ids=["403", "404"])
def test_a_file_that_is_refused_is_named_and_sent_by_the_next_push(
    s3: S3Server, dataset: Manifest, answer: Answer
) -> None:
    key = dataset.frame["photo_key"][7]
    s3.faults = Faults(fixed={PREFIX + key: answer})
    files = len(files_of(dataset))
    with pytest.raises(StoreError, match=rf"1 of {files} files did not arrive.*same command again.*cannot write {key}"):
        push(dataset, bucket_of(s3))
    assert len(s3.objects) == files - 1
    s3.faults = Faults()
    s3.forget()
    assert push(dataset, bucket_of(s3)).sent == 1
    assert sent_to(s3) == [key, FILE_NAME]
    check_all_there(s3.objects, dataset)


def test_a_store_that_refuses_everything_is_not_asked_for_long(s3: S3Server, dataset: Manifest) -> None:
    s3.faults = Faults(fixed={PREFIX + key: ACCESS_DENIED for key in [*files_of(dataset), FILE_NAME]})
    with pytest.raises(StoreAccessError, match=r"cannot write metadata/"):
        push(dataset, bucket_of(s3), concurrency=4)
    assert len(s3.requests) < 30
    assert not s3.objects


def test_a_small_dataset_refused_as_a_whole_ends_with_the_stores_own_words(s3: S3Server, dataset: Manifest) -> None:
    s3.faults = Faults(fixed={PREFIX + key: ACCESS_DENIED for key in files_of(dataset)})
    with pytest.raises(StoreAccessError, match="cannot write"):
        push(dataset, bucket_of(s3), concurrency=1000)


def test_a_store_that_is_down_ends_the_push(s3: S3Server, dataset: Manifest) -> None:
    s3.faults = Faults(always=Answer(status=503))
    with pytest.raises(StoreUnavailableError, match="same command again"):
        push(dataset, bucket_of(s3, max_retries=1, retry_seconds=1))


class LossyObjects(MemoryObjects):
    """A bucket that keeps other bytes of one object than it was given, or lists it no more."""

    def __init__(self, key: str, kept: Callable[[bytes], bytes] | None = None) -> None:
        super().__init__({})
        self._key, self._kept = key, kept

    def __setitem__(self, key: str, data: bytes) -> None:
        super().__setitem__(key, self._kept(data) if self._kept and key == self._key else data)

    def in_order(self, *, anew: bool) -> list[str]:
        return [key for key in super().in_order(anew=anew) if self._kept or key != self._key]


@pytest.mark.parametrize("kept", [None, lambda data: data[:-1]], ids=["lost", "cut"])
def test_what_is_not_listed_in_the_end_was_not_pushed(
    s3: S3Server, dataset: Manifest, kept: Callable[[bytes], bytes] | None
) -> None:
    key = dataset.frame["photo_key"][3]
    s3.objects = LossyObjects(PREFIX + key, kept)
    with pytest.raises(StoreError, match=rf"1 files were sent but are not listed with their size.*{key}"):
        push(dataset, bucket_of(s3))
    assert PREFIX + FILE_NAME not in s3.objects


def test_reading_back_finds_other_bytes_of_the_same_size(s3: S3Server, dataset: Manifest) -> None:
    key = dataset.frame["photo_key"][3]
    s3.objects = LossyObjects(PREFIX + key, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StoreError, match=rf"1 of .* did not arrive.*read back {key} with other bytes"):
        push(dataset, bucket_of(s3), read_back=True)
    assert PREFIX + FILE_NAME not in s3.objects


def test_reading_back_reads_the_manifest_too(s3: S3Server, dataset: Manifest) -> None:
    s3.objects = LossyObjects(PREFIX + FILE_NAME, lambda data: data[:-1])
    with pytest.raises(StoreError, match=rf"read back {FILE_NAME} with other bytes"):
        push(dataset, bucket_of(s3), read_back=True)


# --- folders that cannot be written ------------------------------------------------------------------------------


def test_a_full_disk_ends_the_push_at_once(dataset: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    write = Path.write_bytes

    def until_full(path: Path, data: bytes) -> int:
        if len(written) == 10:
            write(path, data[:3])
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return write(path, data)

    store = open_store(str(tmp_path / "dest"), create=True)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", until_full)
        with pytest.raises(CannotWriteError, match=r"disk is full.*same command again"):
            push(dataset, store)
    there = folder_objects(tmp_path / "dest")
    assert len(there) == 10
    assert hashes(there).items() < files_of(dataset).items()
    assert push(dataset, store).kept == 10
    check_all_there(folder_objects(tmp_path / "dest"), dataset, "")


def test_a_folder_that_takes_no_files_is_named(dataset: Manifest, tmp_path: Path) -> None:
    (tmp_path / "metadata").touch()
    with pytest.raises(CannotWriteError, match=r"metadata.*cannot write"):
        push(dataset, open_store(str(tmp_path), create=True))


# --- a kill at any moment ----------------------------------------------------------------------------------------

PUSH = """
import sys
from pathlib import Path
from bintally.data.manifest import read_manifest
from bintally.data.push import push
from bintally.data.store import open_store
push(
    read_manifest(Path(sys.argv[1])),
    open_store(sys.argv[2], endpoint=sys.argv[3] or None, anonymous=True, create=True),
    concurrency=4,
)
"""


def push_and_kill(dataset: Manifest, destination: str, endpoint: str, far_enough: Callable[[], bool]) -> None:
    """Push in a process of its own and kill it when it is far enough."""
    process = subprocess.Popen([sys.executable, "-c", PUSH, str(dataset.root), destination, endpoint])
    while process.poll() is None and not far_enough():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() in (0, -signal.SIGKILL)


def test_after_kills_the_next_push_goes_on(s3: S3Server, dataset: Manifest) -> None:
    files = len(files_of(dataset))

    def has_taken(share: float) -> bool:
        if len(s3.objects) < share * files:
            return False
        s3.delay_seconds = 60.0  # nothing is answered any more
        return True

    for share in (0.1, 0.5, 0.8):
        s3.delay_seconds = 0.005
        push_and_kill(dataset, f"s3://bucket/{PREFIX}", s3.endpoint, partial(has_taken, share))
        assert hashes(s3.objects, PREFIX).items() < files_of(dataset).items()
    killed_at = len(s3.objects)
    s3.delay_seconds = 0.0
    report = push(dataset, bucket_of(s3))
    assert (report.kept, report.sent) == (killed_at, files - killed_at)
    check_all_there(s3.objects, dataset)
    with S3Server() as undisturbed:
        push(dataset, bucket_of(undisturbed))
        assert undisturbed.objects == s3.objects


def test_after_a_kill_a_folder_is_made_whole(dataset: Manifest, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    push_and_kill(dataset, str(dest), "", (dest / "bin-images").exists)
    assert not (dest / FILE_NAME).exists() or read_manifest(dest)
    push(dataset, open_store(str(dest), create=True))
    check_all_there(folder_objects(dest), dataset, "")
    push(dataset, open_store(str(tmp_path / "undisturbed"), create=True))
    assert folder_objects(dest) == folder_objects(tmp_path / "undisturbed")


def test_a_push_says_what_went_wrong_in_one_line(s3: S3Server, dataset: Manifest) -> None:
    s3.faults = Faults(always=ACCESS_DENIED)
    with pytest.raises(BintallyError) as caught:
        push(dataset, bucket_of(s3))
    assert "\n" not in str(caught.value)


def test_a_run_ends_after_the_threads_that_hand_over_results() -> None:
    """One of obstore's that is still in Python when the interpreter ends aborts it: no exit code of ours."""
    ended: list[float] = []

    def hand_over() -> None:
        time.sleep(0.2)
        ended.append(time.monotonic())

    async def job() -> None:
        _thread.start_new_thread(hand_over, ())  # as obstore's, unknown to threading
        await asyncio.sleep(0.05)

    transfer.run(job())
    assert ended
