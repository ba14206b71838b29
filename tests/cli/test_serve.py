"""`bintally serve`: it begins, says where and what, and ends; what stands in its way is one sentence."""

import signal
import socket
from pathlib import Path

import pytest
from tests.cli.runner import Bintally
from tests.serving.asked import JPEG, PHOTO
from tests.serving.server_process import BINTALLY, ServerProcess
from tests.tiny_model import write_tiny_model


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=str)
def test_it_serves_until_told(signum: signal.Signals, code: int, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model.onnx")
    command = [*BINTALLY, "--model", model, "--threads", "1", "--queue", "2", "--deadline", "30", "--level", "0.5"]
    with ServerProcess(command, tmp_path) as server:
        answer = server.ready().client.post("/v1/count", content=PHOTO, headers=JPEG).json()
        assert answer["predictions"][0]["interval"] == [2, 2], "the level"
        assert server.client.get("/execution-parameters").json()["MaxConcurrentTransforms"] == 2, "threads and queue"
        server.process.send_signal(signum)
        assert server.process.wait(60) == code
    assert "ready: tiny; licence: Apache-2.0" in server.stderr
    assert "Traceback" not in server.stderr


def test_a_model_that_is_none_is_6(bintally: Bintally, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("text")
    damaged = bintally("serve", "--port", "0", "--model", tmp_path / "model.onnx")
    assert damaged.code == 6
    assert "not a readable ONNX model" in damaged.err.splitlines()[-1]
    assert bintally("serve", "--port", "0", "--model", tmp_path / "gone.onnx").code == 6


def test_a_port_that_is_taken_is_2(bintally: Bintally, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model.onnx")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run = bintally("serve", "--model", model, "--port", taken.getsockname()[1])
    assert run.code == 2
    assert "cannot listen there" in run.err
    assert "--port" in run.err
    nowhere = bintally("serve", "--model", model, "--host", "no-such-host.invalid")
    assert nowhere.code == 2


def test_a_variable_that_cannot_be_meant_is_2(
    bintally: Bintally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINTALLY_SERVE_MAX_PHOTOS", "many")
    run = bintally("serve", "--model", write_tiny_model(tmp_path / "model.onnx"))
    assert run.code == 2
    assert "BINTALLY_SERVE_MAX_PHOTOS" in run.err
