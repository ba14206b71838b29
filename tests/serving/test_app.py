"""The application in this process: its contract, its faults, and whatever a fuzzer sends."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tests.cli.test_count import BAD as BAD_PHOTOS
from tests.serving.asked import JPEG, JSON, LINES, PHOTO, instances, lines, record
from tests.serving.server_process import wait_for
from tests.small_dataset import draw_photo
from tests.tiny_model import LAST_COUNT, write_tiny_model

from bintally.inference.engine import Engine
from bintally.serving.app import create_app
from bintally.serving.settings import ServeSettings

MAX_BODY_BYTES = 100_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[TestClient]:
    app = create_app(ServeSettings(model=model, threads=2, max_body_bytes=MAX_BODY_BYTES, max_photos=20))
    with TestClient(app, raise_server_exceptions=True) as client:
        wait_for(lambda: client.get("/ping").status_code == 200)
        yield client


@pytest.fixture(scope="module")
def engine(model: Path) -> Engine:
    return Engine(model)


class TestAnswers:
    @pytest.mark.parametrize(
        "announced", ["image/jpeg", "image/png", "application/x-image", "application/octet-stream"]
    )
    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_an_image_gives_an_array_of_one_row(
        self, announced: str, kind: str, client: TestClient, engine: Engine
    ) -> None:
        photo = draw_photo(2, kind=kind)
        answer = client.post("/invocations", content=photo, headers={"Content-Type": announced})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.json() == [engine.count(photo).probabilities.tolist()]
        assert len(answer.json()[0]) == LAST_COUNT + 1

    def test_json_gives_a_row_for_each_instance_in_order(self, client: TestClient, engine: Engine) -> None:
        photos = [draw_photo(count, count) for count in (5, 0, 3)]
        answer = client.post("/invocations", content=instances(*photos), headers=JSON)
        assert answer.json() == [engine.count(photo).probabilities.tolist() for photo in photos]
        one = client.post("/invocations", json=record(photos[0]))
        assert one.json() == answer.json()[:1]

    def test_lines_give_a_line_for_each_in_order(self, client: TestClient, engine: Engine) -> None:
        photos = [draw_photo(count, count) for count in (5, 0, 3)]
        answer = client.post("/invocations", content=lines(*photos), headers=LINES)
        assert answer.headers["Content-Type"] == "application/jsonlines"
        said = [json.loads(line) for line in answer.text.splitlines()]
        assert [each["probabilities"] for each in said] == [
            engine.count(photo).probabilities.tolist() for photo in photos
        ]
        assert list(said[0]) == ["count", "probabilities", "interval", "mean"]

    def test_a_bad_line_does_not_lose_the_others(self, client: TestClient) -> None:
        body = lines(PHOTO, b"no photo") + b"no json\n" + lines(PHOTO)
        answer = client.post("/invocations", content=body, headers=LINES)
        assert answer.status_code == 200
        said = [json.loads(line) for line in answer.text.splitlines()]
        assert [each.get("error", {}).get("code") for each in said] == [None, "not-a-photo", "bad-json", None]
        assert said[0] == said[3]

    def test_csv(self, client: TestClient, engine: Engine) -> None:
        answer = client.post("/invocations", content=PHOTO, headers={**JPEG, "Accept": "text/csv"})
        assert answer.headers["Content-Type"].startswith("text/csv")
        assert [float(cell) for cell in answer.text.strip().split(",")] == engine.count(PHOTO).probabilities.tolist()

    def test_v1_count_says_all(self, client: TestClient, engine: Engine) -> None:
        answer = client.post("/v1/count", content=PHOTO, headers=JPEG).json()
        believed = engine.count(PHOTO)
        assert answer["predictions"] == [
            {
                "count": believed.mode,
                "probabilities": believed.probabilities.tolist(),
                "interval": list(believed.interval(0.9)),
                "mean": believed.mean,
            }
        ]
        assert answer["model"] == client.get("/v1/model").json()
        assert answer["model"]["licence"] == "Apache-2.0"

    def test_what_batch_transform_asks_first(self, client: TestClient) -> None:
        assert client.get("/execution-parameters").json() == {
            "MaxConcurrentTransforms": 3,
            "BatchStrategy": "MULTI_RECORD",
            "MaxPayloadInMB": 1,
        }


class TestFaults:
    @pytest.mark.parametrize(
        ("kind", "status", "code"),
        [
            ("text", 415, "not-a-photo"),
            ("empty", 415, "not-a-photo"),
            ("truncated", 422, "broken-photo"),
            ("huge", 413, "photo-too-large"),
        ],
    )
    def test_a_bad_photo_is_its_sentence(self, kind: str, status: int, code: str, client: TestClient) -> None:
        data, said = BAD_PHOTOS[kind]
        for body, headers in ((data, JPEG), (instances(PHOTO, data), JSON)):
            answer = client.post("/invocations", content=body, headers=headers)
            assert answer.status_code == status
            assert answer.json()["error"]["code"] == code
            assert said in answer.json()["error"]["message"]
        assert answer.json()["error"]["message"].startswith("record 2: ")

    @pytest.mark.parametrize(
        ("body", "headers", "status", "code"),
        [
            (b"{", JSON, 400, "bad-json"),
            (b"{}", JSON, 422, "no-photo"),
            (b'{"image": "#"}', JSON, 422, "bad-base64"),
            (PHOTO, {"Content-Type": "application/x-www-form-urlencoded"}, 415, "wrong-type"),
            (PHOTO, {**JPEG, "Content-Encoding": "gzip"}, 415, "wrong-type"),
            (PHOTO, {**JPEG, "Accept": "image/png"}, 406, "not-acceptable"),
            (b"x" * (MAX_BODY_BYTES + 1), JPEG, 413, "too-large"),
            (instances(*[PHOTO] * 21), JSON, 413, "too-many-photos"),
        ],
    )
    def test_faults_are_structured(
        self, body: bytes, headers: dict[str, str], status: int, code: str, client: TestClient
    ) -> None:
        for path in ("/invocations", "/v1/count"):
            if status == 406 and path == "/v1/count":  # it has one answer only
                continue
            answer = client.post(path, content=body, headers=headers)
            assert answer.status_code == status
            assert list(answer.json()) == ["error"]
            assert answer.json()["error"]["code"] == code
            assert answer.json()["error"]["message"]

    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/", 404, "not-found"),
            ("GET", "/docs", 404, "not-found"),
            ("GET", "/invocations", 405, "method-not-allowed"),
            ("POST", "/ping", 405, "method-not-allowed"),
            ("POST", "/models", 404, "not-found"),
        ],
    )
    def test_other_paths_and_methods(self, method: str, path: str, status: int, code: str, client: TestClient) -> None:
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)

    def test_a_fault_of_our_own_is_500_without_its_traceback(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(self: Engine, photo: bytes, *, name: str = "photo") -> None:
            raise ZeroDivisionError("a secret")

        monkeypatch.setattr(Engine, "count", fail)
        answer = client.post("/invocations", content=PHOTO, headers=JPEG)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
        assert "secret" not in answer.text
        assert "ZeroDivisionError: a secret" in caplog.text

    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_whatever_comes_is_never_500(self, data: st.DataObject, client: TestClient) -> None:
        spoiled = st.builds(
            lambda photo, at, junk: photo[: at % len(photo)] + junk + photo[at % len(photo) + len(junk) :],
            st.sampled_from([PHOTO, draw_photo(1, kind="PNG"), instances(PHOTO), lines(PHOTO, PHOTO)]),
            st.integers(min_value=0, max_value=10_000),
            st.binary(max_size=8),
        )
        body = data.draw(st.one_of(st.binary(max_size=300), spoiled, st.text(max_size=50).map(str.encode)))
        kinds = ["image/jpeg", "image/png", "application/json", "application/jsonlines", "text/plain", ""]
        content_type = data.draw(st.sampled_from(kinds))
        accept = data.draw(st.sampled_from(["", "*/*", "application/json", "application/jsonlines", "text/csv", ",;="]))
        path = data.draw(st.sampled_from(["/invocations", "/v1/count"]))
        answer = client.post(path, content=body, headers={"Content-Type": content_type, "Accept": accept})
        assert answer.status_code in (200, 400, 406, 413, 415, 422)
        if answer.status_code != 200:
            assert set(answer.json()["error"]) == {"code", "message"}


def test_before_the_model_is_loaded_nothing_is_ready(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    gate = threading.Event()
    count = Engine.count
    monkeypatch.setattr(Engine, "count", lambda *args, **kwargs: gate.wait(60) and count(*args, **kwargs))
    ready: list[str] = []
    app = create_app(ServeSettings(model=model), on_ready=lambda facts: ready.append(facts.name))
    with TestClient(app) as client:
        for method, path in (("GET", "/ping"), ("POST", "/invocations"), ("GET", "/v1/model"), ("POST", "/v1/count")):
            answer = client.request(method, path, headers=JPEG, content=PHOTO if method == "POST" else None)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not-ready"), path
            assert answer.headers["Retry-After"] == "5"
        assert ready == []
        gate.set()
        wait_for(lambda: client.get("/ping").status_code == 200)
        assert ready == ["tiny"]


def test_a_model_that_cannot_count_is_never_ready(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("text")
    failed: list[bool] = []
    app = create_app(ServeSettings(model=tmp_path / "model.onnx"), on_failure=lambda: failed.append(True))
    with TestClient(app) as client:
        wait_for(lambda: failed)
        assert client.get("/ping").status_code == 503
    assert "not a readable ONNX model" in str(app.state.service.failure)
