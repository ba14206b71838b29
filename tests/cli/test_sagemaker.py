"""The verbs of `bintally sagemaker`, against the stand-in: what they send, say and leave."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import typer
from tests.cli.runner import Bintally
from tests.cloud.conftest import made_up_project
from tests.cloud.standin import ACCOUNT, INTERRUPTED, REGION, StandIn, lines_of, own_environment

from bintally.cli.app import app
from bintally.cloud.hyperparameters import parse_hyperparameters
from bintally.cloud.names import Kind, kind_of, tags
from bintally.cloud.prepare_arguments import PrepareSettings, parse_arguments
from bintally.cloud.project import FILE_NAME, read_project, write_project
from bintally.cloud.requests import Request, check
from bintally.evaluation.health import Health

PROJECT = made_up_project()
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"  # noqa: S105 - of AWS's documentation
VERBS = (
    "bootstrap",
    "prepare",
    "train",
    "tune",
    "attach",
    "report",
    "deploy",
    "invoke",
    "batch",
    "status",
    "cost",
    "clean",
)
JOB = "bins-train-20260203-040506-0a1b"


def sent_name(aws: StandIn, operation: str = "CreateTrainingJob") -> str:
    (request,) = aws.asked(operation)
    return str(request[f"{operation.removeprefix('Create')}Name"])


def archive(**files: bytes) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name.replace("__", "."))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return held.getvalue()


# --- help and dry runs -----------------------------------------------------------------------------------------------


def test_every_verb_and_every_option_has_help(bintally: Bintally) -> None:
    group = typer.main.get_command(app).commands["sagemaker"]  # type: ignore[attr-defined]
    assert tuple(group.commands) == VERBS
    for verb, command in group.commands.items():
        assert command.help
        assert all(getattr(parameter, "help", None) for parameter in command.params), verb
        assert bintally("sagemaker", verb, "--help").code == 0


@pytest.mark.parametrize(
    ("arguments", "operations"),
    [
        (["bootstrap", "bins", "--budget", "20", "--email", "ann@example.org"], ["CreateChangeSet"]),
        (["prepare", "s3://aft-vbi-pds", "--limit", "100"], ["CreateProcessingJob"]),
        (["train", "abid", "--recipe", "mobilenetv2", "--spot", "--profile"], ["CreateTrainingJob"]),
        (["attach", JOB], ["DescribeTrainingJob", "DescribeLogStreams"]),
        (["report", JOB], ["DescribeTrainingJob"]),
        (
            ["status"],
            [
                "ListEndpoints",
                "ListEndpointConfigs",
                "ListModels",
                "ListTrainingJobs",
                "ListProcessingJobs",
                "ListTransformJobs",
                "ListHyperParameterTuningJobs",
                "GetResources",
                "ListDomains",
                "ListNotebookInstances",
            ],
        ),
    ],
    ids=lambda value: value[0],
)
def test_a_dry_run_prints_valid_requests_and_sends_nothing(
    arguments: list[str], operations: list[str], aws: StandIn, bintally: Bintally
) -> None:
    run = bintally("sagemaker", *arguments, "--dry-run")
    assert run.code == 0, run.err
    requests = json.loads(run.out)
    assert list(dict.fromkeys(each["operation"] for each in requests)) == operations
    for each in requests:
        check(Request(**each))
    assert aws.requests == []


def test_cleans_dry_run_prints_what_it_would_look_for(aws: StandIn, bintally: Bintally) -> None:
    status = json.loads(bintally("sagemaker", "status", "--dry-run").out)
    assert json.loads(bintally("sagemaker", "clean", "--dry-run").out) == status[:-2], "where people work is left alone"
    assert aws.requests == []


def test_nothing_secret_is_ever_printed(aws: StandIn, bintally: Bintally, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAABCDEFGHIJKLMNOP")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-of-mine")
    message = f"The canonical string was 'x-amz-security-token:token-of-mine AKIAABCDEFGHIJKLMNOP {SECRET}'"
    aws.refuse("ListEndpoints", "SignatureDoesNotMatch", message, status=403)
    said = [
        bintally("--verbose", "sagemaker", "status"),
        bintally("sagemaker", "train", "abid", "--recipe", "smallcnn"),
    ]
    for run in said:
        for secret in (SECRET, "AKIAABCDEFGHIJKLMNOP", "token-of-mine"):
            assert secret not in run.out + run.err
    assert said[0].code == 8


def test_a_key_among_hyperparameters_is_refused(aws: StandIn, bintally: Bintally) -> None:
    given = "--licence=AKIAABCDEFGHIJKLMNOP"
    run = bintally("sagemaker", "train", "abid", "--recipe", "smallcnn", given, "--dry-run")
    assert run.code == 2
    assert "holds an access key" in run.err
    assert "AKIA" not in run.err


@pytest.mark.parametrize("verb", [["bootstrap", "bins", "--no-budget"], ["clean"]], ids=lambda verb: verb[0])
def test_without_the_extra_it_says_what_to_install(verb: list[str], tmp_path: Path) -> None:
    arguments = ["bintally", "sagemaker", *verb]
    program = (
        f"import sys; sys.modules['boto3'] = None; sys.argv = {arguments}; from bintally.cli.app import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert "pip install 'bintally[aws]'" in done.stderr


# --- train -----------------------------------------------------------------------------------------------------------


def test_a_job_is_checked_priced_sent_and_followed(aws: StandIn, bintally: Bintally) -> None:
    aws.prints = {"Training": ["hello", *lines_of(3), "bye"]}
    run = bintally(
        "sagemaker", "train", "abid", "--recipe", "smallcnn", "--instance-type", "ml.c5.xlarge", "--set", "epochs=3"
    )
    assert run.code == 0, run.err
    name = sent_name(aws)
    assert kind_of(name, "bins") is Kind.TRAIN
    (request,) = aws.asked("CreateTrainingJob")
    job = parse_hyperparameters(request["HyperParameters"])
    assert (job.settings.recipe, job.settings.epochs) == ("smallcnn", 3)
    assert request["Tags"] == tags("bins", Kind.TRAIN)
    for said in ("at most $0.8", f"Sending {name}", "Downloading", "algo-1 | hello", "val_loss 0.8333", "Completed"):
        assert said in run.out
    assert run.out.count("epoch ") == 3
    assert "3,600 s on 1 x ml.c5.xlarge, 3,600 s of them billed, about $0.20" in run.out
    assert f"{PROJECT.url}/jobs/{name}/output/model.tar.gz" in run.out
    assert aws.writes == ["CreateTrainingJob"]


def test_a_spot_job_that_is_interrupted_goes_on_and_says_what_it_saved(aws: StandIn, bintally: Bintally) -> None:
    aws.life, aws.seconds = INTERRUPTED, (1000, 300)
    run = bintally("sagemaker", "train", "abid", "--recipe", "smallcnn", "--spot", "--max-hours", "2")
    assert run.code == 0, run.err
    (request,) = aws.asked("CreateTrainingJob")
    assert request["EnableManagedSpotTraining"]
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 14400}
    assert request["CheckpointConfig"]["S3Uri"] == f"{PROJECT.url}/checkpoints/{sent_name(aws)}"
    assert "Interrupted" in run.out
    assert "Spot saved 70%, interruptions: 1" in run.out
    assert "an assumption" in run.out


@pytest.mark.parametrize(
    ("life", "failure", "said"),
    [
        (["Failed"], "AlgorithmError: manifest.parquet: no splits, exit code: 1", "manifest.parquet: no splits"),
        (["Failed"], "ClientError: Image does not exist", "build the image and push it to ECR"),
        (["Failed"], "AlgorithmError: , exit code: 137", "exit code 137 and left no reason"),
        (["Failed"], "CapacityError: Unable to provision requested ML compute capacity", "no such instance free"),
        (["Starting", "MaxWaitTimeExceeded"], "", "no spot instance was free"),
        (["Training", "MaxRuntimeExceeded"], "", "it took longer than --max-hours"),
    ],
    ids=["in its first second", "no image", "no reason", "no capacity", "waited", "too long"],
)
def test_a_job_that_fails_says_why(life: list[str], failure: str, said: str, aws: StandIn, bintally: Bintally) -> None:
    aws.life, aws.failure = life, failure
    run = bintally("sagemaker", "train", "abid", "--recipe", "smallcnn")
    assert run.code == 8
    assert said in run.err
    assert sent_name(aws) in run.err
    assert len(run.err.splitlines()) <= 2  # the sentence, and advice on the instance


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("DescribeTrainingJob", "was sent already, and the same command would send another: go on by"),
        ("CreateTrainingJob", "may have been sent"),
    ],
)
def test_credentials_or_aws_that_fail_meanwhile_say_how_to_go_on_without_a_second_job(
    operation: str, said: str, aws: StandIn, bintally: Bintally
) -> None:
    code, status = ("ExpiredTokenException", 400) if operation.startswith("D") else ("InternalFailure", 500)
    aws.refuse(operation, code, "The security token is expired", times=99, status=status)
    run = bintally("sagemaker", "train", "abid", "--recipe", "smallcnn")
    assert run.code == 8
    assert said in run.err
    assert "bintally sagemaker attach bins-train-" in run.err


def test_what_is_kept_warm_is_priced(aws: StandIn, bintally: Bintally) -> None:
    train = ("sagemaker", "train", "abid", "--recipe", "smallcnn", "--max-hours", "2", "--price", "10", "--dry-run")
    plain = bintally(*train, "--volume-gb", "1").err
    warm = bintally(*train, "--volume-gb", "1", "--keep-warm", "30").err
    assert "at most $20.00 for 2 h" in plain
    assert "at most $25.00 for 2 h and 30 min kept warm" in warm


def test_a_job_may_be_left_at_once_and_attached_to(aws: StandIn, bintally: Bintally) -> None:
    run = bintally("sagemaker", "train", "abid", "--recipe", "smallcnn", "--no-wait")
    name = sent_name(aws)
    assert (run.code, f"bintally sagemaker attach {name}" in run.out) == (0, True)
    assert aws.asked("DescribeTrainingJob") == []
    aws.prints = {"Training": list(lines_of(1))}
    again = bintally("sagemaker", "attach", name)
    assert again.code == 0
    assert "epoch 1: train_loss 2" in again.out


@pytest.mark.parametrize(
    ("answer", "stopped"), [("y\n", True), ("n\n", False), ("", False)], ids=["stop", "leave", "no terminal"]
)
def test_ctrl_c_asks_whether_to_stop(
    answer: str, stopped: bool, aws: StandIn, bintally: Bintally, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = io.StringIO(answer)
    monkeypatch.setattr(keys, "isatty", lambda: bool(answer), raising=False)
    monkeypatch.setattr("sys.stdin", keys)
    aws.on("DescribeTrainingJob", lambda: os.kill(os.getpid(), signal.SIGINT))
    run = bintally("sagemaker", "train", "abid", "--recipe", "smallcnn")
    assert run.code == 130
    assert ("StopTrainingJob" in aws.writes) is stopped
    said = "is being stopped" if stopped else f"bintally sagemaker attach {sent_name(aws)}"
    assert said in run.out


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--recipe", "resnet101", "--instance-type", "ml.m5.xlarge"], 2, "has no GPU"),
        (["--recipe", "smallcnn", "--spot", "--no-checkpoints"], 2, "--spot without a checkpoint location"),
        (
            ["--recipe", "smallcnn", "--spot", "--max-hours", "5", "--max-wait-hours", "4"],
            2,
            "at least --max-hours (5)",
        ),
        (["--recipe", "smallcnn", "--max-wait-hours", "4"], 2, "only a spot job waits"),
        (["--recipe", "smallcnn", "--max-hours", "0"], 2, "--max-hours"),
        (["--recipe", "smallcnn", "--instance-type", "g4dn.xlarge"], 2, "such as ml.g4dn.xlarge"),
        (["--recipe", "smallcnn", "--instance-type", "ml.g4dn.xlarge --x"], 2, "such as ml.g4dn.xlarge"),
        (["--recipe", "nonsense"], 2, "no recipe is called"),
        (["--recipe", "smallcnn", "--set", "epochs=many"], 2, "epochs"),
        (["--recipe", "smallcnn", "--stop-on", "luck"], 2, "--stop-on"),
        (["--recipe", "smallcnn", "--checkpoints", "here"], 2, "such as s3://bucket/folder"),
        (["--recipe", "smallcnn", "--tag", "team"], 2, "expected KEY=VALUE"),
        (["--recipe", "smallcnn", "--spot", "--keep-warm", "10"], 2, "spot instances cannot be kept"),
        (["--recipe", "smallcnn", "--licence", "x" * 3000], 2, "characters"),
        (["--recipe", "smallcnn", "--project", "elsewhere.toml"], 2, "bootstrap NAME` writes it"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    options: list[str], code: int, said: str, aws: StandIn, bintally: Bintally
) -> None:
    run = bintally("sagemaker", "train", "abid", *options)
    assert run.code == code
    assert said in run.err
    assert aws.requests == []
    assert "Traceback" not in run.err


def test_a_large_network_trains_without_a_gpu_if_forced(aws: StandIn, bintally: Bintally) -> None:
    options = ("--recipe", "resnet101", "--instance-type", "ml.m5.xlarge", "--force", "--no-wait")
    run = bintally("sagemaker", "train", "abid", *options)
    assert run.code == 0
    assert "(forced)" in run.err


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda aws: aws.images.clear(), "build the image and push it to ECR"),
        (lambda aws: aws.images.__init__({("bintally-bins", "other")}), "build the image and push it to ECR"),
        (lambda aws: aws.roles.clear(), "role arn:aws:iam::123456789012:role/bintally-bins-job-us-east-1 is not there"),
        (lambda aws: aws.objects.clear(), "bintally sagemaker prepare"),
    ],
    ids=["no repository", "no such tag", "no role", "no dataset"],
)
def test_what_is_missing_is_said_before_anything_is_sent(
    spoil: object, said: str, aws: StandIn, bintally: Bintally
) -> None:
    spoil(aws)  # type: ignore[operator]
    run = bintally("sagemaker", "train", "abid", "--recipe", "smallcnn")
    assert run.code == 2
    assert said in run.err
    assert aws.writes == []


def test_what_may_not_be_looked_at_is_no_reason_to_stop(aws: StandIn, bintally: Bintally) -> None:
    aws.refuse(
        "GetRole", "AccessDenied", "User: arn:aws:iam::1:user/ann is not authorized to perform: iam:GetRole", status=403
    )
    run = bintally("sagemaker", "train", "abid", "--recipe", "smallcnn", "--no-wait")
    assert run.code == 0
    assert "the role could not be looked at" in run.out
    assert aws.writes == ["CreateTrainingJob"]


def test_a_used_up_quota_says_which_and_how_to_ask_for_more(aws: StandIn, bintally: Bintally) -> None:
    aws.quotas["ml.g4dn.xlarge"] = 0
    run = bintally("sagemaker", "train", "abid", "--recipe", "smallcnn", "--spot")
    assert run.code == 8
    assert "'ml.g4dn.xlarge for spot training job usage' is 0, 0 are in use and 1 more were asked for" in run.err
    assert "Request increase" in run.err
    assert aws.jobs == {}


def test_no_permission_says_which_action_on_what_and_who_can_give_it(aws: StandIn, bintally: Bintally) -> None:
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/bins-train-1"
    message = (
        f"User: arn:aws:iam::{ACCOUNT}:user/ann is not authorized to perform: sagemaker:CreateTrainingJob on resource: "
        f"{arn} because no identity-based policy allows the sagemaker:CreateTrainingJob action"
    )
    aws.refuse("CreateTrainingJob", "AccessDeniedException", message)
    run = bintally("sagemaker", "train", "abid", "--recipe", "smallcnn")
    assert run.code == 8
    assert f"no permission for sagemaker:CreateTrainingJob on {arn}" in run.err
    assert f"have an administrator allow sagemaker:CreateTrainingJob for arn:aws:iam::{ACCOUNT}:user/ann" in run.err


def test_without_credentials_it_says_how_to_get_some(
    bintally: Bintally, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own_environment(monkeypatch)
    write_project(tmp_path / FILE_NAME, PROJECT)
    for verb in (["status"], ["train", "abid", "--recipe", "smallcnn"], ["clean"], ["attach", JOB], ["report", JOB]):
        run = bintally("sagemaker", *verb, "--project", tmp_path / FILE_NAME)
        assert run.code == 8
        assert "no credentials were found. To do: run `aws configure sso`" in run.err


# --- prepare ---------------------------------------------------------------------------------------------------------


def test_a_dataset_is_made_in_the_cloud(aws: StandIn, bintally: Bintally) -> None:
    run = bintally("sagemaker", "prepare", "s3://aft-vbi-pds", "first", "--range", "00001-00500", "--side", "224")
    assert run.code == 0, run.err
    (request,) = aws.asked("CreateProcessingJob")
    assert "--keys=00001-00500" in request["AppSpecification"]["ContainerArguments"]
    assert "ProcessingInputs" not in request
    assert f"Dataset: {PROJECT.url}/datasets/first" in run.out
    assert "Next: bintally sagemaker train first" in run.out


def test_prepare_takes_the_options_of_ingest_and_split(aws: StandIn, bintally: Bintally) -> None:
    run = bintally(
        "sagemaker", "prepare", "s3://bins-of-mine/x", "--require-counts", "0-2,5", "--anonymous",
        "--region", "eu-west-1", "--salt", "one",
    )  # fmt: skip
    assert run.code == 0, run.err
    (request,) = aws.asked("CreateProcessingJob")
    assert parse_arguments(request["AppSpecification"]["ContainerArguments"]) == PrepareSettings(
        source="s3://bins-of-mine/x",
        dest=f"{PROJECT.url}/datasets/abid",
        salt="one",
        required_counts=(0, 1, 2, 5),
        region="eu-west-1",
        anonymous=True,
    )


def test_a_list_of_photos_travels_with_the_job(aws: StandIn, bintally: Bintally, tmp_path: Path) -> None:
    listed = tmp_path / "mine.json"
    listed.write_text('{"1": ["data/metadata/00012.json"]}')
    dry = json.loads(bintally("sagemaker", "prepare", "s3://aft-vbi-pds", "--list", listed, "--dry-run").out)
    assert [each["operation"] for each in dry] == ["PutObject", "CreateProcessingJob"]
    assert aws.requests == []
    run = bintally("sagemaker", "prepare", "s3://aft-vbi-pds", "--list", listed)
    assert run.code == 0, run.err
    assert aws.writes == ["PutObject", "CreateProcessingJob"]
    (request,) = aws.asked("CreateProcessingJob")
    (given,) = request["ProcessingInputs"]
    key = f"jobs/{request['ProcessingJobName']}/file_list.json"
    assert given["S3Input"]["S3Uri"] == f"{PROJECT.url}/{key}"
    assert aws.objects[PROJECT.bucket, key] == listed.read_bytes()
    arguments = parse_arguments(request["AppSpecification"]["ContainerArguments"])
    assert arguments.file_list == f"{given['S3Input']['LocalPath']}/file_list.json"


def test_a_list_that_is_none_is_refused_before_anything_is_sent(
    aws: StandIn, bintally: Bintally, tmp_path: Path
) -> None:
    (tmp_path / "mine.json").write_text('{"one": []}')
    run = bintally("sagemaker", "prepare", "s3://aft-vbi-pds", "--list", tmp_path / "mine.json")
    assert (run.code, aws.requests) == (2, [])
    assert "mine.json: 'one' is no count" in run.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["s3://aft-vbi-pds", "--require-counts", "3-1"], "--require-counts '3-1'"),
        (["s3://aft-vbi-pds", "--require-counts", "0-99"], "arguments of 256 characters"),
        (["aft-vbi-pds"], "such as s3://bucket/folder"),
        (["s3://aft-vbi-pds", "a/b"], "expected a name"),
        (["s3://aft-vbi-pds", "--side", "7"], "--side"),
        (["s3://aft-vbi-pds", "--side", "224", "--replace"], "choose another dataset name"),
        (["s3://aft-vbi-pds", "--range", "9-1"], "9-1"),
        (["s3://aft-vbi-pds", "--max-hours", "999"], "--max-hours"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_prepare_cannot_mean_is_refused(arguments: list[str], said: str, aws: StandIn, bintally: Bintally) -> None:
    run = bintally("sagemaker", "prepare", *arguments)
    assert run.code == 2
    assert said in run.err
    assert aws.requests == []


# --- report ----------------------------------------------------------------------------------------------------------


def test_report_fetches_what_a_job_left_and_opens_its_pages(
    aws: StandIn, bintally: Bintally, tmp_path: Path, pages: list[str]
) -> None:
    bintally("sagemaker", "train", "abid", "--recipe", "smallcnn")
    name = sent_name(aws)
    health = Health(format_version=1, rules=(), epochs=3, steps=30, alarms=(), stopped_by=None).model_dump_json()
    place = f"jobs/{name}/output"
    aws.objects[PROJECT.bucket, f"{place}/output.tar.gz"] = archive(health__json=health.encode(), profile__html=b"<p>")
    aws.objects[PROJECT.bucket, f"{place}/model.tar.gz"] = archive(model__onnx=b"onnx", curves__csv=b"epoch\n")
    run = bintally("sagemaker", "report", name)
    assert run.code == 0, run.err
    folder = tmp_path / "sagemaker" / name
    assert sorted(path.name for path in folder.iterdir()) == ["curves.csv", "health.json", "model.onnx", "profile.html"]
    assert "Health: " in run.out
    assert pages == [str(folder / "profile.html")]
    bintally("sagemaker", "report", name, "--no-open")
    assert len(pages) == 1


def test_prepare_looks_for_role_and_image_first(aws: StandIn, bintally: Bintally) -> None:
    aws.images.clear()
    run = bintally("sagemaker", "prepare", "s3://aft-vbi-pds")
    assert (run.code, aws.writes) == (2, [])
    assert "build the image and push it to ECR" in run.err


def test_report_of_a_prepared_dataset_fetches_the_audits_page(
    aws: StandIn, bintally: Bintally, tmp_path: Path, pages: list[str]
) -> None:
    bintally("sagemaker", "prepare", "s3://aft-vbi-pds")
    name = sent_name(aws, "CreateProcessingJob")
    aws.objects[PROJECT.bucket, f"jobs/{name}/report/audit.html"] = b"<html>"
    run = bintally("sagemaker", "report", name)
    assert run.code == 0, run.err
    assert "Page: sagemaker/" in run.out
    assert (tmp_path / "sagemaker" / name / "audit.html").read_bytes() == b"<html>"
    assert pages == [str(tmp_path / "sagemaker" / name / "audit.html")]


def test_a_dataset_that_took_too_long_is_not_said_to_be_somebodys_doing(aws: StandIn, bintally: Bintally) -> None:
    aws.life = ["Starting", "MaxRuntimeExceeded"]
    run = bintally("sagemaker", "prepare", "s3://aft-vbi-pds")
    assert run.code == 8
    assert "somebody stopped it, or it took longer than --max-hours" in run.err


def test_report_says_what_is_not_there(aws: StandIn, bintally: Bintally) -> None:
    aws.life, aws.failure = ["Failed"], "AlgorithmError: it broke, exit code: 1"
    bintally("sagemaker", "train", "abid", "--recipe", "smallcnn")
    run = bintally("sagemaker", "report", sent_name(aws))
    assert run.code == 0
    assert "It failed: it broke" in run.out
    assert "The job left nothing to fetch." in run.out


def test_report_of_a_job_under_way_says_so(aws: StandIn, bintally: Bintally) -> None:
    bintally("sagemaker", "train", "abid", "--recipe", "smallcnn", "--no-wait")
    run = bintally("sagemaker", "report", sent_name(aws))
    assert run.code == 8
    assert "is not done (Starting)" in run.err


@pytest.mark.parametrize("verb", ["attach", "report"])
def test_a_name_that_is_none_of_the_projects_is_refused(verb: str, aws: StandIn, bintally: Bintally) -> None:
    run = bintally("sagemaker", verb, "somebody-elses-job")
    assert run.code == 2
    assert "not the name of one of this project's jobs" in run.err
    assert bintally("sagemaker", verb, JOB).code == 8


# --- status and clean ------------------------------------------------------------------------------------------------


@pytest.fixture
def busy(aws: StandIn, bintally: Bintally) -> StandIn:
    """An account with everything in it, and things of others beside."""
    for place in range(12):  # more than a page
        aws.add("Model", f"bins-model-20260203-0405{place:02}-0a1b", tags=tags("bins", Kind.MODEL))
    aws.add("EndpointConfig", "bins-config-20260203-040506-0a1b", tags=tags("bins", Kind.CONFIG))
    aws.add("Endpoint", "bins-endpoint-20260203-040506-0a1b", tags=tags("bins", Kind.ENDPOINT))
    aws.add("Endpoint", "bins-b-endpoint-20260203-040506-0a1b", tags=tags("bins-b", Kind.ENDPOINT))
    aws.add("Endpoint", "bins-endpoint-20260203-040507-0a1b", tags=[{"Key": "by", "Value": "hand"}])
    aws.others = [(f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/bintally-bins", "bins")]
    aws.objects[PROJECT.bucket, "models/x.tar.gz"] = b"123"
    bintally("sagemaker", "train", "abid", "--recipe", "smallcnn")
    bintally("sagemaker", "train", "abid", "--recipe", "smallcnn", "--seed", "2", "--no-wait")
    aws.requests.clear()
    return aws


def test_status_shows_what_costs_first(busy: StandIn, bintally: Bintally) -> None:
    run = bintally("sagemaker", "status")
    assert run.code == 0
    names = [line.split("│")[2].strip() for line in run.out.splitlines() if line.startswith("│")]
    assert len(names) == 12 + 1 + 2 + 2 + 1
    assert names[0].startswith("bins-train-")
    assert "bins-b-endpoint" not in run.out
    assert "Costs money by the hour: bins-train-" in run.out
    rows = json.loads(bintally("sagemaker", "status", "--json").out)
    assert [row["name"] for row in rows if row["costs"]] == names[:3]
    assert busy.writes == []


def test_status_shows_where_people_work_and_what_an_hour_of_it_costs(aws: StandIn, bintally: Bintally) -> None:
    aws.domains = {"d-one": "bintally-bins"}
    lab = aws.add_app("d-one", "JupyterLab", "ml.t3.medium", SpaceName="lab")
    aws.add_app("d-one", "JupyterServer", "system")
    aws.notebooks = [("bins-notebook", "InService", "ml.m5.xlarge")]
    notebook = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:notebook-instance/bins-notebook"
    aws.others = [(lab, "bins"), (notebook, "bins"), (f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:domain/d-one", "bins")]
    run = bintally("sagemaker", "status")
    assert (run.code, run.err) == (0, "")
    assert "Costs money by the hour: bins-notebook, lab/default (about $0.28 an hour on demand)" in run.out
    assert "stops there, under Running instances" in run.out
    assert "clean" not in run.out, "it leaves these alone"
    rows = json.loads(bintally("sagemaker", "status", "--json").out)
    assert [(row["what"], row["name"], row["usd_hour"]) for row in rows] == [
        ("notebook instance", "bins-notebook", 0.23),
        ("Studio JupyterLab", "lab/default", 0.05),
        ("Studio JupyterServer", "ann/default", 0.0),
        ("sagemaker domain", "d-one", 0.0),
    ]
    assert aws.writes == []


def test_clean_removes_it_all_but_not_what_is_others(busy: StandIn, bintally: Bintally) -> None:
    run = bintally("sagemaker", "clean", "--yes")
    assert run.code == 0, run.err
    assert busy.writes == ["DeleteEndpoint", "DeleteEndpointConfig", *12 * ["DeleteModel"], "StopTrainingJob"]
    assert "bins-endpoint-20260203-040507-0a1b lacks the project's tag and is left alone" in run.err
    left = {name for _, name in busy.things}
    assert left == {"bins-b-endpoint-20260203-040506-0a1b", "bins-endpoint-20260203-040507-0a1b"}
    assert busy.objects
    busy.requests.clear()
    again = bintally("sagemaker", "clean", "--yes")
    assert (again.code, again.out) == (0, "Nothing of project bins is to be removed.\n")
    assert busy.writes == []


def test_clean_asks_first(busy: StandIn, bintally: Bintally, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    run = bintally("sagemaker", "clean")
    assert run.code == 1
    assert "delete endpoint bins-endpoint-20260203-040506-0a1b" in run.out
    assert busy.writes == []


def test_clean_goes_on_after_a_failure_and_names_what_is_left(busy: StandIn, bintally: Bintally) -> None:
    busy.refuse("DeleteEndpoint", "ValidationException", "Cannot update in-progress endpoint")
    run = bintally("sagemaker", "clean", "--yes")
    assert run.code == 8
    assert "1 of 15 steps failed, the others are done. Left: delete endpoint bins-endpoint-20260203-040506" in run.err
    assert not [name for word, name in busy.things if word == "Model"]
    assert bintally("sagemaker", "clean", "--yes").code == 0
    assert not [name for word, name in busy.things if name == "bins-endpoint-20260203-040506-0a1b"]


def test_what_vanishes_meanwhile_is_no_failure(busy: StandIn, bintally: Bintally) -> None:
    def vanish() -> None:
        del busy.things["Endpoint", "bins-endpoint-20260203-040506-0a1b"]
        for job in busy.jobs.values():
            job.past.append(("Completed", busy.now))

    busy.on("DeleteEndpoint", vanish)
    run = bintally("sagemaker", "clean", "--yes")
    assert run.code == 0, run.err
    assert "gone already" in run.out
    assert "over already" in run.out


def test_clean_that_is_interrupted_says_what_is_not_done(busy: StandIn, bintally: Bintally) -> None:
    busy.on("DeleteEndpointConfig", lambda: os.kill(os.getpid(), signal.SIGINT))
    run = bintally("sagemaker", "clean", "--yes")
    assert run.code == 130
    assert "not done yet: delete endpoint configuration bins-config-20260203-040506-0a1b; delete model" in run.err


def test_clean_takes_data_stack_and_bucket_if_asked(busy: StandIn, bintally: Bintally) -> None:
    busy.objects["others", "models/y"] = b""
    for place in range(25):
        busy.objects[PROJECT.bucket, f"datasets/abid/{place:05}.jpg"] = b"12"
    busy.stacks["bintally-bins"] = {
        "status": "CREATE_COMPLETE",
        "resources": {},
        "events": [],
        "arn": "arn:stack/bintally-bins/1",
        "tags": tags("bins", Kind.STACK),
    }
    run = bintally("sagemaker", "clean", "--data", "--stack", "--yes")
    assert run.code == 0, run.err
    assert "delete 26 objects" in run.out
    assert list(busy.objects) == [("others", "models/y")]
    assert busy.stacks["bintally-bins"]["status"] == "DELETE_COMPLETE"
    assert busy.writes[-2:] == ["DeleteStack", "DeleteBucket"]
    again = bintally("sagemaker", "clean", "--data", "--stack", "--yes")
    assert "Nothing of project bins" in again.out


def test_clean_leaves_bucket_stack_and_jobs_of_others_alone(busy: StandIn, bintally: Bintally) -> None:
    busy.buckets[PROJECT.bucket] = []
    busy.stacks["bintally-bins"] = {
        "status": "CREATE_COMPLETE", "resources": {}, "events": [], "arn": "arn:stack/bintally-bins/1"
    }  # fmt: skip
    for job in busy.jobs.values():
        job.request["Tags"] = tags("bins-b", Kind.TRAIN)
    run = bintally("sagemaker", "clean", "--data", "--stack", "--yes")
    assert run.code == 0, run.err
    assert f"the bucket {PROJECT.bucket} lacks the project's tag and is left alone" in run.err
    assert "the stack bintally-bins lacks the project's tag and is left alone" in run.err
    assert "training job bins-train-" in run.err
    assert not {"DeleteObjects", "DeleteBucket", "DeleteStack", "StopTrainingJob"} & set(busy.writes)


def test_what_vanishes_before_its_tag_is_read_does_not_end_clean(busy: StandIn, bintally: Bintally) -> None:
    busy.refuse("ListTags", "ValidationException", "Could not find endpoint")
    run = bintally("sagemaker", "clean", "--yes")
    assert run.code == 0, run.err
    assert "DeleteEndpointConfig" in busy.writes


def test_a_configuration_goes_only_after_its_endpoint(busy: StandIn, bintally: Bintally) -> None:
    name, config = "bins-endpoint-20260203-040506-0a1b", "bins-config-20260203-040506-0a1b"
    busy.things["Endpoint", name]["config"] = config
    busy.refuse("DeleteEndpoint", "ValidationException", "Cannot update in-progress endpoint")
    run = bintally("sagemaker", "clean", "--yes")
    assert run.code == 8
    assert f"delete endpoint configuration {config}: not before: delete endpoint {name}" in run.err
    assert ("EndpointConfig", config) in busy.things
    assert bintally("sagemaker", "clean", "--yes").code == 0
    assert ("EndpointConfig", config) not in busy.things


# --- bootstrap -------------------------------------------------------------------------------------------------------

BOOTSTRAP = (
    "sagemaker", "bootstrap", "other", "--budget", "20", "--email", "ann@example.org", "--region", REGION,
    "--project", "other.toml",
)  # fmt: skip


def test_bootstrap_shows_applies_and_writes_the_projects_file(aws: StandIn, bintally: Bintally, tmp_path: Path) -> None:
    run = bintally(*BOOTSTRAP, "--yes")
    assert run.code == 0, run.err
    for said in ("to make", "AWS::S3::Bucket", "AWS::Budgets::Budget", "CREATE_COMPLETE", "Written: other.toml"):
        assert said in run.out
    project = read_project(tmp_path / "other.toml")
    assert (project.project, project.region) == ("other", REGION)
    assert project.train_image.endswith("/bintally-other:train")
    assert aws.writes == ["CreateChangeSet", "ExecuteChangeSet"]
    (request,) = aws.asked("CreateChangeSet")
    assert request["Capabilities"] == ["CAPABILITY_NAMED_IAM"]
    assert request["Tags"] == tags("other", Kind.STACK)


def test_bootstrap_again_is_an_update_or_nothing(aws: StandIn, bintally: Bintally) -> None:
    bintally(*BOOTSTRAP, "--yes")
    aws.requests.clear()
    same = bintally(*BOOTSTRAP, "--yes")
    assert (same.code, "nothing to do" in same.out) == (0, True)
    assert aws.writes == ["CreateChangeSet", "DeleteChangeSet"]
    aws.requests.clear()
    more = bintally(*BOOTSTRAP, "--notebook", "--yes")
    assert more.code == 0, more.err
    assert aws.asked("CreateChangeSet")[0]["ChangeSetType"] == "UPDATE"
    assert "AWS::SageMaker::NotebookInstance" in more.out


def test_bootstrap_again_keeps_what_was_written_by_hand(aws: StandIn, bintally: Bintally, tmp_path: Path) -> None:
    bintally(*BOOTSTRAP, "--yes")
    path = tmp_path / "other.toml"
    by_hand = read_project(path).model_copy(update={"isolated": True, "train_image": "my/image:2"})
    write_project(path, by_hand)
    assert bintally(*BOOTSTRAP, "--tag", "team=vision", "--yes").code == 0
    assert read_project(path) == by_hand.model_copy(update={"tags": {"team": "vision"}})


def test_bootstrap_leaves_the_file_of_another_project_alone(aws: StandIn, bintally: Bintally) -> None:
    run = bintally(*BOOTSTRAP, "--project", FILE_NAME, "--yes")
    assert (run.code, aws.requests) == (2, [])
    assert f"{FILE_NAME}: the file of project bins. To do: name another for other with --project" in run.err


def test_bootstrap_declined_leaves_nothing(aws: StandIn, bintally: Bintally, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    run = bintally(*BOOTSTRAP)
    assert (run.code, "Nothing was done." in run.out) == (1, True)
    assert aws.stacks == {}


def test_bootstrap_that_fails_names_resource_and_reason_and_leaves_nothing(aws: StandIn, bintally: Bintally) -> None:
    aws.fails = {"Repository": "bintally-other already exists in the account"}
    run = bintally(*BOOTSTRAP, "--yes")
    assert run.code == 8
    assert (
        "stack bintally-other failed, nothing of it is left: Repository (AWS::ECR::Repository): bintally-other already "
        "exists in the account" in run.err
    )
    assert "cancelled" not in run.err
    aws.fails = {}
    assert bintally(*BOOTSTRAP, "--yes").code == 0


@pytest.mark.parametrize(
    ("status", "said"),
    [("UPDATE_IN_PROGRESS", "is at work"), ("DELETE_FAILED", "is stuck"), ("UPDATE_ROLLBACK_FAILED", "is stuck")],
)
def test_bootstrap_leaves_a_busy_or_stuck_stack_alone(status: str, said: str, aws: StandIn, bintally: Bintally) -> None:
    aws.stacks["bintally-other"] = {
        "status": status, "resources": {}, "events": [], "arn": "arn:stack/bintally-other/1", "todo": ["x"],
        "planned": {"x": {"Type": "AWS::S3::Bucket"}},
    }  # fmt: skip
    run = bintally(*BOOTSTRAP, "--yes")
    assert run.code == 8
    assert said in run.err
    assert aws.writes == []


def test_bootstrap_removes_what_a_failed_one_left(aws: StandIn, bintally: Bintally) -> None:
    aws.stacks["bintally-other"] = {
        "status": "ROLLBACK_COMPLETE", "resources": {}, "events": [], "arn": "arn:stack/bintally-other/0"
    }  # fmt: skip
    assert bintally(*BOOTSTRAP, "--yes").code == 0
    assert aws.writes == ["DeleteStack", "CreateChangeSet", "ExecuteChangeSet"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Bins", "--no-budget"], "project"),
        (["a" * 19, "--no-budget"], "project"),
        (["bins"], "--no-budget"),
        (["bins", "--budget", "0", "--email", "a@b.org"], "more than 0"),
        (["bins", "--budget", "9"], "1 to 10 addresses"),
        (["bins", "--budget", "9", "--email", "ann"], "such as ann@example.org"),
        (["bins", "--budget", "9", "--email", "a@b.org", "--no-budget"], "leave out"),
        (["bins", "--no-budget", "--studio"], "--studio needs a network"),
        (["bins", "--no-budget", "--subnet", "subnet-1"], "--security-group"),
        (["bins", "--no-budget", "--tag", "aws:x=1"], "aws:"),
        (["bins", "--no-budget", "--notebook", "--idle-minutes", "1"], "every 5 minutes"),
        (["bins", "--no-budget", "--notebook", "--notebook-type", "ml.enormous"], "cfn-lint says"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_bootstrap_cannot_mean_is_refused(
    arguments: list[str], said: str, aws: StandIn, bintally: Bintally
) -> None:
    run = bintally("sagemaker", "bootstrap", *arguments, "--yes", "--region", REGION)
    assert run.code in (2, 8)
    assert said in run.err
    assert aws.writes == []


def test_bootstrap_prints_the_template_alone(aws: StandIn, bintally: Bintally) -> None:
    run = bintally(*BOOTSTRAP, "--template")
    assert json.loads(run.out)["Resources"]["Bucket"]["Type"] == "AWS::S3::Bucket"
    assert aws.requests == []


def test_without_a_region_it_says_so(aws: StandIn, bintally: Bintally) -> None:
    run = bintally("sagemaker", "bootstrap", "bins", "--no-budget", "--yes")
    assert run.code == 8
    assert "no region is named" in run.err


def test_an_unknown_profile_says_so(aws: StandIn, bintally: Bintally) -> None:
    run = bintally("sagemaker", "status", "--aws-profile", "nobody")
    assert run.code == 8
    assert "AWS, profile nobody: there is no such profile" in run.err
