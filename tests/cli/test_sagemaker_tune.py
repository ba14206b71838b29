"""`bintally sagemaker tune`: sent, followed, reported; five of its jobs trained by the real container."""

import csv
import io
import json
import os
import re
import signal
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from tests.cli.runner import Bintally
from tests.cloud.conftest import made_up_project
from tests.cloud.standin import StandIn, own_environment
from tests.cloud.training_job import TrainingJob

from bintally.cloud.container.layout import read_layout
from bintally.cloud.container.worker import train
from bintally.cloud.hyperparameters import parse_hyperparameters
from bintally.cloud.names import SETTINGS_TAG, Kind, kind_of, tags
from bintally.cloud.project import FILE_NAME, write_project
from bintally.cloud.requests import Request, check
from bintally.data.manifest import Manifest
from bintally.settings import read_settings
from bintally.tuning.space import flatten

PROJECT = made_up_project()
TUNE = ("sagemaker", "tune", "abid", "--recipe", "smallcnn", "--instance-type", "ml.c5.xlarge")
JOB = "bins-tune-0a1b2c3d"


def name_of(aws: StandIn) -> str:
    return str(aws.asked("CreateHyperParameterTuningJob")[-1]["HyperParameterTuningJobName"])


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_five_jobs_driven_by_the_tuners_requests_are_trained_by_the_real_container(
    aws: StandIn, bintally: Bintally, drawn: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first as a process of its own, the others in this one; all share one checkpoint location, as AWS has it."""
    bucket = tmp_path / "checkpoints"
    seen: dict[str, Mapping[str, str]] = {}

    def trains(name: str, hyperparameters: Mapping[str, str]) -> tuple[Sequence[str], str]:
        seen[name] = hyperparameters
        job = TrainingJob(tmp_path / name, {"train": drawn.root}, hyperparameters, name=name)
        job.bucket = bucket
        bucket.mkdir(exist_ok=True)
        if len(seen) == 1:
            job.start()
            assert set(job.wait().values()) == {0}, job.log()
            return job.log().splitlines(), job.failure()
        job.sittings = 1
        job._lay_out(job.hosts[0])
        root = job.root(job.hosts[0])
        monkeypatch.setenv("TRAINING_JOB_NAME", name)
        said = io.StringIO()
        with redirect_stdout(said):
            train(read_layout({"BINTALLY_ML_ROOT": str(root)}), parse_hyperparameters(hyperparameters))
        assert (root / "model" / "model.onnx").exists()
        job._upload(root / "checkpoints")
        return said.getvalue().splitlines(), job.failure()

    aws.trains = trains
    (tmp_path / "mine.toml").write_text(
        "[space]\noptimiser.lr = {low = 0.0005, high = 0.02, log = true}\nbatch_size = {choices = [8, 16]}\n"
        "epochs = {low = 1, high = 2}\nlabel_softness = {low = 0.0, high = 0.5}\n"
    )
    run = bintally(
        *TUNE, "--space", "mine.toml", "--jobs", "5", "--spot", "--out", "found",
        "--set", "data.side_px=32", "--set", "precision=fp32",
    )  # fmt: skip
    assert run.code == 0, run.err
    assert len(seen) == 5
    assert len({said["optimiser.lr"] for said in seen.values()}) == 5
    assert sorted(path.name for path in bucket.iterdir()) == sorted(seen), "each job keeps to a folder of its own"
    assert len(re.findall(r"^job \d Completed: validation loss", run.out, re.MULTILINE)) == 5
    rows = rows_of(tmp_path / "found")
    assert [row["state"] for row in rows] == 5 * ["done"]
    best = min(rows, key=lambda row: float(row["value"]))
    assert f"validation loss {float(best['value']):.4f}" in run.out
    chosen = seen[next(name for name in seen if f"-{int(best['trial']):03}-" in name)]
    settings = flatten(read_settings(tmp_path / "found" / "best.toml"))
    for key in ("optimiser.lr", "batch_size", "epochs", "label_softness"):
        assert settings[key] == pytest.approx(float(chosen[key]))
    assert (settings["data.side_px"], settings["recipe"]) == (32, "smallcnn-tuned")
    page = (tmp_path / "found" / "report.html").read_text(encoding="utf-8")
    for said in ("smallcnn tuned: validation loss", "<h2>Curves</h2>", "optimiser.lr", "0.0005 to 0.02, logarithmic"):
        assert said in page
    again = bintally("sagemaker", "train", "abid", "--config", "found/best.toml", "--dry-run")
    assert again.code == 0, again.err
    asked = json.loads(again.out)[0]["parameters"]["HyperParameters"]
    assert parse_hyperparameters(asked).settings == read_settings(tmp_path / "found" / "best.toml")


def test_a_study_is_priced_sent_followed_and_reported(aws: StandIn, bintally: Bintally, tmp_path: Path) -> None:
    aws.stopped = {3}
    run = bintally(*TUNE, "--jobs", "12", "--parallel", "4", "--spot", "--tag", "team=x")
    assert run.code == 0, run.err
    name = name_of(aws)
    assert kind_of(name, "bins") is Kind.TUNE
    (request,) = aws.asked("CreateHyperParameterTuningJob")
    *told, settings = request["Tags"]
    assert told == tags("bins", Kind.TUNE, {"team": "x"})
    assert settings["Key"] == SETTINGS_TAG
    assert f"Sending {name} (settings and space {settings['Value']})" in run.out
    definition = request["TrainingJobDefinition"]
    assert definition["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 14400}
    assert definition["CheckpointConfig"]["S3Uri"] == f"{PROJECT.url}/checkpoints/{name}"
    for said in (
        "12 jobs, 4 at a time, each on 1 x ml.c5.xlarge: $0.20 an hour each, at most $5.13",
        f"Sending {name}",
    ):
        assert said in run.out
    assert "job 3 Stopped: validation loss" in run.out
    assert f"{name}: Completed, 12 of 12 jobs begun, 11 completed, 1 stopped; best: job" in run.out
    folder = tmp_path / "sagemaker" / name
    rows = rows_of(folder)
    assert [row["state"] for row in rows].count("pruned") == 1
    assert (rows[0]["epochs_run"], rows[2]["epochs_run"], rows[0]["seconds"]) == ("3", "1", "61.0")
    taken = float(re.findall(r"job 1 Completed: validation loss ([\d.]+)", run.out)[0])
    assert float(rows[0]["value"]) == pytest.approx(taken, abs=1e-3), "the lowest for both, not the last"
    page = (folder / "report.html").read_text(encoding="utf-8")
    for said in ("<h2>Curves</h2>", "1 of 12 trials were ended early", "not known here"):
        assert said in page
    assert aws.writes == ["CreateHyperParameterTuningJob"]


def test_it_may_be_left_attached_to_and_reported_while_it_runs(
    aws: StandIn, bintally: Bintally, tmp_path: Path, pages: list[str]
) -> None:
    run = bintally(*TUNE, "--jobs", "4", "--no-wait")
    name = name_of(aws)
    assert f"bintally sagemaker attach {name}" in run.out
    early = bintally("sagemaker", "report", name)
    assert early.code == 0, early.err
    assert "InProgress, 2 of 4 jobs begun" in early.out
    assert pages == [str(tmp_path / "sagemaker" / name / "report.html")]
    assert len(rows_of(tmp_path / "sagemaker" / name)) == 2
    attached = bintally("sagemaker", "attach", name)
    assert attached.code == 0, attached.err
    assert attached.out.count(" Completed: validation loss") == 4


def test_the_model_of_its_best_job_is_found(aws: StandIn, bintally: Bintally) -> None:
    bintally(*TUNE, "--jobs", "3")
    (best,) = re.findall(r"Best: job (\S+),", bintally("sagemaker", "report", name_of(aws)).out)
    aws.images.add(("bintally-bins", "serve"))
    aws.objects[PROJECT.bucket, f"jobs/{best}/output/model.tar.gz"] = b"an archive"
    run = bintally("sagemaker", "deploy", name_of(aws), "--yes", "--no-wait")
    assert run.code == 0, run.err
    assert f"best job of {name_of(aws)}: {best}" in run.out
    url = aws.asked("CreateModel")[0]["PrimaryContainer"]["ModelDataUrl"]
    assert url == f"{PROJECT.url}/jobs/{best}/output/model.tar.gz"


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("DescribeHyperParameterTuningJob", "was sent already, and the same command would send another"),
        ("CreateHyperParameterTuningJob", "may have been sent"),
    ],
)
def test_what_breaks_off_says_how_to_go_on_without_a_second_job(
    operation: str, said: str, aws: StandIn, bintally: Bintally
) -> None:
    aws.refuse(operation, "InternalFailure", "", times=99, status=500)
    run = bintally(*TUNE, "--jobs", "3")
    assert run.code == 8
    assert said in run.err
    assert "bintally sagemaker attach bins-tune-" in run.err


def test_without_logs_there_is_a_report_without_curves(aws: StandIn, bintally: Bintally, tmp_path: Path) -> None:
    aws.refuse("DescribeLogStreams", "AccessDeniedException", "no", times=99)
    run = bintally(*TUNE, "--jobs", "3", "--out", "found")
    assert run.code == 0, run.err
    assert "the report has no curves, only each job's lowest loss: " in run.err
    assert "no permission for logs:DescribeLogStreams" in run.err
    rows = rows_of(tmp_path / "found")
    assert [row["epochs_run"] for row in rows] == ["0", "0", "0"]
    assert all(float(row["value"]) > 1 for row in rows)
    assert "<h2>Curves</h2>" not in (tmp_path / "found" / "report.html").read_text(encoding="utf-8")


def test_the_best_jobs_reports_say_which_photos(aws: StandIn, bintally: Bintally, tmp_path: Path) -> None:
    import tarfile

    bintally(*TUNE, "--jobs", "3", "--out", "found")
    (best,) = re.findall(r"Best: job (\S+),", bintally("sagemaker", "report", name_of(aws), "--no-open").out)
    held, facts = io.BytesIO(), json.dumps({"provenance": {"manifest_hash": "m4n1", "split_hash": "5p1it"}}).encode()
    with tarfile.open(fileobj=held, mode="w:gz") as tar:
        member = tarfile.TarInfo("checkpoint.json")
        member.size = len(facts)
        tar.addfile(member, io.BytesIO(facts))
    aws.objects[PROJECT.bucket, f"jobs/{best}/output/output.tar.gz"] = held.getvalue()
    assert bintally("sagemaker", "report", name_of(aws), "--out", "found", "--no-open").code == 0
    page = (tmp_path / "found" / "report.html").read_text(encoding="utf-8")
    assert "m4n1" in page
    assert "5p1it" in page


def test_jobs_that_fail_say_why(aws: StandIn, bintally: Bintally, tmp_path: Path) -> None:
    aws.trains = lambda *_: ([], "AlgorithmError: manifest.parquet: no splits, exit code: 1")
    run = bintally(*TUNE, "--jobs", "2")
    assert run.code == 8
    assert "none of its 2 jobs came to its end: manifest.parquet: no splits" in run.err
    report = bintally("sagemaker", "report", name_of(aws), "--no-open")
    assert report.code == 0, report.err
    page = (tmp_path / "sagemaker" / name_of(aws) / "report.html").read_text(encoding="utf-8")
    assert "no trial came to its end" in page
    assert "no splits" in page


def test_a_tuning_job_that_fails_in_its_first_second(aws: StandIn, bintally: Bintally) -> None:
    aws.life, aws.failure = ["Failed"], "ClientError: Image does not exist"
    run = bintally(*TUNE)
    assert (run.code, "build the image and push it to ECR" in run.err) == (8, True)


@pytest.mark.parametrize(("answer", "stopped"), [("y\n", True), ("n\n", False)], ids=["stop", "leave"])
def test_ctrl_c_asks_whether_to_stop(
    answer: str, stopped: bool, aws: StandIn, bintally: Bintally, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = io.StringIO(answer)
    monkeypatch.setattr(keys, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", keys)
    aws.on("DescribeHyperParameterTuningJob", lambda: os.kill(os.getpid(), signal.SIGINT))
    run = bintally(*TUNE)
    assert run.code == 130
    assert ("StopHyperParameterTuningJob" in aws.writes) is stopped


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda aws: aws.quotas.update({"ml.c5.xlarge": 1}), 8, "'ml.c5.xlarge for training job usage' is 1"),
        (lambda aws: aws.images.clear(), 2, "build the image and push it to ECR"),
        (
            lambda aws: aws.refuse("CreateHyperParameterTuningJob", "AccessDeniedException", "no"),
            8,
            "no permission for sagemaker:CreateHyperParameterTuningJob on bins-tune-",
        ),
    ],
    ids=["quota", "no image", "no permission"],
)
def test_what_goes_wrong_before_it_runs(spoil: object, code: int, said: str, aws: StandIn, bintally: Bintally) -> None:
    spoil(aws)  # type: ignore[operator]
    run = bintally(*TUNE)
    assert (run.code, said in run.err) == (code, True), run.err
    assert not aws.jobs


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--recipe", "resnet101", "--instance-type", "ml.m5.xlarge"], "has no GPU"),
        (["--space", "nowhere.toml"], "cannot be read as a space"),
        (["--space", "resnet101-course"], "is for recipe 'resnet101'"),
        (["--set", "batch_size=8"], "which the command fixes"),
        (["--strategy", "hyperband"], "tries epochs"),
        (["--jobs", "2", "--parallel", "3"], "--parallel"),
        (["--warm-start", "elsewhere"], "--warm-start elsewhere: not the name"),
        (["--spot", "--max-hours", "5", "--max-wait-hours", "4"], "at least --max-hours (5)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    options: list[str], said: str, aws: StandIn, bintally: Bintally
) -> None:
    run = bintally(*TUNE, *options)
    assert (run.code, said in run.err) == (2, True), run.err
    assert aws.requests == []


def test_warm_start(aws: StandIn, bintally: Bintally) -> None:
    bintally(*TUNE, "--jobs", "2", "--no-wait")
    first = name_of(aws)
    run = bintally(*TUNE, "--jobs", "3", "--seed", "2", "--no-wait", "--warm-start", first)
    assert run.code == 0, run.err
    said = aws.asked("CreateHyperParameterTuningJob")[-1]["WarmStartConfig"]
    assert said["WarmStartType"] == "IdenticalDataAndAlgorithm"
    unknown = bintally(*TUNE, "--jobs", "4", "--no-wait", "--warm-start", JOB)
    assert (unknown.code, "not found" in unknown.err) == (8, True)


@pytest.mark.parametrize(
    ("arguments", "operations"),
    [
        ([*TUNE[1:], "--spot"], ["CreateHyperParameterTuningJob"]),
        (["attach", JOB], ["DescribeHyperParameterTuningJob", "ListTrainingJobsForHyperParameterTuningJob"]),
        (["report", JOB], ["DescribeHyperParameterTuningJob"]),
    ],
    ids=["tune", "attach", "report"],
)
def test_a_dry_run_prints_valid_requests_and_sends_nothing(
    arguments: list[str], operations: list[str], aws: StandIn, bintally: Bintally
) -> None:
    run = bintally("sagemaker", *arguments, "--dry-run")
    assert run.code == 0, run.err
    requests = json.loads(run.out)
    assert [each["operation"] for each in requests] == operations
    for each in requests:
        check(Request(**each))
    assert aws.requests == []


def test_clean_stops_the_tuner_before_its_jobs(aws: StandIn, bintally: Bintally) -> None:
    bintally(*TUNE, "--jobs", "4", "--no-wait")
    bintally("sagemaker", "status")
    bintally("sagemaker", "report", name_of(aws), "--no-open")
    for (word, _), job in aws.jobs.items():
        if word == "TrainingJob":
            job.past, job.life = [], ["Training"]
    aws.requests.clear()
    run = bintally("sagemaker", "clean", "--yes")
    assert run.code == 0, run.err
    assert aws.writes == ["StopHyperParameterTuningJob", "StopTrainingJob", "StopTrainingJob"]


def test_without_credentials(bintally: Bintally, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own_environment(monkeypatch)
    write_project(tmp_path / FILE_NAME, PROJECT)
    run = bintally(*TUNE, "--project", tmp_path / FILE_NAME)
    assert (run.code, "no credentials were found" in run.err) == (8, True)
