"""A tuning job's request: spaces as SageMaker has them, what it cannot carry refused by name."""

from dataclasses import replace

import pytest
from tests.cloud.conftest import made_up_project
from tests.cloud.standin_tuning import draw

from bintally.cloud.hyperparameters import SETTINGS_HASH, JobSettings, parse_hyperparameters
from bintally.cloud.metrics import METRICS
from bintally.cloud.names import SETTINGS_TAG
from bintally.cloud.requests import check
from bintally.cloud.training_job import TrainingJob
from bintally.cloud.tuning_job import OBJECTIVE, Strategy, TuningJob, WarmStart, parameter_ranges, tuning_request
from bintally.cloud.tuning_results import read_space
from bintally.errors import SettingsError
from bintally.settings import RunSettings, parse_settings
from bintally.training.recipes import recipe_text
from bintally.tuning.space import Choices, Range, Space, flatten
from bintally.tuning.space_file import find_space, parse_space

URL = "s3://bintally-bins/x"


def settings_of(recipe: str = "mobilenetv2", *changes: str) -> RunSettings:
    return parse_settings(recipe_text(recipe), name=recipe, overrides=changes)


def job(space: Space | None = None, recipe: str = "mobilenetv2", **more: object) -> TuningJob:
    training = TrainingJob(
        name="bins-tune-0a1b2c3d-001-00000000",
        project=made_up_project(),
        job=JobSettings(settings=settings_of(recipe)),
        data_url=URL,
        instance_type="ml.g4dn.xlarge",
        checkpoints_url=URL,
        spot=True,
        max_wait_seconds=8 * 3600,
    )
    return replace(
        TuningJob(name="bins-tune-0a1b2c3d", training=training, space=space or find_space("default")),
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("name", ["default", "resnet101-course", "extended"])
@pytest.mark.parametrize("strategy", [Strategy.BAYESIAN, Strategy.RANDOM])
def test_every_space_that_ships_makes_a_valid_request(name: str, strategy: Strategy) -> None:
    space = find_space(name)
    asked = job(space, strategy=strategy, seed=3)
    request = tuning_request(asked)
    check(request)
    said = request.parameters
    config, definition = said["HyperParameterTuningJobConfig"], said["TrainingJobDefinition"]
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Minimize", "MetricName": OBJECTIVE}
    assert OBJECTIVE in METRICS
    assert config["Strategy"] == strategy.value.title()
    assert (config["TrainingJobEarlyStoppingType"], config["RandomSeed"]) == ("Auto", 3)
    assert not set(definition["StaticHyperParameters"]) & set(space.parameters)
    assert (definition["EnableManagedSpotTraining"], definition["CheckpointConfig"]["S3Uri"]) == (True, URL)
    assert "TrainingJobName" not in definition
    assert SETTINGS_HASH not in definition["StaticHyperParameters"], "every job has another one"


def settings_tag(asked: TuningJob) -> str:
    request = tuning_request(asked)
    check(request)
    (value,) = (tag["Value"] for tag in request.parameters["Tags"] if tag["Key"] == SETTINGS_TAG)
    return str(value)


def test_tuning_jobs_of_unlike_settings_or_spaces_bear_unlike_tags() -> None:
    def with_settings(*changes: str) -> TuningJob:
        asked = job()
        run = JobSettings(settings=settings_of("mobilenetv2", *changes))
        return replace(asked, training=replace(asked.training, job=run))

    usual = settings_tag(job())
    assert usual == settings_tag(job(jobs=3, name="bins-tune-00000001"))
    assert usual == settings_tag(with_settings("optimiser.lr=0.5")), "which the space tries"
    wider = replace(find_space("default"), parameters={"optimiser.lr": Range(low=0.1, high=0.2)})
    unlike = [with_settings("seed=7"), with_settings("label_softness=0.5"), job(wider), job(recipe="smallcnn")]
    assert len({usual, *map(settings_tag, unlike)}) == 5


def test_a_users_tag_does_not_hide_the_settings() -> None:
    asked = job()
    assert settings_tag(replace(asked, training=replace(asked.training, tags={SETTINGS_TAG: "x"}))) == settings_tag(
        asked
    )


@pytest.mark.parametrize("name", ["default", "extended"])
def test_a_space_comes_back_as_it_went(name: str) -> None:
    space = find_space(name)
    read = read_space(tuning_request(job(space)).parameters)
    assert dict(read.parameters) == dict(space.parameters)


@pytest.mark.parametrize("seed", range(5))
def test_what_the_tuner_draws_becomes_settings_within_the_space(seed: int) -> None:
    space = find_space("extended")
    said = tuning_request(job(space)).parameters
    values = draw(said["HyperParameterTuningJobConfig"]["ParameterRanges"], seed=seed)
    static = said["TrainingJobDefinition"]["StaticHyperParameters"]
    read = parse_hyperparameters({**static, **values, "_tuning_objective_metric": OBJECTIVE})
    assert read.tuned
    flat, base = flatten(read.settings), flatten(settings_of())
    assert space.holds(flat)  # type: ignore[arg-type]
    assert {key for key, value in flat.items() if value != base[key]} <= set(space.parameters)


def test_numbers_are_said_without_exponents_and_whole_ones_whole() -> None:
    text = "[space]\noptimiser.lr = {low=0.00001, high=1e-2, log=true}\nbatch_size = {low=4, high=64, log=true}"
    said = parameter_ranges(parse_space(text, name="x"))
    assert said["ContinuousParameterRanges"][0]["MinValue"] == "0.00001"
    assert said["IntegerParameterRanges"] == [
        {"Name": "batch_size", "MinValue": "4", "MaxValue": "64", "ScalingType": "Logarithmic"}
    ]


def test_hyperband_ends_jobs_by_itself() -> None:
    space = parse_space("[space]\noptimiser.lr = {low=0.001, high=0.1, log=true}", name="x")
    config = tuning_request(job(space, strategy=Strategy.HYPERBAND)).parameters["HyperParameterTuningJobConfig"]
    assert config["TrainingJobEarlyStoppingType"] == "Off"
    assert config["StrategyConfig"]["HyperbandStrategyConfig"] == {
        "MinResource": 1,
        "MaxResource": settings_of().epochs,
    }


def test_warm_start() -> None:
    request = tuning_request(job(parents=("bins-tune-00000001",), warm_start=WarmStart.TRANSFER))
    check(request)
    assert request.parameters["WarmStartConfig"] == {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "bins-tune-00000001"}],
        "WarmStartType": "TransferLearning",
    }


