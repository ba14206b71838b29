"""Clients as they are made, and the real way of a request through botocore: retries, pages, errors; moto answers."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from moto import mock_aws
from tests.cloud.conftest import made_up_project
from tests.cloud.standin import REGION, StandIn, own_environment
from tests.cloud.test_training_job import job

from bintally.cloud.clean import do_all, held_in, steps_for
from bintally.cloud.job_kinds import JOB_KINDS
from bintally.cloud.job_state import read_state
from bintally.cloud.made import find_made
from bintally.cloud.names import Kind, tags
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.cloud.training_job import training_request
from bintally.errors import CloudAccessError, CloudUnavailableError, NotInCloudError, SettingsError

PROJECT = made_up_project()
ENDPOINT = "bins-endpoint-20260203-040506-0a1b"
CONFIG = "bins-config-20260203-040506-0a1b"
MODEL = "bins-model-20260203-040506-0a1b"
JOB = "bins-train-20260203-040506-0a1b"


@pytest.fixture
def moto_cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    own_environment(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield Cloud(REGION)


def answering(cloud: Cloud, *answers: tuple[int, bytes]) -> list[Any]:
    """Answers of a server that come one after the other to SageMaker's client; what was sent."""
    sent: list[Any] = []

    def answer(request: Any, **_: object) -> AWSResponse:
        status, body = answers[min(len(sent), len(answers) - 1)]
        sent.append(request)
        response = AWSResponse(request.url, status, {}, None)
        response._content = body
        return response

    cloud._client("sagemaker").meta.events.register_first("before-send.*", answer)
    return sent


THROTTLED = (400, b'{"__type": "ThrottlingException", "message": "Rate exceeded"}')


def test_what_may_pass_is_asked_again(moto_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    sent = answering(moto_cloud, THROTTLED, (500, b"{}"), (200, b'{"TrainingJobSummaries": []}'))
    assert moto_cloud.ask("sagemaker", "ListTrainingJobs")["TrainingJobSummaries"] == []
    assert len(sent) == 3
    assert "bintally/" in sent[0].headers["User-Agent"].decode()


def test_what_does_not_pass_ends_as_a_sentence(moto_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    sent = answering(moto_cloud, THROTTLED)
    with pytest.raises(CloudUnavailableError, match="fewer requests"):
        moto_cloud.ask("sagemaker", "ListTrainingJobs")
    assert len(sent) == 6


def test_a_request_that_breaks_the_model_is_not_sent(aws: StandIn, cloud: Cloud) -> None:
    with pytest.raises(SettingsError, match="cannot be sent"):
        cloud.ask("sagemaker", "StopTrainingJob", TrainingJobName="under_score")
    assert aws.requests == []


def test_a_region_or_profile_that_is_not_there_is_said(aws: StandIn) -> None:
    with pytest.raises(CloudAccessError, match="no region is named"):
        Cloud()
    with pytest.raises(CloudAccessError, match="profile nobody: there is no such profile"):
        Cloud(REGION, profile="nobody")
    assert aws.requests == []


def test_every_page_is_taken(aws: StandIn, cloud: Cloud) -> None:
    for place in range(35):
        aws.add("Model", f"bins-model-20260203-0405{place:02}-0a1b", tags=[])
    request = Request(service="sagemaker", operation="ListModels", parameters={"NameContains": "bins"})
    assert len(list(cloud.pages(request, items="Models"))) == 35
    assert len(aws.requests) == 4


def filled(cloud: Cloud) -> None:
    """A job, a model, an endpoint and an object, in moto's account."""
    cloud.ask("s3", "CreateBucket", Bucket=PROJECT.bucket)
    cloud.ask("s3", "PutObject", Bucket=PROJECT.bucket, Key="models/a", Body=b"123")
    cloud.send(training_request(job(name=JOB)))
    image = {"Image": PROJECT.serve_image}
    held = tags("bins", Kind.MODEL)
    cloud.ask(
        "sagemaker",
        "CreateModel",
        ModelName=MODEL,
        ExecutionRoleArn=PROJECT.role_arn,
        PrimaryContainer=image,
        Tags=held,
    )
    variant = {"VariantName": "all", "ModelName": MODEL, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    held = tags("bins", Kind.CONFIG)
    cloud.ask("sagemaker", "CreateEndpointConfig", EndpointConfigName=CONFIG, ProductionVariants=[variant], Tags=held)
    held = tags("bins", Kind.ENDPOINT)
    cloud.ask("sagemaker", "CreateEndpoint", EndpointName=ENDPOINT, EndpointConfigName=CONFIG, Tags=held)


def test_a_projects_things_are_found_and_removed_in_motos_account(moto_cloud: Cloud) -> None:
    filled(moto_cloud)
    kind = JOB_KINDS[Kind.TRAIN]
    state = read_state(kind, moto_cloud.send(kind.describe(JOB)))
    assert (state.status, state.instance_type) == ("Completed", "ml.g4dn.xlarge")
    complaints: list[str] = []
    made = find_made(moto_cloud, PROJECT, complain=complaints.append)
    assert {ENDPOINT, CONFIG, MODEL, JOB} <= {each.name for each in made}
    assert [each.name for each in made if each.costs] == [ENDPOINT]
    assert [held.objects for held in held_in(moto_cloud, PROJECT) if held.objects] == [1]
    steps = steps_for(moto_cloud, PROJECT, made, complain=complaints.append)
    ended: list[str] = []
    assert do_all(moto_cloud, steps, on_done=lambda _, how: ended.append(how)) == []
    assert ended == ["done", "done", "done"]
    assert do_all(moto_cloud, steps, on_done=lambda _, how: ended.append(how)) == []
    assert ended[3:] == ["gone already"] * 3
    left = find_made(moto_cloud, PROJECT, complain=complaints.append)
    assert [each.name for each in left if each.kind in (Kind.ENDPOINT, Kind.CONFIG, Kind.MODEL)] == []
    assert complaints == []


def test_what_moto_does_not_have_is_not_there(moto_cloud: Cloud) -> None:
    for request in (
        Request(service="sagemaker", operation="DescribeEndpoint", parameters={"EndpointName": "x"}),
        Request(service="cloudformation", operation="DescribeStacks", parameters={"StackName": "x"}),
        Request(service="iam", operation="GetRole", parameters={"RoleName": "x"}),
        Request(service="s3", operation="HeadObject", parameters={"Bucket": "xyz", "Key": "x"}),
        Request(service="ecr", operation="DescribeImages", parameters={"repositoryName": "xyz"}),
        Request(service="logs", operation="GetLogEvents", parameters={"logGroupName": "x", "logStreamName": "y"}),
    ):
        with pytest.raises(NotInCloudError):
            moto_cloud.send(request)
