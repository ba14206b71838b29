"""The stand-in's tuner: it draws values within the request's own ranges, as strings, and has each job trained.

What a job comes to is read by the request's own expressions from the lines it printed, the last match, as SageMaker
does. `trains` may be the real container.
"""

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.cloud.standin_parts import ACCOUNT, REGION, Job, Refused, no_quota, page

Trains = Callable[[str, Mapping[str, str]], tuple[Sequence[str], str]]
"""A job's name and hyperparameters to what it printed, and why it failed."""
COUNTED = {"Strategy": "Bayesian", "TrainingJobStatusCounters": {}, "ObjectiveStatusCounters": {}}  # in lists
_WORD = "HyperParameterTuningJob"


def just_prints(name: str, hyperparameters: Mapping[str, str]) -> tuple[Sequence[str], str]:
    """A loss that depends on the learning rate."""
    from bintally.cloud.metrics import BEST, epoch_line

    best = 1 + abs(math.log10(float(hyperparameters["optimiser.lr"])) + 2)
    losses = (best + 1, best, best + 0.125)
    rows = [{"val_loss": loss, BEST: min(losses[:epoch])} for epoch, loss in enumerate(losses, start=1)]
    return [epoch_line({"epoch": epoch, **row}) for epoch, row in enumerate(rows, start=1)], ""


