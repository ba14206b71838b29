"""Names keep SageMaker's rules, and tell whose and what a thing is."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cloud.conftest import made_up_project

from bintally.cloud.names import LONGEST_PROJECT, Kind, kind_of, resource_name, tagged, tags
from bintally.cloud.requests import Request, check
from bintally.errors import SettingsError

PROJECTS = st.from_regex(r"[a-z](-?[a-z0-9]){1,8}", fullmatch=True)
MOMENTS = st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2099, 1, 1), timezones=st.just(UTC))
ARN = "arn:aws:sagemaker:us-east-1:123456789012:model/bins"
NAMED = {
    Kind.TRAIN: ("StopTrainingJob", "TrainingJobName"),
    Kind.PREPARE: ("StopProcessingJob", "ProcessingJobName"),
    Kind.BATCH: ("StopTransformJob", "TransformJobName"),
    Kind.TUNE: ("StopHyperParameterTuningJob", "HyperParameterTuningJobName"),
    Kind.MODEL: ("DeleteModel", "ModelName"),
    Kind.CONFIG: ("DeleteEndpointConfig", "EndpointConfigName"),
    Kind.ENDPOINT: ("DeleteEndpoint", "EndpointName"),
}


@given(project=PROJECTS, kind=st.sampled_from(sorted(NAMED)), when=MOMENTS, content=st.text(max_size=9))
def test_every_name_is_one_that_sagemaker_takes(project: str, kind: Kind, when: datetime, content: str) -> None:
    made_up_project(project=project)
    name = resource_name(project, kind, content=content, when=when)
    operation, key = NAMED[kind]
    check(Request(service="sagemaker", operation=operation, parameters={key: name}))
    assert kind_of(name, project) is kind
    assert name == resource_name(project, kind, content=content, when=when)


@given(projects=st.tuples(PROJECTS, PROJECTS), kind=st.sampled_from(sorted(NAMED)), when=MOMENTS)
def test_a_name_is_one_projects_only(projects: tuple[str, str], kind: Kind, when: datetime) -> None:
    mine, other = projects
    for stranger in {other, f"{mine}-b", f"{mine}-train", f"b-{mine}", f"b{mine}", mine[:-1]} - {mine}:
        assert kind_of(resource_name(stranger, kind, content=0, when=when), mine) is None


def test_the_longest_project_fits_all_names() -> None:
    project = "a" * LONGEST_PROJECT
    for kind in NAMED:
        name = resource_name(project, kind, content=1, when=datetime(2026, 1, 1, tzinfo=UTC))
        assert len(name) <= (32 if kind is Kind.TUNE else 63)
    with pytest.raises(SettingsError):
        made_up_project_of(project + "a")


def made_up_project_of(name: str) -> None:
    from bintally.cloud.project import check_project

    check_project({**made_up_project().model_dump(), "project": name}, name="x")


def test_jobs_of_a_tuner_are_the_projects() -> None:
    assert kind_of("bins-tune-0a1b2c3d-001-5e6f7a8b", "bins") is Kind.TRAIN
    assert kind_of("bins-tune-0a1b2c3d", "bins") is Kind.TUNE


def test_names_tell_apart_what_was_asked_for_and_when() -> None:
    """The last four digits are what was asked for, also of a tuning job, the first four of its name the moment."""
    moments = [datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC) for second in (0, 1)]
    for kind in (Kind.TRAIN, Kind.TUNE):
        names = [resource_name("bins", kind, content=content, when=when) for content in "ab" for when in moments]
        assert len(set(names)) == 4
        assert [name[-4:] for name in names] == [names[0][-4:]] * 2 + [names[2][-4:]] * 2


def test_tags_tell_whose_a_thing_is() -> None:
    held = tags("bins", Kind.TRAIN, {"team": "vision"})
    assert tagged(held, "bins")
    assert not tagged(held, "bin")
    check(Request(service="sagemaker", operation="AddTags", parameters={"ResourceArn": ARN, "Tags": held}))
