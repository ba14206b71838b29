"""A tuning job's request from a space and a training job: SageMaker's tuner starts that job with values of its own.

Refuses, by name, what a space may hold and SageMaker cannot carry, and strategies that contradict the space.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from bintally.cloud.hyperparameters import (
    LONGEST_NAME,
    MOST,
    SETTINGS_HASH,
    check_carried,
    format_hyperparameters,
    format_value,
)
from bintally.cloud.metrics import BEST
from bintally.cloud.names import SETTINGS_TAG, Kind, tags
from bintally.cloud.requests import Request
from bintally.cloud.training_job import TrainingJob, training_request
from bintally.errors import SettingsError
from bintally.settings import RunSettings
from bintally.tuning.space import Choices, Range, Space, flatten, setting_type

OBJECTIVE = BEST
"""The tuner takes the last one that a job printed, which is its lowest loss."""
MOST_TUNED = 30  # settings in a space, and values of one of them: SageMaker's limits
MOST_PARENTS = 5
_SHARED = (
    "AlgorithmSpecification",
    "CheckpointConfig",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "EnableNetworkIsolation",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "RoleArn",
    "StoppingCondition",
    "VpcConfig",
)


class Strategy(StrEnum):
    """How the tuner chooses values."""

    BAYESIAN = "bayesian"
    RANDOM = "random"
    HYPERBAND = "hyperband"


class WarmStart(StrEnum):
    """What earlier tuning jobs have in common with this one."""

    SAME = "same"  # data and image; ranges may differ
    TRANSFER = "transfer"  # data may differ


_WARM = {WarmStart.SAME: "IdenticalDataAndAlgorithm", WarmStart.TRANSFER: "TransferLearning"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningJob:
    """What a tuning job is to be.

    Attributes:
        training: what each of its jobs is, but for the settings of the space; its name is not used.
        jobs: how many there may be.
        parallel: how many of them at a time.
        early_stopping: whether SageMaker ends jobs that are unlikely to become the best.
        parents: earlier tuning jobs to learn from.
        seed: of the tuner's random numbers.
    """

    name: str
    training: TrainingJob
    space: Space
    strategy: Strategy = Strategy.BAYESIAN
    jobs: int = 20
    parallel: int = 2
    early_stopping: bool = True
    parents: tuple[str, ...] = ()
    warm_start: WarmStart = WarmStart.SAME
    seed: int | None = None


def tuning_request(job: TuningJob) -> Request:
    """The request that starts it.

    Raises:
        SettingsError: naming the option or the setting that cannot be meant.
    """
    _check(job)
    training = training_request(job.training).parameters
    definition = {key: training[key] for key in _SHARED if key in training}
    definition["StaticHyperParameters"] = _static(job)
    stopped = job.early_stopping and job.strategy is not Strategy.HYPERBAND  # Hyperband ends jobs by itself
    config: dict[str, Any] = {
        "Strategy": job.strategy.value.title(),
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": OBJECTIVE},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": job.jobs, "MaxParallelTrainingJobs": job.parallel},
        "ParameterRanges": parameter_ranges(job.space),
        "TrainingJobEarlyStoppingType": "Auto" if stopped else "Off",
    }
    if job.strategy is Strategy.HYPERBAND:
        resources = {"MinResource": 1, "MaxResource": job.training.job.settings.epochs}
        config["StrategyConfig"] = {"HyperbandStrategyConfig": resources}
    if job.seed is not None:
        config["RandomSeed"] = job.seed
    project = job.training.project
    parameters: dict[str, Any] = {
        "HyperParameterTuningJobName": job.name,
        "HyperParameterTuningJobConfig": config,
        "TrainingJobDefinition": definition,
        "Tags": tags(
            project.project,
            Kind.TUNE,
            {**project.tags, **job.training.tags, SETTINGS_TAG: search_hash(job.training.job.settings, job.space)},
        ),
    }
    if job.parents:
        parents = [{"HyperParameterTuningJobName": name} for name in job.parents]
        parameters["WarmStartConfig"] = {
            "ParentHyperParameterTuningJobs": parents,
            "WarmStartType": _WARM[job.warm_start],
        }
    return Request(service="sagemaker", operation="CreateHyperParameterTuningJob", parameters=parameters)


def search_hash(settings: RunSettings, space: Space) -> str:
    r"""12 hex digits of what a tuning job searches: the settings that all its jobs share, and the space.

    What the settings say of a setting that the space tries is not in it: no job uses it.

    >>> from bintally.tuning.space_file import parse_space
    >>> space = parse_space("[space]\nepochs = {low=1, high=9}", name="mine")
    >>> search_hash(RunSettings(epochs=3), space) == search_hash(RunSettings(epochs=4), space)
    True
    """
    shared = {key: value for key, value in flatten(settings).items() if key not in space.parameters}
    text = json.dumps([shared, space.to_plain()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def parameter_ranges(space: Space) -> dict[str, list[dict[str, Any]]]:
    """A space as SageMaker says it: whole numbers, numbers, choices; all as text.

    Raises:
        SettingsError: naming what SageMaker cannot carry.

    >>> from bintally.tuning.space_file import find_space
    >>> parameter_ranges(find_space("default"))["ContinuousParameterRanges"]
    [{'Name': 'optimiser.lr', 'MinValue': '0.001', 'MaxValue': '0.1', 'ScalingType': 'Logarithmic'}]
    """
    said: dict[str, list[dict[str, Any]]] = {
        "IntegerParameterRanges": [],
        "ContinuousParameterRanges": [],
        "CategoricalParameterRanges": [],
    }
    if len(space.parameters) > MOST_TUNED:
        raise SettingsError(
            f"space {space.name}: SageMaker tunes at most {MOST_TUNED} settings, got {len(space.parameters)}; "
            "fix some of them in the recipe"
        )
    for key, values in space.parameters.items():
        if isinstance(values, Range):
            kind = "Integer" if setting_type(key) is int else "Continuous"
            said[f"{kind}ParameterRanges"].append(_range(key, values))
        else:
            said["CategoricalParameterRanges"].append(_choices(space, key, values))
    return said


def _range(key: str, values: Range) -> dict[str, str]:
    return {
        "Name": key,
        "MinValue": _number(values.low),
        "MaxValue": _number(values.high),
        "ScalingType": "Logarithmic" if values.log else "Linear",
    }


def _choices(space: Space, key: str, values: Choices) -> dict[str, Any]:
    if len(values.choices) > MOST_TUNED:
        raise SettingsError(
            f"space {space.name}: {key}: SageMaker chooses among at most {MOST_TUNED} values, got "
            f"{len(values.choices)}; leave some out, or give a range"
        )
    texts = [format_value(value, key) for value in values.choices]
    if long := [text for text in texts if len(text) > LONGEST_NAME]:
        raise SettingsError(
            f"space {space.name}: {key}: SageMaker carries choices of {LONGEST_NAME} characters, got {len(long[0])}"
        )
    return {"Name": key, "Values": texts}


def _number(value: float) -> str:
    """Without an exponent.

    >>> _number(0.00001), _number(8)
    ('0.00001', '8')
    """
    return f"{Decimal(repr(value)):f}"


def _static(job: TuningJob) -> Mapping[str, str]:
    """What all its jobs share. The settings' hash is left out: it is another one in every job."""
    said = format_hyperparameters(job.training.job)
    static = {key: text for key, text in said.items() if key not in job.space.parameters and key != SETTINGS_HASH}
    if len(static) + len(job.space.parameters) > MOST:
        raise SettingsError(
            f"hyperparameters: SageMaker carries {MOST}, got {len(static)} that are fixed and "
            f"{len(job.space.parameters)} that are tuned; put settings into a recipe"
        )
    check_carried(static)
    return static


def _check(job: TuningJob) -> None:
    if not 1 <= job.parallel <= job.jobs:
        raise SettingsError(f"--parallel: expected 1 to --jobs ({job.jobs}), got {job.parallel}")
    if job.strategy is Strategy.HYPERBAND:
        if "epochs" in job.space.parameters:
            raise SettingsError(
                f"space {job.space.name} tries epochs, and with --strategy hyperband SageMaker decides how long a job "
                "runs. To do: --strategy bayesian, or a space without epochs"
            )
        if job.parents:
            raise SettingsError("--warm-start: only --strategy bayesian and random learn from earlier tuning jobs")
    if len(job.parents) > MOST_PARENTS:
        raise SettingsError(f"--warm-start: at most {MOST_PARENTS} tuning jobs, got {len(job.parents)}")
    if job.training.kept_warm_seconds:
        raise SettingsError("--keep-warm: the tuner starts its jobs by itself; leave it out")
