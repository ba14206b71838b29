"""The tests' own S3 server: tests that count its faults rely on these."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request as Asking
from urllib.request import urlopen

import pytest
from tests import s3_server
from tests.s3_server import ACCESS_DENIED, LIST, Fault, Faults, Request, S3Server

KEYS = [f"bin-images/{number:05d}.jpg" for number in range(2000)]


def get(key: str) -> Request:
    return Request(method="GET", key=key, query={}, signed=False)


def ask(address: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    asking = Asking(address, method=method, data=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urlopen(asking, timeout=10) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


@pytest.fixture
def server() -> Iterator[S3Server]:
    with S3Server({"a/1": b"one", "a/2": b"two", "b/<&>": b"odd"}, page_keys=2) as server:
        yield server


def test_the_share_of_faults_is_what_was_asked_for_and_of_all_kinds() -> None:
    faults = Counter(Faults(share=0.05, seed=1).of(get(key), 0) for key in KEYS)
    assert 70 < 2000 - faults[None] < 130
    assert all(faults[kind] > 5 for kind in Fault)


def test_faults_are_a_function_of_seed_and_request() -> None:
    first, again, other = (
        [Faults(share=0.05, seed=seed).of(get(key), tries) for key in KEYS for tries in (0, 1)] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_same_request_succeeds_after_so_many_faults() -> None:
    faults = Faults(share=1.0, in_a_row=2)
    assert [faults.of(get("x"), tries) is None for tries in range(3)] == [False, False, True]
    scripted = Faults(script={"x": [Fault.CUT, Fault.RESET]})
    assert [scripted.of(get("x"), tries) for tries in range(3)] == [Fault.CUT, Fault.RESET, None]


def test_requests_and_faults_are_counted(server: S3Server) -> None:
    server.faults = Faults(script={"a/1": [Fault.ERROR]}, fixed={"a/2": ACCESS_DENIED})
    answers = [ask(f"{server.endpoint}/bucket/a/{name}")[0] for name in "1122"]
    assert answers == [500, 200, 403, 403]
    assert (len(server.requests), server.injected, server.asked("GET", "a/2")) == (4, 1, 2)
    assert server.injected_kinds == {Fault.ERROR: 1}
    server.forget()
    assert ask(f"{server.endpoint}/bucket/a/1")[0] == 500, "the script begins anew"


def test_pages_follow_each_other(server: S3Server) -> None:
    _, first = ask(f"{server.endpoint}/bucket?list-type=2")
    assert b"<IsTruncated>true" in first
    assert b"<NextContinuationToken>a/2<" in first
    _, second = ask(f"{server.endpoint}/bucket?list-type=2&continuation-token=a/2")
    assert b"<Key>b/&lt;&amp;&gt;</Key>" in second
    assert b"<IsTruncated>false" in second
    assert b"a/1" not in ask(f"{server.endpoint}/bucket?list-type=2&start-after=a/1")[1].replace(b"start-after", b"")
    assert server.asked("GET", LIST) == 3


def test_a_wrong_checksum_is_refused_and_nothing_stored(server: S3Server) -> None:
    status, said = ask(f"{server.endpoint}/bucket/new", "PUT", b"data", x_amz_checksum_sha256="AAAA")
    assert (status, b"<Code>BadDigest</Code>" in said) == (400, True)
    assert "new" not in server.objects


def test_unsigned_requests_are_refused_where_told(server: S3Server) -> None:
    server.faults = Faults(signed_only=True)
    assert ask(f"{server.endpoint}/bucket/a/1")[0] == 403
    assert ask(f"{server.endpoint}/bucket/a/1", Authorization="AWS4 ...")[0] == 200


def test_as_a_process_it_serves_a_folder(tmp_path: Path) -> None:
    (tmp_path / "bin-images").mkdir()
    (tmp_path / "bin-images" / "1.jpg").write_bytes(b"one")
    command = [sys.executable, s3_server.__file__, "--folder", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        endpoint = process.stdout.readline().strip()
        assert ask(f"{endpoint}/bucket/bin-images/1.jpg") == (200, b"one")
        assert ask(f"{endpoint}/bucket/bin-images/2.jpg", "PUT", b"two")[0] == 200
        assert ask(f"{endpoint}/bucket/../secret", "PUT", b"x")[0] >= 400
        assert b"<Key>bin-images/2.jpg</Key>" in ask(f"{endpoint}/bucket?list-type=2&prefix=bin-images/")[1]
        assert json.loads(ask(f"{endpoint}/-/stats")[1])["methods"] == {"GET": 2, "PUT": 2}
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / "bin-images" / "2.jpg").read_bytes() == b"two"
    assert not (tmp_path.parent / "secret").exists()
