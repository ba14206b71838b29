"""Endpoints, their removal and a tuning job against moto, where it has the call: an AWS not written for us."""

from collections.abc import Iterator

import pytest
from moto import mock_aws
from tests.cloud.conftest import made_up_project
from tests.cloud.standin import own_environment

from bintally.cloud.clean import do_all, steps_for
from bintally.cloud.deploy import Deployment, find_former
from bintally.cloud.endpoint import Endpoint, Scaling, scaling_requests, target_request
from bintally.cloud.endpoint_state import wait_in_service
from bintally.cloud.hyperparameters import JobSettings
from bintally.cloud.made import Made, find_made
from bintally.cloud.names import Kind
from bintally.cloud.prices import price_of
from bintally.cloud.running import usd_hour
from bintally.cloud.session import Cloud
from bintally.cloud.training_job import TrainingJob
from bintally.cloud.tuning_job import TuningJob, tuning_request
from bintally.errors import CloudError
from bintally.settings import parse_settings
from bintally.training.recipes import recipe_text
from bintally.tuning.space_file import find_space

REGION = "us-east-1"
PROJECT = made_up_project()
ENDPOINT = Endpoint(
    name="bins-endpoint-20260203-040506-0a1b",
    config="bins-config-20260203-040506-0a1b",
    model="bins-model-20260203-040506-0a1b",
    project=PROJECT,
    model_url=f"{PROJECT.url}/models/x/model.tar.gz",
    scaling=Scaling(least=1, most=3, target=50),
)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    own_environment(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr("bintally.cloud.waiting.pause", lambda _: None)
    with mock_aws():
        yield Cloud(REGION)


def quiet(_: object) -> None:
    pass


def test_an_endpoint_is_made_scaled_and_removed(cloud: Cloud) -> None:
    """moto knows no updates, and an endpoint of its own answers nothing like ours: it is not asked."""
    deployment = Deployment(cloud=cloud, endpoint=ENDPOINT, former=None, max_minutes=5, say=quiet, complain=quiet)
    deployment.run(wait=False)
    state = wait_in_service(cloud, ENDPOINT.name, config=ENDPOINT.config, max_minutes=5, on_state=quiet, complain=quiet)
    assert state.status == "InService"
    assert ENDPOINT.scaling is not None
    for request in scaling_requests(ENDPOINT.name, ENDPOINT.scaling):
        cloud.send(request)
    former = find_former(cloud, ENDPOINT.name)
    assert (former.config, former.target["MaxCapacity"], len(former.policies)) == (ENDPOINT.config, 3, 1)
    (endpoint,) = [made for made in found(cloud) if made.kind is Kind.ENDPOINT]
    assert usd_hour(cloud, endpoint) == price_of(ENDPOINT.instance_type)
    steps = steps_for(cloud, PROJECT, found(cloud), complain=quiet)
    assert [step.text.split()[0] for step in steps] == ["stop", "delete", "delete", "delete"]
    assert do_all(cloud, steps, on_done=lambda *_: None) == []
    assert found(cloud) == []
    assert list(cloud.pages(target_request(ENDPOINT.name), items="ScalableTargets")) == []


def test_a_deployment_that_does_not_count_is_taken_back(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto's runtime takes no photos, so that the question is the test's own."""

    def refuse(*_: object, **__: object) -> list[float]:
        raise CloudError("it answers nothing")

    monkeypatch.setattr("bintally.cloud.deploy.invoke", refuse)
    deployment = Deployment(cloud=cloud, endpoint=ENDPOINT, former=None, max_minutes=5, say=quiet, complain=quiet)
    with pytest.raises(CloudError, match=r"it answers nothing\. Removed again: endpoint bins-"):
        deployment.run()
    assert found(cloud) == []


def test_a_tuning_job_is_made_and_described(cloud: Cloud) -> None:
    training = TrainingJob(
        name="x",
        project=PROJECT,
        job=JobSettings(settings=parse_settings(recipe_text("smallcnn"), name="smallcnn")),
        data_url=f"{PROJECT.url}/datasets/abid",
        instance_type="ml.c5.xlarge",
    )
    asked = TuningJob(name="bins-tune-0a1b2c3d", training=training, space=find_space("default"))
    cloud.send(tuning_request(asked))
    described = cloud.ask(
        "sagemaker", "DescribeHyperParameterTuningJob", HyperParameterTuningJobName="bins-tune-0a1b2c3d"
    )
    limits = described["HyperParameterTuningJobConfig"]["ResourceLimits"]
    assert limits["MaxNumberOfTrainingJobs"] == 20


def found(cloud: Cloud) -> list[Made]:
    return find_made(cloud, PROJECT, complain=quiet)
