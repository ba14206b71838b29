"""The template: valid by cfn-lint, no more rights than needed, and made for real by moto as far as that goes."""

import base64
import io
import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from moto import mock_aws
from tests.cloud.conftest import made_up_project
from tests.cloud.standin import REGION, own_environment

from bintally.cloud.batch import batch_requests
from bintally.cloud.clean import remove_request
from bintally.cloud.cost_jobs import jobs_requests
from bintally.cloud.cost_requests import By, Scope, forecast_request, period, usage_request
from bintally.cloud.cost_running import workplaces_requests
from bintally.cloud.endpoint import (
    Endpoint,
    Scaling,
    deregister_request,
    describe_config_request,
    describe_request,
    making_requests,
    policies_request,
    target_request,
)
from bintally.cloud.invoke import invoke_request
from bintally.cloud.job_kinds import JOB_KINDS
from bintally.cloud.logs import log_streams
from bintally.cloud.made import list_requests
from bintally.cloud.names import PROJECT_TAG
from bintally.cloud.places import PREFIXES
from bintally.cloud.refusals import action_of
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.cloud.stack import template, template_text
from bintally.cloud.stack_apply import carry_out, change_set_request, find_stack, plan, project_of
from bintally.cloud.stack_lint import lint_template
from bintally.cloud.stack_notebooks import on_start
from bintally.cloud.stack_settings import Budget, Notebook, StackSettings, Studio
from bintally.cloud.transform_job import TransformJob
from bintally.cloud.tuning_state import jobs_request as tuned_request
from bintally.errors import CloudError

WHEN = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
BUDGET = Budget(usd_month=20, emails=("ann@example.org", "bob@example.org"))
PLAIN = StackSettings(project="bins", budget=BUDGET)
SUBNETS = ("subnet-0a1b2c3d", "subnet-0a1b2c3e")
ALL = StackSettings(
    project="a" * 18,
    budget=BUDGET,
    studio=Studio(vpc="vpc-0a1b2c3d", subnets=SUBNETS),
    notebook=Notebook(idle_minutes=90),
    kms_key="arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f",
    subnets=SUBNETS,
    security_groups=("sg-0a1b2c3d",),
    tags={"team": "vision"},
)
BARE = StackSettings(project="bins", budget=None)


@pytest.mark.parametrize("settings", [PLAIN, ALL, BARE], ids=["plain", "all", "bare"])
def test_cfn_lint_finds_nothing(settings: StackSettings) -> None:
    assert list(lint_template(template_text(settings), region=REGION)) == []


@pytest.mark.parametrize("settings", [PLAIN, ALL, BARE], ids=["plain", "all", "bare"])
def test_it_fits_the_limits_of_aws(settings: StackSettings) -> None:
    assert len(template_text(settings)) <= 51_200  # of TemplateBody
    resources = template(settings)["Resources"]
    user = json.dumps(resources["UserPolicy"]["Properties"]["PolicyDocument"], separators=(",", ":"))
    assert len(user) <= 6_144  # of a managed policy; with names put in it is shorter than as functions
    assert len(f"bintally-{settings.project}-123456789012-ap-southeast-2") <= 63
    assert len(f"bintally-{settings.project}-user-ap-southeast-2") <= 64


def test_a_template_with_an_error_is_refused() -> None:
    wrong = template(PLAIN)
    wrong["Resources"]["Bucket"]["Properties"]["Colour"] = "red"
    with pytest.raises(CloudError, match=r"cfn-lint says: .*Colour"):
        lint_template(json.dumps(wrong), region=REGION)


