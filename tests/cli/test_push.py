"""`bintally push`, from its options to its summary, and what it says when the destination refuses."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.runner import Bintally
from tests.pushing import changed, check_all_there, copy_of, files_of, folder_objects, make_dataset
from tests.s3_server import (
    ACCESS_DENIED,
    EXPIRED_TOKEN,
    LIST,
    NO_SUCH_BUCKET,
    NOT_S3,
    OTHER_REGION,
    OTHER_REGION_SIGNED,
    UNKNOWN_KEY_ID,
    WRONG_SECRET,
    Faults,
    S3Server,
)

from bintally.data import store
from bintally.data.manifest import FILE_NAME, Manifest, write_manifest
from bintally.data.store import Store, open_store

DEST = "s3://bucket/some/prefix"
CLOSED_PORT = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    for name in ("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with S3Server() as server:
        yield server


def test_a_dataset_goes_to_a_bucket(bintally: Bintally, s3: S3Server, dataset: Manifest) -> None:
    done = bintally("push", dataset.root, DEST, "--endpoint", s3.endpoint)
    files = len(files_of(dataset))
    assert done.code == 0
    assert f"{DEST} at {s3.endpoint}: {files} files are there: {files} sent (" in done.out
    assert "The manifest was written last" in done.out
    assert f"Next: bintally ingest {DEST} FOLDER" in done.out
    assert all(request.signed for request in s3.requests)
    check_all_there(s3.objects, dataset)
    again = bintally("push", dataset.root, DEST, "--endpoint", s3.endpoint, "--read-back", "--concurrency", 3)
    assert again.code == 0
    assert f"0 sent (0.0 MB), {files} were there already" in again.out
    assert f"{files} were read back and compared" in again.out
    assert "The manifest is as it was" in again.out


def test_a_dataset_goes_to_a_folder(bintally: Bintally, dataset: Manifest, tmp_path: Path) -> None:
    assert bintally("push", dataset.root, tmp_path / "dest", "--rate", 1000).code == 0
    check_all_there(folder_objects(tmp_path / "dest"), dataset, "")


def test_options_reach_the_store(
    bintally: Bintally, s3: S3Server, dataset: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}

    def opened(url: str, **options: Any) -> Store:
        given.update(options)
        return open_store(url, **options)

    monkeypatch.setattr(store, "open_store", opened)
    options = ("--endpoint", s3.endpoint, "--anonymous", "--region", "eu-west-1")
    assert bintally("push", dataset.root, DEST, *options).code == 0
    assert given == {"endpoint": s3.endpoint, "region": "eu-west-1", "anonymous": True, "create": True}
    assert not any(request.signed for request in s3.requests)


def test_what_is_replaced_and_what_is_left_alone_is_said(bintally: Bintally, s3: S3Server, dataset: Manifest) -> None:
    s3.objects["some/prefix/bin-images/00001.jpg"] = b"another photo"
    s3.objects["some/prefix/bin-images/other.jpg"] = b"a photo"
    refused = bintally("push", dataset.root, DEST, "--endpoint", s3.endpoint)
    assert refused.code == 5
    assert "holds other bytes at bin-images/00001.jpg" in refused.err
    done = bintally("push", dataset.root, DEST, "--endpoint", s3.endpoint, "--replace")
    assert done.code == 0
    assert "1 of those sent took the place of other bytes" in done.out
    assert "1 other photos are there, which this manifest does not name: left alone" in done.out


REFUSALS = {
    "no-permission": (ACCESS_DENIED, "s3:ListBucket"),
    "expired": (EXPIRED_TOKEN, "expired"),
    "unknown-key": (UNKNOWN_KEY_ID, "credentials are wrong"),
    "wrong-secret": (WRONG_SECRET, "credentials are wrong"),
    "no-such-bucket": (NO_SUCH_BUCKET, "no such bucket"),
    "other-region": (OTHER_REGION, "eu-west-1"),
    "other-region-signed": (OTHER_REGION_SIGNED, "eu-west-1"),
    "not-s3": (NOT_S3, "does not speak S3"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_one_sentence(bintally: Bintally, s3: S3Server, dataset: Manifest, name: str) -> None:
    answer, said = REFUSALS[name]
    s3.faults = Faults(always=answer)
    done = bintally("push", dataset.root, DEST, "--endpoint", s3.endpoint)
    check_refused(done.code, done.err, said)


def test_that_nothing_may_be_written_there_is_one_sentence(bintally: Bintally, s3: S3Server, dataset: Manifest) -> None:
    s3.faults = Faults(fixed={f"some/prefix/{key}": ACCESS_DENIED for key in files_of(dataset)})
    done = bintally("push", dataset.root, DEST, "--endpoint", s3.endpoint)
    check_refused(done.code, done.err, "no permission for s3:PutObject on arn:aws:s3:::bucket/some/prefix/")


def check_refused(code: int, err: str, said: str) -> None:
    assert code == 3
    assert said in err
    lines = err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"bintally: {DEST} at http://127.0.0.1:")
    assert "To do: " in err
    assert "hunter2" not in err


def test_one_file_that_is_refused_is_named(bintally: Bintally, s3: S3Server, dataset: Manifest) -> None:
    s3.faults = Faults(fixed={"some/prefix/bin-images/00003.jpg": ACCESS_DENIED})
    done = bintally("push", dataset.root, DEST, "--endpoint", s3.endpoint)
    assert done.code == 3
    assert f"1 of {len(files_of(dataset))} files did not arrive" in done.err
    assert "bin-images/00003.jpg" in done.err


def test_a_changed_file_is_named(bintally: Bintally, s3: S3Server, dataset: Manifest, tmp_path: Path) -> None:
    spoilt = copy_of(dataset, tmp_path / "data")
    (spoilt.root / "bin-images/00001.jpg").write_bytes(b"changed")
    done = bintally("push", spoilt.root, DEST, "--endpoint", s3.endpoint)
    assert done.code == 5
    assert "bin-images/00001.jpg has changed" in done.err
    assert f"some/prefix/{FILE_NAME}" not in s3.objects


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("{data}", DEST, "--concurrency", "0"), 2),
        (("{data}", DEST, "--rate", "0"), 2),
        (("{data}/none", DEST), 2),
        (("{data}", "{data}"), 2),
        (("{data}", "gs://bucket"), 3),
        (("{data}", "{data}/manifest.parquet"), 3),
        (("{data}/bin-images", DEST), 5),
    ],
)
def test_what_cannot_be_meant_has_its_exit_code(
    bintally: Bintally, s3: S3Server, dataset: Manifest, arguments: tuple[str, ...], code: int
) -> None:
    words = [word.replace("{data}", str(dataset.root)) for word in arguments]
    assert bintally("push", *words, "--endpoint", s3.endpoint).code == code
    assert not s3.objects


def test_an_older_manifest_there_may_be_grown(
    bintally: Bintally, s3: S3Server, dataset: Manifest, tmp_path: Path
) -> None:
    fewer = copy_of(dataset, tmp_path / "data")
    fewer = changed(Manifest(frame=fewer.frame.slice(4), root=fewer.root, header=fewer.header))
    write_manifest(fewer)
    assert bintally("push", fewer.root, DEST, "--endpoint", s3.endpoint).code == 0
    assert bintally("push", dataset.root, DEST, "--endpoint", s3.endpoint).code == 0
    back = bintally("push", fewer.root, DEST, "--endpoint", s3.endpoint)
    assert back.code == 5
    assert "4 of its photos are not in this one" in back.err
    check_all_there(s3.objects, dataset)


def test_ctrl_c_ends_it_cleanly(s3: S3Server, dataset: Manifest) -> None:
    s3.delay_seconds = 0.01
    call = "from bintally.cli.app import main; main()"
    words = ["push", str(dataset.root), DEST, "--endpoint", s3.endpoint, "--concurrency", "1"]
    process = subprocess.Popen([sys.executable, "-c", call, *words], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and s3.asked("PUT") < 5:
        time.sleep(0.001)
    s3.delay_seconds = 60.0  # nothing is answered any more, and it must not wait for that
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert f"some/prefix/{FILE_NAME}" not in s3.objects
    assert s3.asked("GET", LIST) == 1
