import pytest
from tests.cloud.standin import ACCOUNT, REGION, StandIn, stand_in

from bintally.cloud.project import Project
from bintally.cloud.session import Cloud


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """An AWS account that lives in this process."""
    return stand_in(monkeypatch)


@pytest.fixture
def cloud(aws: StandIn) -> Cloud:
    """What talks to it."""
    return Cloud(REGION)


@pytest.fixture
def project() -> Project:
    """A project as `bootstrap` leaves it."""
    return made_up_project()


def made_up_project(**changes: object) -> Project:
    repository = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/bintally-bins"
    values = {
        "project": "bins",
        "region": REGION,
        "bucket": f"bintally-bins-{ACCOUNT}-{REGION}",
        "role_arn": f"arn:aws:iam::{ACCOUNT}:role/bintally-bins-job-{REGION}",
        "train_image": f"{repository}:train",
        "serve_image": f"{repository}:serve",
    }
    return Project.model_validate({**values, **changes})