def statements(settings: StackSettings) -> Iterator[dict[str, Any]]:
    resources = template(settings)["Resources"]
    yield from resources["ExecutionRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    if "NotebookRole" in resources:
        yield from resources["NotebookRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    yield from resources["UserPolicy"]["Properties"]["PolicyDocument"]["Statement"]


# What AWS cannot bind to one resource; each is a list, a token, a figure or, in a VPC, a network card.
UNBOUND = {
    "SignInToEcr", "SayMetrics", "ListJobs", "SeeAlarms", "SeeCosts", "FindByTag", "Scale", "RunInVpc", "ListStudio"
}  # fmt: skip


@pytest.mark.parametrize("settings", [PLAIN, ALL], ids=["plain", "all"])
def test_no_right_is_wider_than_it_must_be(settings: StackSettings) -> None:
    for each in statements(settings):
        assert not [action for action in each["Action"] if "*" in action], each["Sid"]
        if each["Resource"] == "*":
            assert each["Sid"] in UNBOUND
        else:
            assert each["Sid"] not in UNBOUND
        if each["Sid"] == "UseObjects":
            assert [name["Fn::Sub"] for name in each["Resource"]] == [f"${{Bucket.Arn}}/{name}/*" for name in PREFIXES]
        if each["Sid"] == "RunJobs":
            assert all(f"/{settings.project}-" in name["Fn::Sub"] for name in each["Resource"])
        if each["Sid"] == "PassRole":
            assert each["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


def test_whoever_has_the_policy_may_send_what_the_verbs_send() -> None:
    project = made_up_project()
    endpoint = Endpoint(
        name="bins-endpoint-1", config="bins-config-1", model="bins-model-1", project=project,
        model_url=f"{project.url}/models/x/model.tar.gz", scaling=Scaling(least=1, most=2, target=9),
    )  # fmt: skip
    batch = TransformJob(
        name="bins-batch-1", model="bins-model-1", project=project, model_url=endpoint.model_url,
        source=f"{project.url}/datasets/new",
    )  # fmt: skip
    today = date(2026, 2, 3)
    sent = [
        *list_requests(project),
        *jobs_requests(project),
        *workplaces_requests(project),
        *making_requests(endpoint, updates=False),
        *making_requests(endpoint, updates=True),
        *batch_requests(batch),
        *(each for kind in JOB_KINDS.values() for each in (kind.describe("x"), kind.stop("x"))),
        *(remove_request("x", word) for word in ("Endpoint", "EndpointConfig", "Model")),
        deregister_request("x"),
        target_request("x"),
        policies_request("x"),
        describe_request("x"),
        describe_config_request("x"),
        invoke_request("x", b""),
        log_streams("x", "x"),
        tuned_request("x"),
        usage_request(project, period(today, days=2), by=By.USAGE, scope=Scope.TAG),
        forecast_request(project, today, scope=Scope.TAG),
        *(Request(service=service, operation=each) for service, named in OTHERS.items() for each in named.split()),
    ]
    policy = template(PLAIN)["Resources"]["UserPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    allowed = {action for each in policy for action in each["Action"]}
    assert {action_of(request) for request in sent} - allowed == set()


# What the verbs ask where no pure function makes it; of CloudWatch, what autoscaling does by the caller's rights.
OTHERS = {
    "sagemaker": "CreateTrainingJob CreateProcessingJob CreateHyperParameterTuningJob AddTags ListTags DescribeApp",
    "logs": "GetLogEvents",
    "iam": "GetRole PassRole CreateServiceLinkedRole",
    "ecr": "DescribeImages",
    "s3": "HeadBucket GetBucketTagging HeadObject GetObject PutObject ListObjectsV2 DeleteObjects",
    "cloudwatch": "PutMetricAlarm DescribeAlarms DeleteAlarms",
}


def test_jobs_can_neither_pass_roles_nor_see_costs_nor_start_jobs() -> None:
    job = template(ALL)["Resources"]["ExecutionRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    actions = {action for each in job for action in each["Action"]}
    assert {action.partition(":")[0] for action in actions} == {
        "s3",
        "ecr",
        "logs",
        "cloudwatch",
        "ec2",
        "kms",
    }


def test_the_bucket_is_closed_encrypted_and_outlives_the_stack() -> None:
    bucket = template(PLAIN)["Resources"]["Bucket"]
    assert bucket["DeletionPolicy"] == "RetainExceptOnCreate"
    assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    (rule,) = template(ALL)["Resources"]["Bucket"]["Properties"]["BucketEncryption"][
        "ServerSideEncryptionConfiguration"
    ]
    assert rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == ALL.kms_key


def test_the_notebook_gets_a_program_that_runs() -> None:
    held = template(ALL)["Resources"]["NotebookIdle"]["Properties"]["OnStart"][0]["Content"]
    assert len(held) <= 16_384  # of a lifecycle configuration
    script = base64.b64decode(held).decode()
    assert script == on_start(90)
    assert subprocess.run(["/bin/bash", "-n"], input=script, text=True, check=False).returncode == 0
    program = script.partition("'END_OF_PROGRAM'\n")[2].partition("END_OF_PROGRAM\n")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-", "--help"], input=program, capture_output=True, text=True, check=False
    )
    assert "--idle-minutes" in done.stdout


@pytest.mark.parametrize(("hours_up", "stopped"), [(9.0, [("us-east-1", "bins-notebook")]), (0.5, [])])
def test_that_program_stops_its_instance_by_python_310_too(
    hours_up: float, stopped: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr("datetime.UTC")  # which Python 3.10 has not
    program = runpy.run_path(str(files("bintally.cloud") / "notebook_idle.py"))
    about = {"ResourceArn": "arn:aws:sagemaker:us-east-1:1:notebook-instance/x", "ResourceName": "bins-notebook"}
    uptime, me = tmp_path / "uptime", tmp_path / "me.json"
    uptime.write_text(f"{hours_up * 3600} 1.0")
    me.write_text(json.dumps(about))
    asked = []

    def client(_: str, *, region_name: str) -> SimpleNamespace:
        return SimpleNamespace(
            stop_notebook_instance=lambda **said: asked.append((region_name, said["NotebookInstanceName"]))
        )

    monkeypatch.setattr("boto3.client", client)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(b"[]"))
    monkeypatch.setattr(sys, "argv", ["program", "--idle-minutes", "60"])
    names = program["main"].__globals__
    monkeypatch.setitem(names, "_ABOUT_ME", me)
    monkeypatch.setitem(names, "Path", lambda path: uptime if path == "/proc/uptime" else Path(path))
    assert program["main"]() == 0
    assert asked == stopped


@pytest.fixture
def moto_cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    own_environment(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr("bintally.cloud.waiting.pause", lambda _: None)
    with mock_aws():
        yield Cloud(REGION)


def test_moto_makes_what_the_template_says(moto_cloud: Cloud) -> None:
    """moto knows no budgets in stacks; they are left out of this one. Of change sets it forgets the outputs."""
    made = plan(moto_cloud, BARE, when=WHEN, on_event=lambda _: None)
    assert made is not None
    assert {change.action for change in made.changes} == {"Add"}
    carry_out(moto_cloud, made, on_event=lambda _: None)
    bucket = f"bintally-bins-123456789012-{REGION}"
    held = moto_cloud.ask("s3", "GetBucketEncryption", Bucket=bucket)["ServerSideEncryptionConfiguration"]
    assert "AES256" in json.dumps(held)
    role = moto_cloud.ask("iam", "GetRole", RoleName=f"bintally-bins-job-{REGION}")["Role"]
    assert "sagemaker.amazonaws.com" in json.dumps(role["AssumeRolePolicyDocument"])
    (repository,) = moto_cloud.ask("ecr", "DescribeRepositories")["repositories"]
    assert repository["repositoryName"] == "bintally-bins"
    found = find_stack(moto_cloud, "bintally-bins")
    assert found is not None
    assert {"Key": PROJECT_TAG, "Value": "bins"} in found["Tags"]


def test_what_the_stack_says_becomes_the_projects_file(moto_cloud: Cloud) -> None:
    named = {"StackName": "bintally-bins", "Capabilities": ["CAPABILITY_NAMED_IAM"]}
    moto_cloud.ask("cloudformation", "CreateStack", TemplateBody=template_text(BARE), **named)
    found = find_stack(moto_cloud, "bintally-bins")
    assert found is not None
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}
    project = project_of(BARE, outputs, region=REGION)
    assert project.bucket == f"bintally-bins-123456789012-{REGION}"
    assert project.role_arn == f"arn:aws:iam::123456789012:role/bintally-bins-job-{REGION}"
    assert project.train_image.endswith("/bintally-bins:train")


def test_the_change_set_of_a_new_stack_removes_what_fails() -> None:
    assert change_set_request(PLAIN, when=WHEN, creates=True).parameters["OnStackFailure"] == "DELETE"
    assert "OnStackFailure" not in change_set_request(PLAIN, when=WHEN, creates=False).parameters


def test_outputs_of_anothers_stack_are_refused() -> None:
    with pytest.raises(CloudError, match="lacks the outputs RoleArn, RepositoryUri"):
        project_of(PLAIN, {"BucketName": "b"}, region=REGION)
