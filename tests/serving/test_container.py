"""The inference container's contract, without Docker: /opt/ml under a temporary root, the entry point as a process."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.serving.asked import JPEG, PHOTO, record
from tests.serving.batch_transform import MB, TransformJob
from tests.serving.server_process import CONTAINER, ServerProcess
from tests.small_dataset import draw_photo
from tests.tiny_model import write_tiny_model

from bintally.errors import ModelError, SettingsError
from bintally.inference.archive import pack_model, unpack_model
from bintally.inference.engine import Engine
from bintally.serving.container import main, port_of, settings_of


def lay_out(root: Path) -> Path:
    """What SageMaker lays out: the archive of a run, unpacked under ROOT/model."""
    archive = pack_model(write_tiny_model(root / "run" / "model.onnx").parent, root / "model.tar.gz")
    unpack_model(archive, root / "model")
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("opt-ml"))


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[ServerProcess]:
    """Asked for a port of its own, as in a pipeline of containers; 0 here: any that is free."""
    environment = {"SAGEMAKER_BIND_TO_PORT": "0", "SAGEMAKER_SAFE_PORT_RANGE": "21000-21009"}
    environment |= {"SAGEMAKER_BATCH": "true", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "6", "BINTALLY_ML_ROOT": str(root)}
    with ServerProcess(CONTAINER, root, environment=environment) as server:
        yield server.ready()


def counted(root: Path, photos: list[bytes]) -> list[list[float]]:
    engine = Engine(root / "model" / "model.onnx")
    return [engine.count(photo).probabilities.tolist() for photo in photos]


def test_it_answers_as_hosting_asks(server: ServerProcess, root: Path) -> None:
    assert server.client.get("/ping").status_code == 200
    answer = server.client.post("/invocations", content=PHOTO, headers={**JPEG, "Accept": "*/*"})
    assert answer.json() == counted(root, [PHOTO])


class TestBatchTransform:
    def test_one_photo_an_object(self, server: ServerProcess, root: Path) -> None:
        photos = [draw_photo(count, count) for count in range(6)]
        objects = {f"{number:05}.jpg": photo for number, photo in enumerate(photos)}
        out = TransformJob(content_type="image/jpeg").run(server.client, objects)
        assert list(out) == [f"{name}.out" for name in objects]
        assert [json.loads(body) for body in out.values()] == [[row] for row in counted(root, photos)]

    @pytest.mark.parametrize("strategy", [None, "SingleRecord", "MultiRecord"])
    @pytest.mark.parametrize("assemble_with", ["None", "Line"])
    def test_records_in_lines(
        self, strategy: str | None, assemble_with: str, server: ServerProcess, root: Path
    ) -> None:
        photos = [draw_photo(count % 7, count) for count in range(40)]
        names = [f"{number:05}.jpg" for number in range(40)]
        body = b"".join(json.dumps(record(*each)).encode() + b"\n" for each in zip(photos, names, strict=True))
        job = TransformJob(
            content_type="application/jsonlines",
            accept="application/jsonlines",
            split_type="Line",
            assemble_with=assemble_with,
            batch_strategy=strategy,
            max_payload_mb=len(body) / 5 / MB,  # several records a request, several requests
        )
        (out,) = job.run(server.client, {"photos.jsonl": body}).values()
        said = [json.loads(line) for line in out.splitlines() if line]
        assert [each["photo"] for each in said] == names
        assert [each["probabilities"] for each in said] == counted(root, photos)

    def test_a_bad_record_does_not_end_the_job(self, server: ServerProcess) -> None:
        body = b"\n".join([json.dumps(record()).encode(), b"no json", json.dumps(record(b"text", "2.jpg")).encode()])
        job = TransformJob(content_type="application/jsonlines", split_type="Line", assemble_with="Line")
        (out,) = job.run(server.client, {"photos.jsonl": body}).values()
        good, broken, text = (json.loads(line) for line in out.splitlines() if line)
        assert good["count"] == 2
        assert broken["error"]["code"] == "bad-json"
        assert (text["photo"], text["error"]["code"]) == ("2.jpg", "not-a-photo")

    def test_a_bad_object_ends_it(self, server: ServerProcess) -> None:
        with pytest.raises(httpx.HTTPStatusError, match="415"):
            TransformJob(content_type="image/jpeg").run(server.client, {"notes.txt": b"text"})


class TestSettings:
    def test_what_sagemaker_and_its_sdk_set(self, root: Path) -> None:
        environment = {
            "SAGEMAKER_MODEL_SERVER_WORKERS": "3",
            "SAGEMAKER_MODEL_SERVER_TIMEOUT": "30",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": "100",
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "80",
            "BINTALLY_SERVE_LEVEL": "0.8",
        }
        settings = settings_of(environment, root)
        assert settings.model == root / "model" / "model.onnx"
        assert (settings.threads, settings.deadline_seconds, settings.level) == (3, 30, 0.8)
        assert settings.max_body_bytes == 100 * 2**20
        assert settings.max_held_bytes == 80 * 100 * 2**20
        assert settings.queue == 80

    def test_ours_go_before_theirs(self, root: Path) -> None:
        environment = {"MODEL_SERVER_WORKERS": "3", "BINTALLY_SERVE_THREADS": "2"}
        assert settings_of(environment, root).threads == 2

    def test_a_small_payload_lowers_no_bound(self, root: Path) -> None:
        settings = settings_of({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "6"}, root)
        assert settings.max_body_bytes == settings_of({}, root).max_body_bytes

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("SAGEMAKER_MULTI_MODEL", "true"),
            ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "six"),
            ("MODEL_SERVER_WORKERS", "many"),
            ("BINTALLY_SERVE_QUEUE", "0"),
        ],
    )
    def test_what_cannot_be(self, name: str, text: str, root: Path) -> None:
        with pytest.raises(SettingsError, match=name.replace("MODEL_SERVER_WORKERS", "THREADS")):
            settings_of({name: text}, root)

    def test_the_port(self) -> None:
        assert port_of({}) == 8080
        with pytest.raises(SettingsError, match="SAGEMAKER_BIND_TO_PORT: expected a whole number, got '-1'"):
            port_of({"SAGEMAKER_BIND_TO_PORT": "-1"})

    def test_without_a_model_it_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="bintally export RUN"):
            settings_of({}, tmp_path)


@pytest.mark.parametrize(
    ("model", "code", "said"), [(None, 6, "must hold model.onnx"), (b"text", 6, "not a readable ONNX model")]
)
def test_a_model_that_is_none_ends_it(
    model: bytes | None,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if model is not None:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "model.onnx").write_bytes(model)
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", "0")
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--root", str(tmp_path), "--host", "127.0.0.1"])
    assert caught.value.code == code
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_the_dockerfile_calls_this_program() -> None:
    folder = Path(__file__).parents[2] / "deploy"
    text = (folder / "sagemaker" / "inference" / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["python", "-m", "bintally.serving.container"]' in text
    assert "com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true" in text
    assert "bintally.serving.lambda_handler.handler" in (folder / "lambda" / "Dockerfile").read_text()
