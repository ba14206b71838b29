"""Requests for jobs, over all settings: what is built is valid, and says what was asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cloud.conftest import made_up_project

from bintally.cloud.checks import about_places, about_recipe, needs_gpu
from bintally.cloud.hyperparameters import JobSettings
from bintally.cloud.names import Kind, tags
from bintally.cloud.prepare_arguments import PrepareSettings, format_arguments, parse_arguments
from bintally.cloud.prices import price_table
from bintally.cloud.processing_job import PrepareJob, prepare_request
from bintally.cloud.requests import check, model_of
from bintally.cloud.training_job import MOST_SECONDS, TrainingJob, training_request
from bintally.errors import SettingsError
from bintally.settings import parse_settings
from bintally.training.recipes import recipe_names, recipe_text

VPC = {"subnets": ["subnet-0a1b"], "security_groups": ["sg-0a1b"]}
URL = "s3://some-bucket/some/place"
TYPES = ["ml.m5.xlarge", "ml.g4dn.xlarge", "ml.g5.12xlarge", "ml.p3.2xlarge", "ml.p5.48xlarge"]


def job_settings(recipe: str = "smallcnn") -> JobSettings:
    return JobSettings(settings=parse_settings(recipe_text(recipe), name=recipe))


def job(**changes: object) -> TrainingJob:
    values: dict[str, object] = {
        "name": "bins-train-1",
        "project": made_up_project(),
        "job": job_settings(),
        "data_url": URL,
        "instance_type": "ml.g4dn.xlarge",
    }
    return TrainingJob(**{**values, **changes})  # type: ignore[arg-type]


@given(
    recipe=st.sampled_from(recipe_names()),
    project=st.fixed_dictionaries(
        {},
        optional={
            "kms_key": st.just("arn:aws:kms:us-east-1:123456789012:key/0a1b"),
            "encrypt_traffic": st.booleans(),
            "isolated": st.booleans(),
            "tags": st.dictionaries(st.sampled_from("abc"), st.sampled_from(["x", ""])),
        },
    ),
    vpc=st.booleans(),
    instance_type=st.sampled_from(TYPES),
    count=st.integers(1, 100),
    spot=st.booleans(),
    mode=st.sampled_from(["FastFile", "File"]),
    seconds=st.integers(1, MOST_SECONDS // 2),
    weights=st.booleans(),
)
def test_every_request_is_one_that_sagemaker_takes(
    recipe: str,
    project: dict[str, object],
    vpc: bool,
    instance_type: str,
    count: int,
    spot: bool,
    mode: str,
    seconds: int,
    weights: bool,
) -> None:
    asked = job(
        project=made_up_project(**project, **(VPC if vpc else {})),
        job=job_settings(recipe),
        instance_type=instance_type,
        instance_count=count,
        input_mode=mode,
        max_run_seconds=seconds,
        spot=spot,
        max_wait_seconds=2 * seconds if spot else None,
        checkpoints_url=URL if spot else "",
        weights_url=f"{URL}/w.safetensors" if weights else "",
        tags={"team": "x"},
    )
    request = training_request(asked)
    check(request)
    said = request.parameters
    assert ("VpcConfig" in said) is vpc
    assert ("MaxWaitTimeInSeconds" in said["StoppingCondition"]) is spot is said["EnableManagedSpotTraining"]
    assert len(said["InputDataConfig"]) == 1 + weights
    assert ("KmsKeyId" in said["OutputDataConfig"]) is ("kms_key" in project)
    assert ("VolumeKmsKeyId" in said["ResourceConfig"]) is (
        "kms_key" in project and ".g" not in instance_type and ".p5" not in instance_type
    )
    assert said["EnableInterContainerTrafficEncryption"] is (bool(project.get("encrypt_traffic")) and count > 1)
    assert said["Tags"][:3] == tags("bins", Kind.TRAIN)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spot": True, "max_wait_seconds": 99999}, "--spot without a checkpoint location"),
        ({"spot": True, "checkpoints_url": URL}, "--spot needs --max-wait-hours"),
        ({"spot": True, "checkpoints_url": URL, "max_wait_seconds": 14399}, "at least --max-hours (4)"),
        ({"spot": True, "checkpoints_url": URL, "max_wait_seconds": MOST_SECONDS + 1}, "at most 672"),
        ({"max_wait_seconds": 1}, "only a spot job waits"),
        ({"max_run_seconds": 0}, "--max-hours"),
        ({"max_run_seconds": MOST_SECONDS + 1}, "--max-hours"),
        ({"instance_count": 0}, "--instance-count"),
        ({"instance_type": "m5.xlarge"}, "such as ml.g4dn.xlarge"),
        ({"input_mode": "Pipe"}, "FastFile or File"),
        ({"data_url": "https://x/y"}, "such as s3://bucket/folder"),
        ({"weights_url": "s3://Bucket/y"}, "such as s3://bucket/folder"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else None,
)
def test_what_would_be_regretted_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        training_request(job(**changes))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "needs"),
    [
        ("resnet101", True),
        ("resnet50", True),
        ("smallcnn", False),
        ("mobilenetv2", False),
        ("flagship", False),
        ("course", False),
    ],
)
def test_recipes_that_need_a_gpu_are_refused_without(recipe: str, needs: bool) -> None:
    asked = job(job=job_settings(recipe), instance_type="ml.m5.xlarge", weights_url=URL)
    assert needs_gpu(asked.job.settings) is needs
    if not needs:
        assert about_recipe(asked) == []
        return
    with pytest.raises(SettingsError, match="has no GPU"):
        about_recipe(asked)
    assert [finding.wrong for finding in about_recipe(asked, force=True)] == [False]


def test_what_the_role_may_not_reach_is_said() -> None:
    project = made_up_project()
    assert about_places(project, f"{project.url}/datasets/a", "", "s3://aft-vbi-pds") == []
    (finding,) = about_places(project, project.url, "s3://others/a")
    assert "s3://others/a is outside the project's bucket: give the role bintally-bins-job-us-east-1" in finding.text


def test_a_container_without_network_fetches_no_weights() -> None:
    alone = job(job=job_settings("mobilenetv2"), project=made_up_project(isolated=True))
    with pytest.raises(SettingsError, match="--weights s3://"):
        about_recipe(alone)
    (finding,) = about_recipe(job(job=job_settings("mobilenetv2")))
    assert "timm's hub" in finding.text


PREPARE = st.builds(
    PrepareSettings,
    source=st.just("s3://aft-vbi-pds"),
    dest=st.just(URL),
    keys=st.sampled_from(["", "00001-00500", "-1", "--limit=3"]),
    limit=st.integers(0, 10**6),
    side_px=st.sampled_from([0, 32, 224, 1024]),
    salt=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20),
    replace=st.booleans(),
).filter(lambda settings: not (settings.replace and settings.side_px))


@given(settings=PREPARE)
def test_what_the_processing_job_is_told_comes_back(settings: PrepareSettings) -> None:
    assert parse_arguments(format_arguments(settings)) == settings


@given(settings=PREPARE, key=st.sampled_from(["", "0a1b"]), vpc=st.booleans(), kind=st.sampled_from(TYPES[:4]))
def test_every_processing_request_is_one_that_sagemaker_takes(
    settings: PrepareSettings, key: str, vpc: bool, kind: str
) -> None:
    project = made_up_project(kms_key=key, **(VPC if vpc else {}))
    request = prepare_request(PrepareJob(name="bins-prepare-1", project=project, settings=settings, instance_type=kind))
    check(request)
    assert request.parameters["AppSpecification"]["ContainerArguments"] == format_arguments(settings)
    assert ("VpcConfig" in request.parameters["NetworkConfig"]) is vpc


def test_an_instance_that_does_not_process_is_refused() -> None:
    settings = PrepareSettings(source="s3://aft-vbi-pds", dest=URL)
    asked = PrepareJob(name="a", project=made_up_project(), settings=settings, instance_type="ml.p5.48xlarge")
    with pytest.raises(SettingsError, match=r"InstanceType: expected one of \d+ that this boto3 knows"):
        check(prepare_request(asked))


@pytest.mark.parametrize("name", price_table().instances)
def test_every_instance_with_a_price_trains_or_serves(name: str) -> None:
    variants = model_of("sagemaker", "CreateEndpointConfig").input_shape.members["ProductionVariants"]
    if name not in variants.member.members["InstanceType"].enum:
        check(training_request(job(instance_type=name)))


@pytest.mark.parametrize("arguments", [[], ["--source=s3://a"], ["--source=s3://a", "--dest=s3://b", "--colour=red"]])
def test_arguments_that_are_missing_or_unknown_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SettingsError, match="the processing job's arguments"):
        parse_arguments(arguments)


def test_arguments_that_sagemaker_would_not_pass_on_are_refused() -> None:
    with pytest.raises(SettingsError, match="256 characters"):
        format_arguments(PrepareSettings(source="s3://a-b", dest=URL, salt="x" * 256))