def many(count: int) -> Space:
    keys = [key for key, _, _ in RunSettings.list_keys()]
    parameters = {keys[place]: Range(low=1, high=2) for place in range(count)}
    return Space(name="mine", description="", recipe=None, parameters=parameters)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": many(31)}, "space mine: SageMaker tunes at most 30 settings, got 31"),
        (
            {
                "space": Space(
                    name="mine",
                    description="",
                    recipe=None,
                    parameters={"batch_size": Choices(choices=tuple(range(1, 32)))},
                )
            },
            "space mine: batch_size: SageMaker chooses among at most 30 values, got 31",
        ),
        (
            {
                "space": Space(
                    name="mine", description="", recipe=None,
                    parameters={"model.backbone": Choices(choices=("a", "b" * 257))},
                )
            },
            "model.backbone: SageMaker carries choices of 256 characters",
        ),
        ({"strategy": Strategy.HYPERBAND}, "space default tries epochs"),
        ({"parallel": 3, "jobs": 2}, r"--parallel: expected 1 to --jobs \(2\)"),
        ({"parents": tuple("abcdef")}, "at most 5 tuning jobs"),
        (
            {
                "parents": ("a",), "strategy": Strategy.HYPERBAND,
                "space": parse_space("[space]\noptimiser.lr = {low=0.1, high=0.2}", name="x"),
            },
            "only --strategy bayesian and random learn",
        ),
    ],
    ids=["too many", "too many choices", "long choice", "epochs twice", "parallel", "parents", "hyperband's parents"],
)  # fmt: skip
def test_what_sagemaker_cannot_is_refused_by_name(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        tuning_request(job(**changes))  # type: ignore[arg-type]


def test_spot_without_checkpoints_is_refused() -> None:
    asked = job()
    with pytest.raises(SettingsError, match="--spot without a checkpoint location"):
        tuning_request(replace(asked, training=replace(asked.training, checkpoints_url="")))
