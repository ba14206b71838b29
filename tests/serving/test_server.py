"""A server as a process of its own: load, slow and vanishing clients, its log, and its end."""

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from tests.serving.asked import JPEG, JSON, PHOTO, instances
from tests.serving.server_process import GATED, ServerProcess, wait_for
from tests.tiny_model import write_tiny_model

from bintally.serving.server import listening_at

Start = Callable[..., ServerProcess]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
def start(tmp_path: Path, gate: Path) -> Iterator[Start]:
    """Starts a server whose engine waits while the gate's file is there; ends it after the test."""
    model = write_tiny_model(tmp_path / "model.onnx")
    started: list[ServerProcess] = []

    def begin(**settings: object) -> ServerProcess:
        environment = {f"BINTALLY_SERVE_{name.upper()}": str(value) for name, value in settings.items()}
        server = ServerProcess([*GATED, model], tmp_path, environment={**environment, "GATE": str(gate)}).__enter__()
        started.append(server)
        return server

    yield begin
    gate.unlink(missing_ok=True)
    for server in started:
        server.__exit__()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def ask(server: ServerProcess, pool: ThreadPoolExecutor) -> "Future[httpx.Response]":
    return pool.submit(server.client.post, "/invocations", content=PHOTO, headers=JPEG)


def connect(server: ServerProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def head(length: object, *more: str) -> bytes:
    lines = ["POST /invocations HTTP/1.1", "Host: x", "Content-Type: image/jpeg", f"Content-Length: {length}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def answered(line: socket.socket) -> tuple[int, str]:
    """Status and all the rest, once the server has closed the line."""
    data = b""
    while chunk := line.recv(65536):
        data += chunk
    return int(data.split()[1]) if data else 0, data.decode()


def test_ready_only_after_a_photo_was_counted(start: Start, gate: Path) -> None:
    gate.touch()
    server = start()
    assert server.client.get("/ping").status_code == 503
    assert server.client.post("/invocations", content=PHOTO, headers=JPEG).json()["error"]["code"] == "not-ready"
    gate.unlink()
    server.ready()
    assert "ready: tiny; licence: Apache-2.0" in server.stderr


def test_a_full_queue_refuses_and_the_others_are_answered(start: Start, gate: Path, pool: ThreadPoolExecutor) -> None:
    server = start(queue=3, threads=1).ready()
    gate.touch()
    asked = [ask(server, pool) for _ in range(5)]
    wait_for(lambda: sum(each.done() for each in asked) == 2)
    refused = [each.result() for each in asked if each.done()]
    assert [(each.status_code, each.json()["error"]["code"]) for each in refused] == [(503, "overloaded")] * 2
    assert all(each.headers["Retry-After"] == "1" for each in refused)
    assert server.client.get("/ping").status_code == 200, "full is not ill"
    gate.unlink()
    assert sorted(each.result().status_code for each in asked) == [200, 200, 200, 503, 503]
    assert server.client.post("/invocations", content=PHOTO, headers=JPEG).status_code == 200


def test_what_comes_too_late_is_504(start: Start, gate: Path) -> None:
    server = start(deadline_seconds=0.2).ready()
    gate.touch()
    late = server.client.post("/invocations", content=PHOTO, headers=JPEG)
    assert (late.status_code, late.json()["error"]["code"]) == (504, "too-late")
    gate.unlink()
    wait_for(lambda: server.client.post("/invocations", content=PHOTO, headers=JPEG).status_code == 200)


def test_lines_send_at_once() -> None:
    with listening_at("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


class TestSlowClients:
    def test_heads_that_never_end_block_nobody_and_are_cut(self, start: Start) -> None:
        server = start(head_seconds=1).ready()
        slow = [connect(server) for _ in range(50)]
        for number, line in enumerate(slow):
            line.sendall(head(10)[: number % 40])  # nothing at all, too
        assert server.client.post("/invocations", content=PHOTO, headers=JPEG).status_code == 200
        assert [line.recv(1) for line in slow] == [b""] * 50
        assert server.client.post("/invocations", content=PHOTO, headers=JPEG).status_code == 200

    def test_a_second_head_that_never_ends_is_cut_too(self, start: Start) -> None:
        server = start(head_seconds=0.5).ready()
        with connect(server) as line:
            line.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            first = b""
            while not first.endswith(b"}"):
                first += line.recv(65536)
            line.sendall(b"GET /pi")
            assert answered(line) == (0, "")

    def test_bodies_that_never_end_block_nobody_and_are_408(self, start: Start) -> None:
        server = start(read_seconds=0.5, queue=1).ready()
        slow = [connect(server) for _ in range(20)]
        for line in slow:
            line.sendall(head(len(PHOTO)) + PHOTO[:100])
        assert server.client.post("/invocations", content=PHOTO, headers=JPEG).status_code == 200
        for line in slow:
            status, text = answered(line)
            assert status == 408
            assert '"too-slow"' in text

    def test_two_requests_in_one_breath_get_two_answers(self, start: Start) -> None:
        server = start(head_seconds=1).ready()
        with connect(server) as line:
            line.sendall((head(len(PHOTO)) + PHOTO) * 2 + b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            _, text = answered(line)
        assert text.count("HTTP/1.1 200 OK") == 3


class TestClientsThatHangUp:
    def test_in_mid_body(self, start: Start) -> None:
        server = start(queue=1).ready()
        for _ in range(5):
            with connect(server) as line:
                line.sendall(head(len(PHOTO)) + PHOTO[:100])
        assert [line["status"] for line in server.lines("/invocations", 5)] == [499] * 5
        assert server.client.post("/invocations", content=PHOTO, headers=JPEG).status_code == 200
        assert "Traceback" not in server.stderr

    def test_while_they_wait_they_are_given_up(self, start: Start, gate: Path) -> None:
        server = start(queue=1, threads=1).ready()
        gate.touch()
        with connect(server) as line:
            line.sendall(head(len(body := instances(*[PHOTO] * 50))).replace(b"image/jpeg", b"application/json") + body)
            wait_for(gate.with_suffix(".waiting").exists)
        (said,) = server.lines("/invocations", 1)
        assert (said["status"], said["photos"]) == (499, 50)
        gate.unlink()
        for _ in range(20):  # the only place in the queue is free again
            assert server.client.post("/invocations", content=PHOTO, headers=JPEG).status_code == 200
        assert gate.with_suffix(".counted").stat().st_size <= 1 + 1 + 20, "the first, the one under way, and these"


class TestOversize:
    @pytest.fixture
    def server(self, start: Start) -> ServerProcess:
        return start(max_body_bytes=100_000, head_seconds=1).ready()

    def test_an_announced_length_is_refused_at_once(self, server: ServerProcess) -> None:
        with connect(server) as line:
            line.sendall(head(10**12))
            status, text = answered(line)  # the line is cut, as nothing else comes
        assert status == 413
        assert "at most 100,000 bytes, got 1,000,000,000,000" in text

    def test_a_stream_without_end_is_refused_and_cut(self, server: ServerProcess) -> None:
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        with connect(server) as line:
            line.sendall(head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
            with suppress(OSError):  # the server cuts the line
                while True:
                    line.sendall(chunk)
        (said,) = server.lines("/invocations", 1)
        assert (said["status"], said["error"]) == (413, "too-large")
        assert server.client.get("/ping").status_code == 200

    def test_a_client_that_sends_all_of_it_reads_the_answer(self, server: ServerProcess) -> None:
        large = b"\xff\xd8\xff" + b"x" * 3_000_000
        for body in (large, iter([large[:50_000]] * 60)):  # with a length, and in chunks without one
            answer = server.client.post("/invocations", content=body, headers=JPEG)
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too-large")
            assert server.client.post("/invocations", content=PHOTO, headers=JPEG).status_code == 200

    def test_bodies_are_bounded_together(self, start: Start) -> None:
        server = start(max_held_bytes=len(PHOTO) + 100).ready()

        def refused() -> bool:
            with connect(server) as line:
                line.sendall(head(len(PHOTO)) + PHOTO[:200])
                server.client.get("/ping")  # by now the line's bytes have come; where not, once more
                return server.client.post("/invocations", content=PHOTO, headers=JPEG).status_code == 503

        wait_for(refused)
        wait_for(lambda: server.client.post("/invocations", content=PHOTO, headers=JPEG).status_code == 200)


def test_what_is_no_request_is_400_in_json(start: Start) -> None:
    server = start().ready()
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n"  # TLS
    chunked = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"ten\r\n"
    for said in (b"garbage\r\n\r\n", hello, head("ten"), b"GET /ping HTTP/ten\r\n\r\n", chunked):
        with connect(server) as line:
            line.sendall(said)
            status, text = answered(line)
        assert status == 400, said
        assert json.loads(text.partition("\r\n\r\n")[2])["error"]["code"] == "bad-request"
    assert server.client.get("/ping").status_code == 200
    assert "Traceback" not in server.stderr


def test_a_line_for_each_request(start: Start) -> None:
    server = start().ready()
    server.client.post("/invocations", content=PHOTO, headers={**JPEG, "Authorization": "a secret"})
    server.client.post("/invocations", content=instances(PHOTO, PHOTO), headers=JSON)
    server.client.post("/invocations", content=b"text", headers=JPEG)
    one, two, bad = server.lines("/invocations", 3)
    assert list(one) == ["time", "method", "path", "status", "ms", "bytes", "photos", "count"]
    assert (one["method"], one["status"], one["bytes"], one["count"]) == ("POST", 200, len(PHOTO), 2)
    assert (two["photos"], "count" in two) == (2, False)
    assert (bad["status"], bad["error"]) == (415, "not-a-photo")
    assert "secret" not in json.dumps([one, two, bad])


class TestEnding:
    def test_sigterm_finishes_what_is_in_flight_takes_nothing_new_and_exits_0(
        self, start: Start, gate: Path, pool: ThreadPoolExecutor
    ) -> None:
        server = start(threads=1).ready()
        gate.touch()
        asked = [ask(server, pool) for _ in range(2)]
        wait_for(gate.with_suffix(".waiting").exists)
        ended = pool.submit(server.terminate)
        wait_for(lambda: refuses(server))
        assert not ended.done()
        gate.unlink()
        assert [each.result().status_code for each in asked] == [200, 200]
        assert ended.result() == 0
        assert "Traceback" not in server.stderr

    def test_after_its_grace_it_says_so_and_exits_0(self, start: Start, gate: Path, pool: ThreadPoolExecutor) -> None:
        server = start(grace_seconds=1).ready()
        gate.touch()
        asked = ask(server, pool)
        wait_for(gate.with_suffix(".waiting").exists)
        ended = pool.submit(server.terminate)
        assert (asked.result().status_code, asked.result().json()["error"]["code"]) == (503, "ending")
        gate.unlink()
        assert ended.result() == 0
        assert "Traceback" not in server.stderr

    def test_idle_lines_do_not_keep_it(self, start: Start) -> None:
        server = start().ready()
        with connect(server), connect(server) as second:
            second.sendall(b"GET /pi")
            assert server.terminate() == 0

    def test_before_it_is_ready(self, start: Start, gate: Path) -> None:
        gate.touch()
        server = start()
        server.process.terminate()
        wait_for(lambda: refuses(server))
        gate.unlink()
        assert server.process.wait(60) == 0


def refuses(server: ServerProcess) -> bool:
    try:
        connect(server).close()
    except ConnectionRefusedError:
        return True
    return False
