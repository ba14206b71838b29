"""`bintally sagemaker deploy`, `invoke`, `batch`: what they send, say and leave; a real model answers."""

import base64
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody
from starlette.testclient import TestClient
from tests.cli.runner import Bintally
from tests.cloud.conftest import made_up_project
from tests.cloud.standin import StandIn, own_environment
from tests.serving.server_process import wait_for
from tests.small_dataset import draw_photo

from bintally.cloud.names import Kind, kind_of, tags
from bintally.cloud.project import FILE_NAME, write_project
from bintally.cloud.requests import Request, check
from bintally.inference.archive import pack_model, unpack_model
from bintally.inference.engine import Engine
from bintally.serving.app import create_app
from bintally.serving.settings import ServeSettings

PROJECT = made_up_project()
ENDPOINT = "bins-endpoint-20260203-040506-0a1b"
PHOTOS = f"{PROJECT.url}/datasets/new"


@pytest.fixture(scope="module")
def served(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The serving application with the archive that training wrote."""
    folder = tmp_path_factory.mktemp("served")
    model = unpack_model(pack_model(tiny_run, folder / "model.tar.gz"), folder)
    with TestClient(create_app(ServeSettings(model=model, threads=1))) as client:
        wait_for(lambda: client.get("/ping").status_code == 200)
        yield client


@pytest.fixture
def aws(aws: StandIn, served: TestClient) -> StandIn:
    """An account in which a real model answers, and that holds no dataset."""
    aws.objects.clear()

    def serves(body: bytes, kind: str, accept: str) -> tuple[int, bytes]:
        answer = served.post("/invocations", content=body, headers={"Content-Type": kind, "Accept": accept})
        return answer.status_code, answer.content

    aws.serves = serves
    return aws


def deployed(aws: StandIn, bintally: Bintally, run: Path, *more: str) -> str:
    done = bintally("sagemaker", "deploy", run, "--yes", *more)
    assert done.code == 0, done.err
    (request,) = aws.asked("CreateEndpoint")
    aws.requests.clear()
    return str(request["EndpointName"])


def left(aws: StandIn) -> set[str]:
    return {word for word, _ in aws.things}


# --- deploy ----------------------------------------------------------------------------------------------------------


def test_a_run_is_packed_sent_deployed_and_asked_once(aws: StandIn, bintally: Bintally, tiny_run: Path) -> None:
    run = bintally("sagemaker", "deploy", tiny_run, "--yes")
    assert run.code == 0, run.err
    assert aws.writes == ["PutObject", "CreateModel", "CreateEndpointConfig", "CreateEndpoint", "InvokeEndpoint"]
    ((bucket, key),) = aws.objects
    assert (bucket, key.split("/")[0], key.split("/")[2]) == (PROJECT.bucket, "models", "model.tar.gz")
    (model,), (config,) = aws.asked("CreateModel"), aws.asked("CreateEndpointConfig")
    assert model["PrimaryContainer"]["ModelDataUrl"] == f"s3://{bucket}/{key}"
    assert model["PrimaryContainer"]["Image"] == PROJECT.serve_image
    (variant,) = config["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.m5.large", 1)
    for kind, asked in ((Kind.MODEL, model), (Kind.CONFIG, config), (Kind.ENDPOINT, aws.asked("CreateEndpoint")[0])):
        assert asked["Tags"] == tags("bins", kind)
    name = aws.asked("CreateEndpoint")[0]["EndpointName"]
    assert kind_of(name, "bins") is Kind.ENDPOINT
    for said in ("$0.12 an hour, $83.95 a month", f"{name} is in service: it counted", "bintally sagemaker clean"):
        assert said in run.out
    aws.requests.clear()
    assert bintally("sagemaker", "deploy", tiny_run, "--yes", "--count", "2").code == 0
    assert "PutObject" not in aws.writes, "the same model is sent once"


def test_scaling_and_capture(aws: StandIn, bintally: Bintally, tiny_run: Path) -> None:
    run = bintally(
        "sagemaker", "deploy", tiny_run, "--yes", "--max-count", "4", "--target", "90", "--capture", "25",
        "--env", "BINTALLY_SERVE_QUEUE=9",
    )  # fmt: skip
    assert run.code == 0, run.err
    (name,) = [name for word, name in aws.things if word == "Endpoint"]
    assert aws.writes[-3:] == ["InvokeEndpoint", "RegisterScalableTarget", "PutScalingPolicy"]
    ((resource, target),), ((_, policy),) = aws.targets.items(), aws.policies.items()
    assert resource == f"endpoint/{name}/variant/main"
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)
    follows = policy["TargetTrackingScalingPolicyConfiguration"]
    assert follows["TargetValue"] == 90
    captured = aws.asked("CreateEndpointConfig")[0]["DataCaptureConfig"]
    assert captured["DestinationS3Uri"] == f"{PROJECT.url}/captures/{name}"
    assert captured["InitialSamplingPercentage"] == 25
    assert aws.asked("CreateModel")[0]["PrimaryContainer"]["Environment"] == {"BINTALLY_SERVE_QUEUE": "9"}
    assert "4 instances $0.46 and $335.80" in run.out


def test_serverless(aws: StandIn, bintally: Bintally, tiny_run: Path) -> None:
    run = bintally("sagemaker", "deploy", tiny_run, "--yes", "--serverless", "--memory", "3072", "--concurrency", "7")
    assert run.code == 0, run.err
    (variant,) = aws.asked("CreateEndpointConfig")[0]["ProductionVariants"]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 3072, "MaxConcurrency": 7}
    assert "InstanceType" not in variant
    assert "nothing while it is idle; a thousand photos of 0.1 s $0.006" in run.out.replace("$0.0060", "$0.006")


def test_a_training_jobs_model(aws: StandIn, bintally: Bintally, tiny_run: Path, tmp_path: Path) -> None:
    aws.objects[PROJECT.bucket, "datasets/abid/manifest.parquet"] = b"rows"
    bintally("sagemaker", "train", "abid", "--recipe", "smallcnn", "--instance-type", "ml.c5.xlarge")
    (job,) = [name for word, name in aws.jobs if word == "TrainingJob"]
    key = f"jobs/{job}/output/model.tar.gz"
    aws.objects[PROJECT.bucket, key] = pack_model(tiny_run, tmp_path / "m.tar.gz").read_bytes()
    assert bintally("sagemaker", "deploy", job, "--yes").code == 0
    assert aws.asked("CreateModel")[0]["PrimaryContainer"]["ModelDataUrl"] == f"{PROJECT.url}/{key}"
    aws.life, aws.failure = ["Failed"], "AlgorithmError: it broke, exit code: 1"
    bintally("sagemaker", "train", "abid", "--recipe", "smallcnn", "--instance-type", "ml.c5.xlarge", "--seed", "2")
    failed = [name for word, name in aws.jobs if word == "TrainingJob"][-1]
    run = bintally("sagemaker", "deploy", failed, "--yes")
    assert (run.code, f"{failed} left no model: it is Failed: it broke" in run.err) == (8, True)


def test_it_asks_first(aws: StandIn, bintally: Bintally, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    run = bintally("sagemaker", "deploy", tiny_run)
    assert (run.code, aws.writes) == (1, [])
    assert "a month" in run.out


def test_one_that_fails_is_removed_with_the_containers_last_words(
    aws: StandIn, bintally: Bintally, tiny_run: Path
) -> None:
    aws.endpoint_life = ("Creating", "Failed")
    aws.endpoint_failure = "The primary container for production variant main did not pass the ping health check."
    aws.logs["main"] = ["2026 listening", "bintally: /opt/ml/model/model.onnx: not there"]
    run = bintally("sagemaker", "deploy", tiny_run, "--yes")
    assert run.code == 8
    assert "did not become healthy (Failed): The primary container" in run.err
    assert "the container's last words: 2026 listening | bintally: /opt/ml/model/model.onnx: not there" in run.err
    assert "Removed again: endpoint bins-endpoint-" in run.err
    assert left(aws) == set()


def test_one_that_never_becomes_healthy_is_given_up_and_named(aws: StandIn, bintally: Bintally, tiny_run: Path) -> None:
    aws.endpoint_life = ("Creating",)
    run = bintally("sagemaker", "deploy", tiny_run, "--yes", "--max-minutes", "5")
    assert run.code == 8
    (name,) = [name for word, name in aws.things if word == "Endpoint"]
    assert f"{name} did not become healthy in 5 minutes (still Creating)" in run.err
    assert f"Left, and it may cost: endpoint {name}" in run.err
    assert "`bintally sagemaker clean` removes it once AWS lets it" in run.err
    assert len(aws.asked("DescribeEndpoint")) == 20
    aws.things["Endpoint", name]["life"] = ["Failed"]
    bintally("sagemaker", "status")
    cleaned = bintally("sagemaker", "clean", "--yes")
    assert (cleaned.code, left(aws)) == (0, set()), cleaned.err


@pytest.mark.parametrize(
    ("spoil", "said", "code"),
    [
        (lambda aws: aws.images.clear(), "build the image and push it to ECR", 2),
        (lambda aws: aws.quotas.update({"ml.m5.large": 0}), "'ml.m5.large for endpoint usage' is 0", 8),
        (
            lambda aws: aws.refuse("CreateEndpoint", "AccessDeniedException", "not allowed"),
            "no permission for sagemaker:CreateEndpoint on bins-endpoint-",
            8,
        ),
        (lambda aws: aws.refuse("PutObject", "AccessDenied", "no", status=403), "no permission for s3:PutObject", 8),
        (
            lambda aws: aws.refuse("InvokeEndpoint", "ModelError", "500 from primary", status=424),
            "the model's container answered",
            8,
        ),
        (
            lambda aws: aws.refuse("RegisterScalableTarget", "AccessDeniedException", "not allowed"),
            "no permission for application-autoscaling:RegisterScalableTarget",
            8,
        ),
        (
            lambda aws: aws.refuse("PutScalingPolicy", "AccessDeniedException", "not allowed"),
            "no permission for application-autoscaling:PutScalingPolicy",
            8,
        ),
    ],
    ids=[
        "no image",
        "quota",
        "no permission",
        "no permission for the bucket",
        "does not answer",
        "cannot scale",
        "scales by nothing",
    ],
)
def test_what_goes_wrong_is_a_sentence_and_leaves_nothing(
    spoil: object, said: str, code: int, aws: StandIn, bintally: Bintally, tiny_run: Path
) -> None:
    spoil(aws)  # type: ignore[operator]
    run = bintally("sagemaker", "deploy", tiny_run, "--yes", "--max-count", "3")
    assert run.code == code
    assert said in run.err
    assert (left(aws), aws.targets) == (set(), {}), run.err
    assert "Traceback" not in run.err


def test_a_request_that_broke_off_is_undone_as_well(aws: StandIn, bintally: Bintally, tiny_run: Path) -> None:
    aws.refuse("CreateEndpoint", "InternalFailure", "", times=99, status=500)
    run = bintally("sagemaker", "deploy", tiny_run, "--yes")
    assert run.code == 8
    assert "DeleteEndpoint" in aws.writes
    assert left(aws) == set()


def test_what_bears_the_same_name_is_not_taken_for_ones_own(aws: StandIn, bintally: Bintally, tiny_run: Path) -> None:
    aws.refuse("CreateEndpointConfig", "ValidationException", "Cannot create already existing endpointconfig x.")
    run = bintally("sagemaker", "deploy", tiny_run, "--yes")
    assert run.code == 8
    assert aws.writes[-1:] == ["DeleteModel"]
    assert "DeleteEndpointConfig" not in aws.writes


def test_what_was_made_although_no_answer_came_is_taken_back(aws: StandIn, bintally: Bintally, tiny_run: Path) -> None:
    """boto3 asked again by itself, and was told that it is there already."""
    aws.refuse("InvokeEndpoint", "ModelError", "500 from primary", status=424)
    aws.refuse(
        "CreateEndpoint", "ValidationException", "Cannot create already existing endpoint", after=True, retries=1
    )
    run = bintally("sagemaker", "deploy", tiny_run, "--yes")
    assert run.code == 8
    assert "AWS did not answer the first time, and says by now that it is there" in run.err
    assert left(aws) == {"Endpoint", "EndpointConfig", "Model"}, "an endpoint under way cannot be removed"
    (name,) = [name for word, name in aws.things if word == "Endpoint"]
    assert f"Left, and it may cost: endpoint {name}" in run.err


def test_an_endpoint_that_cannot_be_removed_yet_keeps_its_configuration(
    aws: StandIn, bintally: Bintally, tiny_run: Path
) -> None:
    aws.endpoint_life = ("Creating",)
    run = bintally("sagemaker", "deploy", tiny_run, "--yes", "--max-minutes", "5")
    assert run.code == 8
    assert left(aws) == {"Endpoint", "EndpointConfig", "Model"}
    assert "endpoint configuration bins-config-" in run.err.partition("Left, and it may cost")[2]
    assert "Removed again" not in run.err
    aws.requests.clear()
    cleaned = bintally("sagemaker", "clean", "--yes")
    assert cleaned.code == 8
    assert "not before: delete endpoint bins-endpoint-" in cleaned.err
    assert "DeleteEndpointConfig" not in aws.writes
    assert "$0.12" in bintally("sagemaker", "status").out, "what it costs is still known"


@pytest.mark.parametrize("verb", [["deploy"], ["batch"]], ids=["deploy", "batch"])
def test_an_instance_that_nobody_knows_is_refused_before_anything_is_made(
    verb: list[str], aws: StandIn, bintally: Bintally, tiny_run: Path
) -> None:
    more = ["--yes"] if verb == ["deploy"] else [PHOTOS]
    run = bintally("sagemaker", *verb, tiny_run, *more, "--instance-type", "ml.m5.enormous")
    assert run.code == 2
    assert "that this boto3 knows" in run.err
    assert aws.requests == []


def test_ctrl_c_says_that_it_does_not_scale_yet(aws: StandIn, bintally: Bintally, tiny_run: Path) -> None:
    name = deployed(aws, bintally, tiny_run, "--max-count", "3")
    aws.on("InvokeEndpoint", lambda: os.kill(os.getpid(), signal.SIGINT))
    options = ("--instance-type", "ml.c5.xlarge", "--max-count", "4", "--yes")
    run = bintally("sagemaker", "deploy", tiny_run, "--endpoint", name, *options)
    assert (run.code, aws.targets) == (130, {})
    assert f"It does not scale yet: deploy again with --endpoint {name} --max-count 4" in run.err


def test_an_update_that_is_still_under_way_says_that_it_scales_no_more(
    aws: StandIn, bintally: Bintally, tiny_run: Path
) -> None:
    name = deployed(aws, bintally, tiny_run, "--max-count", "3")
    aws.update_life = ("Updating",)
    options = ("--instance-type", "ml.c5.xlarge", "--max-count", "4", "--max-minutes", "5", "--yes")
    run = bintally("sagemaker", "deploy", tiny_run, "--endpoint", name, *options)
    assert run.code == 8
    assert f"{name} is still Updating" in run.err
    assert "it scales no more" in run.err


def test_a_model_outside_the_projects_bucket_is_told_of(aws: StandIn, bintally: Bintally) -> None:
    run = bintally("sagemaker", "deploy", "s3://elsewhere/model.tar.gz", "--dry-run")
    assert run.code == 0, run.err
    assert "s3://elsewhere/model.tar.gz is outside the project's bucket: give the role" in run.err


def test_ctrl_c_says_what_goes_on(aws: StandIn, bintally: Bintally, tiny_run: Path) -> None:
    aws.on("DescribeEndpoint", lambda: os.kill(os.getpid(), signal.SIGINT))
    run = bintally("sagemaker", "deploy", tiny_run, "--yes")
    assert run.code == 130
    assert "goes on, and costs" in run.err
    assert "bintally sagemaker clean removes it" in run.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nothing-here"], "expected a training job's name"),
        (["s3://bucket/model.onnx"], "ends in .tar.gz"),
        (["RUN", "--instance-type", "ml.g4dn.xlarge"], "would leave the GPU idle"),
        (["RUN", "--instance-type", "m5.large"], "such as ml.g4dn.xlarge"),
        (["RUN", "--serverless", "--memory", "1000"], "serverless comes in 1024"),
        (["RUN", "--serverless", "--concurrency", "0"], "--concurrency: expected 1 to 200"),
        (["RUN", "--serverless", "--max-count", "4"], "not with --serverless"),
        (["RUN", "--serverless", "--capture", "4"], "not with --serverless"),
        (["RUN", "--capture", "101"], "0 to 100 percent"),
        (["RUN", "--count", "3", "--max-count", "2"], "expected an order such as 1, 1, 4"),
        (["RUN", "--max-count", "2", "--target", "0"], "--target"),
        (["RUN", "--max-count", "2", "--no-wait"], "once it is in service"),
        (["RUN", "--no-scaling"], "it ends the scaling of --endpoint"),
        (["RUN", "--endpoint", "somebody-elses"], "not the name of one of this project's endpoints"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_deploy_cannot_mean_is_refused_before_anything_is_sent(
    options: list[str], said: str, aws: StandIn, bintally: Bintally, tiny_run: Path
) -> None:
    run = bintally("sagemaker", "deploy", *(tiny_run if each == "RUN" else each for each in options), "--yes")
    assert run.code == 2
    assert said in run.err
    assert aws.requests == []


def test_serverless_cannot_be_isolated(aws: StandIn, bintally: Bintally, tiny_run: Path, tmp_path: Path) -> None:
    write_project(tmp_path / FILE_NAME, made_up_project(isolated=True))
    run = bintally("sagemaker", "deploy", tiny_run, "--serverless", "--yes")
    assert (run.code, "the project is isolated" in run.err, aws.requests) == (2, True, [])


# --- updates ---------------------------------------------------------------------------------------------------------


def test_an_update_makes_a_new_configuration_and_keeps_the_name(
    aws: StandIn, bintally: Bintally, tiny_run: Path
) -> None:
    name = deployed(aws, bintally, tiny_run)
    run = bintally("sagemaker", "deploy", tiny_run, "--endpoint", name, "--instance-type", "ml.c5.xlarge", "--yes")
    assert run.code == 0, run.err
    assert aws.writes == ["CreateModel", "CreateEndpointConfig", "UpdateEndpoint", "InvokeEndpoint"]
    (config,) = aws.asked("CreateEndpointConfig")
    assert aws.things["Endpoint", name]["config"] == config["EndpointConfigName"]
    assert f"{name} is in service" in run.out


def test_an_update_that_fails_serves_as_before(aws: StandIn, bintally: Bintally, tiny_run: Path) -> None:
    name = deployed(aws, bintally, tiny_run, "--max-count", "3", "--target", "70")
    before, former = set(aws.things), aws.things["Endpoint", name]["config"]
    aws.update_life, aws.endpoint_failure = ("Updating", "RollingBack", "RolledBack"), "it did not answer /ping."
    options = ("--endpoint", name, "--instance-type", "ml.c5.xlarge", "--yes")
    refused = bintally("sagemaker", "deploy", tiny_run, *options)
    assert (refused.code, aws.writes) == (2, [])
    assert f"{name} scales between 1 and 3 instances, which an update ends" in refused.err
    run = bintally("sagemaker", "deploy", tiny_run, *options, "--max-count", "5")
    assert run.code == 8
    assert "it did not answer /ping" in run.err
    assert f"{name} serves as before, by {former}" in run.err
    assert set(aws.things) == before
    (target,), (policy,) = aws.targets.values(), aws.policies.values()
    assert target["MaxCapacity"] == 3, "scaling is as before"
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 70


@pytest.mark.parametrize("operation", ["InvokeEndpoint", "PutScalingPolicy"])
def test_an_update_that_does_not_count_or_scale_gives_way(
    operation: str, aws: StandIn, bintally: Bintally, tiny_run: Path
) -> None:
    name = deployed(aws, bintally, tiny_run, "--max-count", "3")
    before, former = set(aws.things), aws.things["Endpoint", name]["config"]
    aws.refuse(operation, "ModelError", "500 from primary", status=424)
    options = ("--instance-type", "ml.c5.xlarge", "--max-count", "7", "--yes")
    run = bintally("sagemaker", "deploy", tiny_run, "--endpoint", name, *options)
    assert run.code == 8
    assert f"{name} serves as before, by {former}" in run.err
    assert (aws.things["Endpoint", name]["config"], set(aws.things)) == (former, before)
    assert [target["MaxCapacity"] for target in aws.targets.values()] == [3]


def test_an_update_of_what_is_not_there_or_not_ready(aws: StandIn, bintally: Bintally, tiny_run: Path) -> None:
    run = bintally("sagemaker", "deploy", tiny_run, "--endpoint", ENDPOINT, "--yes")
    assert (run.code, "not found" in run.err) == (8, True)
    aws.add("Endpoint", ENDPOINT, tags=tags("bins", Kind.ENDPOINT), status="Failed")
    run = bintally("sagemaker", "deploy", tiny_run, "--endpoint", ENDPOINT, "--yes")
    assert (run.code, "is Failed, not InService" in run.err) == (2, True)
    assert aws.writes == []


# --- invoke ----------------------------------------------------------------------------------------------------------


def test_one_photo_gives_equal_numbers_every_way(
    aws: StandIn, bintally: Bintally, tiny_run: Path, photo_file: Path
) -> None:
    """Through Python, `bintally count` and the endpoint, behind which the real application serves the archive."""
    name = deployed(aws, bintally, tiny_run)
    row = Engine(tiny_run / "model.onnx").count(photo_file.read_bytes()).probabilities.tolist()
    assert len(set(row)) > 2, "it says something"
    here = bintally("count", photo_file, "--model", tiny_run, "--json")
    there = bintally("sagemaker", "invoke", name, photo_file, "--json")
    assert there.code == 0, there.err
    assert there.out == here.out
    assert json.loads(bintally("sagemaker", "invoke", name, photo_file, photo_file.parent).out)[0] == row
    words = bintally("count", photo_file, "--model", tiny_run).out
    assert bintally("sagemaker", "invoke", name, photo_file, "--words").out == words


def test_a_photo_that_cannot_be_counted_is_told_and_the_others_counted(
    aws: StandIn, bintally: Bintally, tiny_run: Path, tmp_path: Path
) -> None:
    name = deployed(aws, bintally, tiny_run)
    (tmp_path / "a.jpg").write_bytes(b"no photo at all")
    (tmp_path / "b.jpg").write_bytes(draw_photo(2))
    (tmp_path / "c.jpg").write_bytes(bytes(6_291_457))
    photos = [tmp_path / f"{each}.jpg" for each in "abc"]
    run = bintally("sagemaker", "invoke", name, *photos)
    assert run.code == 4
    assert len(json.loads(run.out)) == 1
    assert "bintally: a.jpg: expected a JPEG or PNG" in run.err
    assert "c.jpg: 6,291,457 bytes, but an endpoint takes at most 6,291,456" in run.err
    assert len(aws.asked("InvokeEndpoint")) == 2, "what is too large is not sent"
    rows = bintally("sagemaker", "invoke", name, *photos, "--json").lines
    assert [("error" in row, row["photo"]) for row in rows] == [(True, "a.jpg"), (False, "b.jpg"), (True, "c.jpg")]


def test_an_endpoint_that_does_not_answer(aws: StandIn, bintally: Bintally, photo_file: Path) -> None:
    run = bintally("sagemaker", "invoke", ENDPOINT, photo_file)
    assert (run.code, "`bintally sagemaker status` shows what there is" in run.err) == (8, True)
    aws.add("Endpoint", ENDPOINT, tags=[])
    aws.serves = lambda *_: (503, b'{"error": {"code": "overloaded", "message": "64 requests wait: ask again"}}')
    run = bintally("sagemaker", "invoke", ENDPOINT, photo_file)
    assert (run.code, "the model's container answered 503: 64 requests wait: ask again" in run.err) == (8, True)
    aws.serves = lambda *_: (200, b"hello")
    run = bintally("sagemaker", "invoke", ENDPOINT, photo_file)
    assert (run.code, "is it an endpoint of Bintally's?" in run.err) == (8, True)
    assert bintally("sagemaker", "invoke", ENDPOINT, photo_file, "--json", "--words").code == 2


# --- batch -----------------------------------------------------------------------------------------------------------


def fill(aws: StandIn, count: int = 13) -> dict[str, bytes]:
    photos = {f"{number % 3}/{number:03}.jpg": draw_photo(number % 5, number) for number in range(count)}
    aws.objects |= {(PROJECT.bucket, f"datasets/new/{name}"): data for name, data in photos.items()}
    aws.objects[PROJECT.bucket, "datasets/newer/other.jpg"] = b"a sibling's"
    return photos


def test_a_prefix_becomes_one_table(aws: StandIn, bintally: Bintally, tiny_run: Path, tmp_path: Path) -> None:
    photos = fill(aws)
    run = bintally("sagemaker", "batch", tiny_run, PHOTOS, "--out", "counts.parquet", "--price", "0.5")
    assert run.code == 0, run.err
    (request,) = aws.asked("CreateTransformJob")
    assert request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"] == f"{PHOTOS}/"
    assert (request["TransformInput"]["SplitType"], request["TransformOutput"]["Accept"]) == (
        "None", "application/jsonlines",
    )  # fmt: skip
    assert request["Tags"] == tags("bins", Kind.BATCH)
    table = pl.read_parquet(tmp_path / "counts.parquet")
    assert table.columns == ["photo", "count", "probabilities", "interval", "mean", "error"]
    assert table["photo"].to_list() == sorted(photos)
    engine = Engine(tiny_run / "model.onnx")
    for row in table.iter_rows(named=True):
        believed = engine.count(photos[row["photo"]])
        assert row["probabilities"] == believed.probabilities.tolist()
        assert (row["count"], row["interval"]) == (believed.mode, list(believed.interval(0.9)))
        assert (row["mean"], row["error"]) == (believed.mean, None)
    assert "13 objects" in run.out
    assert "$0.50 an hour while it runs" in run.out
    assert "13 photos counted, 0 not" in run.out
    assert left(aws) == set(), "the model that was made for it is gone"


def test_lines_of_records(aws: StandIn, bintally: Bintally, tiny_run: Path, tmp_path: Path) -> None:
    photo = draw_photo(2)
    records = [
        {"photo": "x.jpg", "image": base64.b64encode(photo).decode()},
        {"photo": "bad.jpg", "image": base64.b64encode(b"none").decode()},
        {"image": base64.b64encode(photo).decode()},
    ]
    body = "".join(json.dumps(record) + "\n" for record in records).encode()
    aws.objects[PROJECT.bucket, "datasets/new/all.jsonl"] = body
    run = bintally("sagemaker", "batch", tiny_run, PHOTOS, "--lines", "--out", "counts.parquet")
    assert run.code == 0, run.err
    (request,) = aws.asked("CreateTransformJob")
    assert (request["TransformInput"]["SplitType"], request["BatchStrategy"]) == ("Line", "MultiRecord")
    rows = pl.read_parquet(tmp_path / "counts.parquet").to_dicts()
    assert [row["photo"] for row in rows] == ["x.jpg", "bad.jpg", "all.jsonl#3"]
    assert [row["count"] is None for row in rows] == [False, True, False]
    assert "JPEG or PNG" in rows[1]["error"]
    assert rows[0]["probabilities"] == rows[2]["probabilities"]


def test_an_object_that_is_no_photo_fails_the_job_and_is_named(
    aws: StandIn, bintally: Bintally, tiny_run: Path, tmp_path: Path
) -> None:
    fill(aws, 4)
    aws.objects[PROJECT.bucket, "datasets/new/1/notes.txt"] = b"no photo"
    run = bintally("sagemaker", "batch", tiny_run, PHOTOS)
    assert run.code == 8
    assert "1/notes.txt: " in run.err
    assert "JPEG or PNG" in run.err
    (path,) = (tmp_path / "sagemaker").glob("*/counts.parquet")
    rows = {row["photo"]: row for row in pl.read_parquet(path).to_dicts()}
    assert rows["0/000.jpg"]["count"] is not None, "what was counted before is kept"
    assert "JPEG or PNG" in rows["1/notes.txt"]["error"]
    assert rows["2/002.jpg"]["error"] == "not answered: the job ended before"
    assert left(aws) == set()


def test_batch_may_be_left_and_reported_later(aws: StandIn, bintally: Bintally, tiny_run: Path, tmp_path: Path) -> None:
    fill(aws, 2)
    run = bintally("sagemaker", "batch", tiny_run, PHOTOS, "--no-wait")
    (name,) = [name for word, name in aws.jobs if word == "TransformJob"]
    assert f"bintally sagemaker report {name}" in run.out
    assert bintally("sagemaker", "attach", name).code == 0
    report = bintally("sagemaker", "report", name)
    assert (report.code, "2 photos counted, 0 not" in report.out) == (0, True), report.err
    assert pl.read_parquet(tmp_path / "sagemaker" / name / "counts.parquet").height == 2


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda aws: aws.objects.clear(), 3, "no object lies below it"),
        (lambda aws: aws.images.clear(), 2, "build the image and push it to ECR"),
        (lambda aws: aws.quotas.update({"ml.m5.xlarge": 0}), 8, "'ml.m5.xlarge for transform job usage' is 0"),
        (
            lambda aws: aws.refuse("CreateTransformJob", "AccessDeniedException", "no"),
            8,
            "no permission for sagemaker:CreateTransformJob",
        ),
        (
            lambda aws: aws.objects.update({(PROJECT.bucket, "datasets/new/big.jpg"): bytes(6_000_001)}),
            4,
            "big.jpg: 6.0 MB",
        ),
        (lambda aws: (setattr(aws, "life", ["Failed"]), setattr(aws, "failure", "it broke")), 8, "it broke"),
    ],
    ids=["empty", "no image", "quota", "no permission", "too large", "in its first second"],
)
def test_what_goes_wrong_with_a_batch(
    spoil: object, code: int, said: str, aws: StandIn, bintally: Bintally, tiny_run: Path
) -> None:
    fill(aws, 2)
    spoil(aws)  # type: ignore[operator]
    run = bintally("sagemaker", "batch", tiny_run, PHOTOS)
    assert run.code == code, run.err
    assert said in run.err
    assert left(aws) == set()


BAD_BATCH = pytest.mark.parametrize(
    ("options", "said"),
    [
        (["photos"], "such as s3://bucket/folder"),
        ([PHOTOS, "--payload-mb", "60", "--parallel", "2"], "1 to 100, got 60 x 2"),
        ([PHOTOS, "--instance-type", "ml.g5.xlarge"], "would leave the GPU idle"),
    ],
    ids=["no bucket", "payload", "gpu"],
)


def test_a_batch_that_aws_loses_sight_of_keeps_its_model(aws: StandIn, bintally: Bintally, tiny_run: Path) -> None:
    fill(aws, 2)
    aws.refuse("DescribeTransformJob", "InternalFailure", "", times=999, status=500)
    run = bintally("sagemaker", "batch", tiny_run, PHOTOS)
    assert run.code == 8
    assert "DeleteModel" not in aws.writes, "the job still needs it"


def test_answers_that_break_off_are_fetched_by_report(
    aws: StandIn, bintally: Bintally, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(aws, 2)

    def breaks(_: StreamingBody) -> bytes:
        raise ReadTimeoutError(endpoint_url="https://s3")

    monkeypatch.setattr(StreamingBody, "read", breaks)
    run = bintally("sagemaker", "batch", tiny_run, PHOTOS)
    assert run.code == 8
    assert "AWS did not answer in time" in run.err
    assert "go on by bintally sagemaker report bins-batch-" in run.err
    assert left(aws) == set()


def test_ctrl_c_while_a_batch_is_sent_names_job_and_model(aws: StandIn, bintally: Bintally, tiny_run: Path) -> None:
    fill(aws, 2)
    aws.on("CreateTransformJob", lambda: os.kill(os.getpid(), signal.SIGINT))
    run = bintally("sagemaker", "batch", tiny_run, PHOTOS)
    assert run.code == 130
    assert "whether bins-batch-" in run.err
    assert "its model bins-model-" in run.err


@pytest.mark.parametrize(("payload", "at_once"), [("6", None), ("7", 14), ("50", 2), ("100", 1)])
def test_large_photos_are_sent_no_more_at_a_time_than_sagemaker_carries(
    payload: str, at_once: int | None, aws: StandIn, bintally: Bintally, tiny_run: Path
) -> None:
    run = bintally("sagemaker", "batch", tiny_run, PHOTOS, "--payload-mb", payload, "--dry-run")
    assert run.code == 0, run.err
    assert json.loads(run.out)[-1]["parameters"].get("MaxConcurrentTransforms") == at_once


@BAD_BATCH
def test_what_batch_cannot_mean(
    options: list[str], said: str, aws: StandIn, bintally: Bintally, tiny_run: Path
) -> None:
    run = bintally("sagemaker", "batch", tiny_run, *options)
    assert (run.code, said in run.err, aws.requests) == (2, True, [])


# --- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "operations"),
    [
        (
            ["deploy", "RUN", "--max-count", "3", "--capture", "5"],
            ["PutObject", "CreateModel", "CreateEndpointConfig", "CreateEndpoint", "RegisterScalableTarget",
             "PutScalingPolicy"],
        ),
        (["deploy", "s3://b-1/m.tar.gz", "--serverless"],
         ["HeadObject", "CreateModel", "CreateEndpointConfig", "CreateEndpoint"]),
        (["deploy", "bins-tune-0a1b2c3d", "--endpoint", ENDPOINT],
         ["DescribeHyperParameterTuningJob", "CreateModel", "CreateEndpointConfig", "UpdateEndpoint"]),
        (["invoke", ENDPOINT, "PHOTO"], ["InvokeEndpoint"]),
        (["batch", "bins-train-20260203-040506-0a1b", PHOTOS],
         ["DescribeTrainingJob", "ListObjectsV2", "CreateModel", "CreateTransformJob"]),
    ],
    ids=["deploy", "serverless", "update", "invoke", "batch"],
)  # fmt: skip
def test_a_dry_run_prints_valid_requests_and_sends_nothing(
    arguments: list[str], operations: list[str], aws: StandIn, bintally: Bintally, tiny_run: Path, photo_file: Path
) -> None:
    known = {"RUN": tiny_run, "PHOTO": photo_file}
    run = bintally("sagemaker", *(known.get(each, each) for each in arguments), "--dry-run")
    assert run.code == 0, run.err
    requests = json.loads(run.out)
    assert [each["operation"] for each in requests] == operations
    for each in requests:
        check(Request(**each))
    assert aws.requests == []


def test_status_tells_what_an_hour_costs_and_clean_ends_the_scaling_first(
    aws: StandIn, bintally: Bintally, tiny_run: Path
) -> None:
    name = deployed(aws, bintally, tiny_run, "--count", "2", "--max-count", "4")
    status = bintally("sagemaker", "status")
    assert f"Costs money by the hour: {name} (about $0.23 an hour on demand)" in status.out
    (row,) = [row for row in json.loads(bintally("sagemaker", "status", "--json").out) if row["costs"]]
    assert row["usd_hour"] == pytest.approx(0.23)
    aws.requests.clear()
    run = bintally("sagemaker", "clean", "--yes")
    assert run.code == 0, run.err
    assert aws.writes == ["DeregisterScalableTarget", "DeleteEndpoint", "DeleteEndpointConfig", "DeleteModel"]
    assert (aws.targets, left(aws)) == ({}, set())


def test_without_credentials(
    bintally: Bintally, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_run: Path, photo_file: Path
) -> None:
    own_environment(monkeypatch)
    write_project(tmp_path / FILE_NAME, PROJECT)
    for verb in (["deploy", tiny_run, "--yes"], ["invoke", ENDPOINT, photo_file], ["batch", tiny_run, PHOTOS]):
        run = bintally("sagemaker", *verb, "--project", tmp_path / FILE_NAME)
        assert run.code == 8
        assert "no credentials were found. To do: run `aws configure sso`" in run.err
