"""The Lambda function: events in, the answers of /invocations out."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.asked import PHOTO, instances, lines, record
from tests.tiny_model import write_tiny_model

from bintally.inference.archive import pack_model
from bintally.inference.engine import Engine
from bintally.serving import lambda_handler
from bintally.serving.lambda_handler import handler


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The function's model; loaded anew for each test."""
    model = write_tiny_model(tmp_path / "run" / "model.onnx")
    monkeypatch.setenv("BINTALLY_MODEL", str(model))
    lambda_handler._loaded.cache_clear()
    yield model
    lambda_handler._loaded.cache_clear()


def event(body: bytes, content_type: str, *, path: str = "/invocations", method: str = "POST") -> dict[str, Any]:
    """As API Gateway's payload 2.0 and function URLs have it."""
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": {"content-type": content_type},
        "requestContext": {"http": {"method": method, "path": path}},
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def old_event(body: bytes, content_type: str) -> dict[str, Any]:
    """As API Gateway's payload 1.0 has it."""
    return {
        "httpMethod": "POST",
        "path": "/stage/invocations",
        "headers": {"Content-Type": content_type},
        "requestContext": {"stage": "stage"},
        "body": body.decode(),
        "isBase64Encoded": False,
    }


def refused(answer: dict[str, Any]) -> tuple[int, str]:
    return answer["statusCode"], json.loads(answer["body"])["error"]["code"]


def test_an_image(model: Path) -> None:
    answer = handler(event(PHOTO, "image/jpeg"))
    assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, False)
    assert answer["headers"] == {"content-type": "application/json"}
    assert json.loads(answer["body"]) == [Engine(model).count(PHOTO).probabilities.tolist()]


@pytest.mark.parametrize(
    "given",
    [
        event(instances(PHOTO), "application/json"),
        old_event(instances(PHOTO), "application/json"),
        {"instances": [record()]},
        record(),
        event(PHOTO, "application/octet-stream"),
    ],
    ids=["2.0", "1.0", "bare instances", "bare image", "bytes"],
)
def test_events_of_all_kinds_give_the_same(given: dict[str, Any]) -> None:
    assert handler(given)["body"] == handler(event(PHOTO, "image/jpeg"))["body"]


def test_lines_and_their_errors() -> None:
    answer = handler(event(lines(PHOTO, b"text"), "application/jsonlines"))
    assert answer["headers"]["content-type"] == "application/jsonlines"
    good, bad = (json.loads(line) for line in answer["body"].splitlines())
    assert (good["count"], bad["error"]["code"]) == (2, "not-a-photo")


def test_other_paths() -> None:
    full = json.loads(handler(event(PHOTO, "image/jpeg", path="/v1/count"))["body"])
    assert full["predictions"][0]["count"] == 2
    assert json.loads(handler(event(b"", "", path="/ping", method="GET"))["body"]) == {
        "status": "ready",
        "model": "tiny",
    }
    assert json.loads(handler(event(b"", "", path="/v1/model", method="GET"))["body"]) == full["model"]


def test_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(handler(event(b"text", "image/jpeg"))) == (415, "not-a-photo")
    assert refused(handler(event(PHOTO, "text/plain"))) == (415, "wrong-type")
    assert refused(handler(event(PHOTO, "image/jpeg", method="GET"))) == (405, "method-not-allowed")
    assert refused(handler({**event(PHOTO, "image/jpeg"), "body": "#"})) == (400, "bad-request")
    assert refused(handler({})) == (422, "no-photo")
    monkeypatch.setenv("BINTALLY_SERVE_MAX_BODY_BYTES", "10")
    lambda_handler._loaded.cache_clear()
    assert refused(handler(event(PHOTO, "image/jpeg"))) == (413, "too-large")


def test_it_answers_before_its_time_is_over() -> None:
    class Context:
        def __init__(self) -> None:
            self.left = [2000, 2000, 100]

        def get_remaining_time_in_millis(self) -> int:
            return self.left.pop(0)

    context = Context()
    assert refused(handler(event(instances(PHOTO, PHOTO, PHOTO), "application/json"), context)) == (504, "too-late")
    assert context.left == []


def test_the_model_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load = lambda_handler.load_engine
    monkeypatch.setattr(lambda_handler, "load_engine", lambda settings: loaded.append(settings.model) or load(settings))
    for _ in range(3):
        assert handler(event(PHOTO, "image/jpeg"))["statusCode"] == 200
    assert len(loaded) == 1


def test_the_model_may_be_an_archive(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = handler(event(PHOTO, "image/jpeg"))["body"]
    monkeypatch.setenv("BINTALLY_MODEL", str(pack_model(model.parent, tmp_path / "model.tar.gz")))
    lambda_handler._loaded.cache_clear()
    assert handler(event(PHOTO, "image/jpeg"))["body"] == before


def test_without_a_model_it_says_so_and_tries_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINTALLY_MODEL", str(model.parent / "gone"))
    assert refused(handler(event(PHOTO, "image/jpeg"))) == (503, "no-model")
    monkeypatch.setenv("BINTALLY_MODEL", str(model))
    assert handler(event(PHOTO, "image/jpeg"))["statusCode"] == 200