@dataclass
class TuningSide:
    """Attributes:
    trains: trains one job.
    stopped: numbers of jobs that the tuner ends early, after their first epoch.
    """

    trains: Trains = just_prints
    stopped: set[int] = field(default_factory=set)
    # of the stand-in itself
    jobs: dict[tuple[str, str], Job] = field(default_factory=dict)
    quotas: dict[str, int] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    now: datetime = datetime.min
    tuned: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def _create_hyper_parameter_tuning_job(self, said: dict[str, Any]) -> dict[str, Any]:
        definition, config = said["TrainingJobDefinition"], said["HyperParameterTuningJobConfig"]
        kind, wanted = definition["ResourceConfig"]["InstanceType"], config["ResourceLimits"]["MaxParallelTrainingJobs"]
        if wanted > self.quotas.get(kind, wanted):
            raise no_quota(f"{kind} for training job usage", self.quotas[kind], wanted)
        names = {each["Name"] for each in definition["AlgorithmSpecification"]["MetricDefinitions"]}
        assert config["HyperParameterTuningJobObjective"]["MetricName"] in names
        if config["Strategy"] == "Hyperband":
            assert config["TrainingJobEarlyStoppingType"] == "Off"
        for parent in said.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", ()):
            if (_WORD, parent["HyperParameterTuningJobName"]) not in self.jobs:
                raise Refused("ResourceNotFound", f"Parent {parent['HyperParameterTuningJobName']} not found")
        self.tuned[said[f"{_WORD}Name"]] = []
        arn = self._create(_WORD, "hyper-parameter-tuning-job", said)  # type: ignore[attr-defined]
        return {f"{_WORD}Arn": arn}

    def _describe_hyper_parameter_tuning_job(self, said: Mapping[str, Any]) -> dict[str, Any]:
        name, job = self._found(_WORD, said)  # type: ignore[attr-defined]
        self._tune(name, job)
        done = [each for each in self.tuned[name] if "FinalHyperParameterTuningJobObjectiveMetric" in each]
        done = [each for each in done if each["TrainingJobStatus"] == "Completed"]
        best = min(done, key=lambda each: each["FinalHyperParameterTuningJobObjectiveMetric"]["Value"], default=None)
        status = self._status(job)  # type: ignore[attr-defined]
        return {
            f"{_WORD}Name": name,
            f"{_WORD}Arn": job.arn,
            f"{_WORD}Config": job.request[f"{_WORD}Config"],
            "TrainingJobDefinition": job.request["TrainingJobDefinition"],
            f"{_WORD}Status": status,
            "CreationTime": job.created,
            "TrainingJobStatusCounters": {"Completed": len(done)},
            "ObjectiveStatusCounters": {"Succeeded": len(done)},
            **({"BestTrainingJob": best} if best else {}),
            **({"FailureReason": job.failure} if status == "Failed" else {}),
        }

    def _tune(self, name: str, job: Job) -> None:
        """As many jobs on as may run at a time; then the end."""
        limits = job.request[f"{_WORD}Config"]["ResourceLimits"]
        if job.past and job.past[-1][0] in ("Completed", "Failed", "Stopped"):
            return
        if job.stopping or (job.failure and job.life[-1] == "Failed"):
            job.past.append(("Stopped" if job.stopping else "Failed", self.now))
            return
        job.past.append(("Training", self.now))
        for _ in range(limits["MaxParallelTrainingJobs"]):
            if len(self.tuned[name]) < limits["MaxNumberOfTrainingJobs"]:
                self.tuned[name].append(self._train(name, job.request, len(self.tuned[name]) + 1))
        if len(self.tuned[name]) == limits["MaxNumberOfTrainingJobs"]:
            job.past.append(("Completed", self.now))

    def _train(self, tuner: str, said: Mapping[str, Any], number: int) -> dict[str, Any]:
        config, definition = said[f"{_WORD}Config"], said["TrainingJobDefinition"]
        name, values = f"{tuner}-{number:03}-{number:08x}", draw(config["ParameterRanges"], seed=number)
        objective = config["HyperParameterTuningJobObjective"]["MetricName"]
        hyperparameters = {**definition["StaticHyperParameters"], **values, "_tuning_objective_metric": objective}
        lines, failure = self.trains(name, hyperparameters)
        lines = list(lines[:1] if number in self.stopped else lines)
        status = "Failed" if failure else "Stopped" if number in self.stopped else "Completed"
        self.logs[name] = lines
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/{name}"
        request = {**definition, "HyperParameters": hyperparameters, "Tags": said["Tags"]}
        self.jobs["TrainingJob", name] = Job(request, arn, self.now, [status], failure, [(status, self.now)])
        told = {
            "TrainingJobName": name,
            "TrainingJobArn": arn,
            "TuningJobName": tuner,
            "CreationTime": self.now,
            "TrainingStartTime": self.now,
            "TrainingEndTime": self.now + timedelta(seconds=60 + number),
            "TrainingJobStatus": status,
            "TunedHyperParameters": values,
            **({"FailureReason": failure} if failure else {}),
        }
        expressions = {
            each["Name"]: each["Regex"] for each in definition["AlgorithmSpecification"]["MetricDefinitions"]
        }
        if found := [match[1] for line in lines if (match := re.search(expressions[objective], line))]:
            final = {"Type": "Minimize", "MetricName": objective, "Value": float(found[-1])}
            told["FinalHyperParameterTuningJobObjectiveMetric"] = final
        return told

    def _list_training_jobs_for_hyper_parameter_tuning_job(self, said: Mapping[str, Any]) -> dict[str, Any]:
        name, _ = self._found(_WORD, said)  # type: ignore[attr-defined]
        return page(self.tuned[name], "TrainingJobSummaries", said)

    def _stop_hyper_parameter_tuning_job(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return self._stop(_WORD, said)  # type: ignore[attr-defined, no-any-return]


def draw(ranges: Mapping[str, Any], *, seed: int) -> dict[str, str]:
    """A point within a request's ranges, each value as text."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    drawn = {each["Name"]: dice.choice(each["Values"]) for each in ranges["CategoricalParameterRanges"]}
    for kind in ("Integer", "Continuous"):
        for each in ranges[f"{kind}ParameterRanges"]:
            low, high = float(each["MinValue"]), float(each["MaxValue"])
            logarithmic = each["ScalingType"] == "Logarithmic"
            value = math.exp(dice.uniform(math.log(low), math.log(high))) if logarithmic else dice.uniform(low, high)
            drawn[each["Name"]] = str(round(value)) if kind == "Integer" else repr(value)
    return drawn
