"""One photo, every way in: Python, the command line, HTTP and Lambda give the very same numbers."""

import base64
import json
from pathlib import Path

import pytest
from tests.cli.runner import Bintally
from tests.serving.server_process import BINTALLY, ServerProcess

from bintally.inference.archive import pack_model, unpack_model
from bintally.inference.engine import Engine
from bintally.serving import lambda_handler


def test_all_ways_give_the_same(
    tiny_run: Path,
    photo_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a model that was trained, exported, packed and unpacked."""
    model = unpack_model(pack_model(tiny_run, tmp_path / "model.tar.gz"), tmp_path / "model")
    photo = photo_file.read_bytes()
    believed = Engine(tiny_run / "model.onnx").count(photo)
    row = believed.probabilities.tolist()
    assert len(set(row)) > 2, "it says something"

    (line,) = Bintally(monkeypatch, capsys)("count", photo_file, "--model", model, "--json").lines
    assert line["probabilities"] == row

    record = {"photo": photo_file.name, "image": base64.b64encode(photo).decode()}
    with ServerProcess([*BINTALLY, "--model", model.parent], tmp_path) as server:
        client = server.ready().client
        assert client.post("/invocations", content=photo, headers={"Content-Type": "image/jpeg"}).json() == [row]
        assert client.post("/invocations", json={"instances": [record]}).json() == [row]
        said = client.post("/invocations", json=record, headers={"Accept": "application/jsonlines"}).json()
        assert {name: said[name] for name in line} == line, "all that `count --json` says, and the mean"
        csv = client.post("/invocations", json=record, headers={"Accept": "text/csv"}).text
        assert [float(cell) for cell in csv.split(",")] == row
        (full,) = client.post("/v1/count", json=record).json()["predictions"]
        assert full["probabilities"] == row

    monkeypatch.setenv("BINTALLY_MODEL", str(model))
    lambda_handler._loaded.cache_clear()
    event = {"requestContext": {"http": {"method": "POST"}}, "headers": {"content-type": "image/jpeg"}}
    body = {"body": base64.b64encode(photo).decode(), "isBase64Encoded": True}
    assert json.loads(lambda_handler.handler({**event, **body})["body"]) == [row]
    lambda_handler._loaded.cache_clear()
