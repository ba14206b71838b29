"""What Cost Explorer, and SageMaker's own records of jobs, answer about a made-up week; the amounts are for adding up.

The week is 1 to 7 February 2026: nothing was spent on the 3rd, the 6th and 7th may still change. In USD:

    day   Train   Host    S3      ECR
    1     0.736           0.015   0.026
    2     1.472   2.76    0.015   0.026
    3
    4             5.52    0.015   0.026
    5     2.944   5.52    0.016   0.026
    6             5.52    0.016   0.026
    7             1.38    0.004   0.0065
    all   5.152   20.70   0.081   0.1365     26.0695 together, 25.852 of it SageMaker
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.cloud.standin import ACCOUNT, REGION, Job, Refused, StandIn

NOW = datetime(2026, 2, 7, 15, 30, tzinfo=UTC)
SAGEMAKER, S3, ECR = "Amazon SageMaker", "Amazon Simple Storage Service", "Amazon EC2 Container Registry (ECR)"
TRAIN, HOST = "USE1-Train:ml.g4dn.xlarge", "USE1-Host:ml.m5.xlarge"
WEEK: Sequence[Mapping[tuple[str, str], str]] = (
    {(SAGEMAKER, TRAIN): "0.736", (S3, "TimedStorage-ByteHrs"): "0.015", (ECR, "TimedStorage-ByteHrs"): "0.026"},
    {
        (SAGEMAKER, TRAIN): "1.472",
        (SAGEMAKER, HOST): "2.76",
        (S3, "TimedStorage-ByteHrs"): "0.015",
        (ECR, "TimedStorage-ByteHrs"): "0.026",
    },
    {},
    {(SAGEMAKER, HOST): "5.52", (S3, "TimedStorage-ByteHrs"): "0.015", (ECR, "TimedStorage-ByteHrs"): "0.026"},
    {
        (SAGEMAKER, TRAIN): "2.944",
        (SAGEMAKER, HOST): "5.52",
        (S3, "TimedStorage-ByteHrs"): "0.016",
        (ECR, "TimedStorage-ByteHrs"): "0.026",
    },
    {(SAGEMAKER, HOST): "5.52", (S3, "TimedStorage-ByteHrs"): "0.016", (ECR, "TimedStorage-ByteHrs"): "0.026"},
    {(SAGEMAKER, HOST): "1.38", (S3, "TimedStorage-ByteHrs"): "0.004", (ECR, "TimedStorage-ByteHrs"): "0.0065"},
)
ESTIMATED = (date(2026, 2, 6), date(2026, 2, 7))


def result(day: date, groups: Mapping[tuple[str, str], str], *, unit: str = "USD") -> dict[str, Any]:
    """One day as Cost Explorer answers it; what costs nothing may stand there in a currency of its own, N/A."""
    end = day + timedelta(days=1)
    rows = [
        {"Keys": list(keys), "Metrics": {"UnblendedCost": {"Amount": amount, "Unit": unit if amount != "0" else "N/A"}}}
        for keys, amount in groups.items()
    ]
    period = {"Start": day.isoformat(), "End": end.isoformat()}
    return {"TimePeriod": period, "Total": {}, "Groups": rows, "Estimated": day in ESTIMATED}


def recorded(*, per_page: int = 4, unit: str = "USD") -> list[dict[str, Any]]:
    """The week as an answer of several pages."""
    start = date(2026, 2, 1)
    days = [
        result(start + timedelta(days=n), {**groups, ("AWS Lambda", "x"): "0"}, unit=unit)
        for n, groups in enumerate(WEEK)
    ]
    pages = [{"ResultsByTime": days[first : first + per_page]} for first in range(0, len(days), per_page)]
    return [{**page, **({"NextPageToken": f"p{n}"} if n < len(pages) else {})} for n, page in enumerate(pages, 1)]


def nothing_spent() -> list[dict[str, Any]]:
    """The week, as it is answered for a tag that is not activated: days without groups."""
    return [{"ResultsByTime": [result(date(2026, 2, 1) + timedelta(days=n), {}) for n in range(7)]}]


def record(aws: StandIn, *, tagged: Sequence[Mapping[str, Any]], account: Sequence[Mapping[str, Any]] = ()) -> None:
    """Have the account answer so: what bears the project's tag, and what its services cost; a forecast."""

    def usage(said: Mapping[str, Any]) -> dict[str, Any]:
        pages = tagged if "Tags" in said["Filter"]["And"][0] else account
        return dict(pages[int(said.get("NextPageToken", "p0").removeprefix("p"))])

    aws.answers["GetCostAndUsage"] = usage
    aws.answers["GetCostForecast"] = lambda _: {"Total": {"Amount": "63.5", "Unit": "USD"}, "ForecastResultsByTime": []}


JOBS = (
    # name, instances, spot, seconds that it worked, seconds that are paid for
    ("bins-train-20260201-040506-0a1b", 3, "ml.g4dn.xlarge", True, 7200, 2160),
    ("bins-train-20260202-040506-0a1c", 1, "ml.m5.xlarge", True, 3600, 1800),
    ("bins-train-20260204-040506-0a1d", 1, "ml.c5.xlarge", False, 5400, 5400),
)


def add_job(aws: StandIn, name: str, count: int, kind: str, spot: bool, seconds: int, billable: int) -> None:
    """A training job that is done; its name says when it was sent."""
    request = {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
        "EnableManagedSpotTraining": spot,
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/jobs"},
        "ResourceConfig": {"InstanceType": kind, "InstanceCount": count, "VolumeSizeInGB": 50},
        "StoppingCondition": {"MaxRuntimeInSeconds": 7200},
    }
    sent = datetime.strptime(name[-20:-5], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/{name}"
    aws.jobs["TrainingJob", name] = Job(request, arn, sent, ["Completed"], past=[("Completed", sent)])
    known = aws.answers.get("DescribeTrainingJob", aws._describe_training_job)

    def describe(said: Mapping[str, Any]) -> dict[str, Any]:
        if said["TrainingJobName"] != name:
            return known(said)
        return {
            **aws._describe_training_job(said),
            "TrainingTimeInSeconds": seconds,
            "BillableTimeInSeconds": billable,
        }

    aws.answers["DescribeTrainingJob"] = describe


def add_jobs(aws: StandIn) -> None:
    """All of `JOBS`."""
    for job in JOBS:
        add_job(aws, *job)


def add_endpoints(aws: StandIn, *endpoints: tuple[str, str, Mapping[str, Any], int]) -> None:
    """Endpoints: name, status, the variant of its configuration, and how many instances it has at this moment."""
    known = {name: (variant, count) for name, _, variant, count in endpoints}
    times = {"CreationTime": NOW, "LastModifiedTime": NOW}

    def described(said: Mapping[str, Any]) -> dict[str, Any]:
        name = said["EndpointName"]
        now = {"VariantName": "one"} | ({"CurrentInstanceCount": known[name][1]} if known[name][1] else {})
        whole = {**_row(name, "InService"), **times, "EndpointConfigName": name}
        return {**whole, "ProductionVariants": [now]}

    def configured(said: Mapping[str, Any]) -> dict[str, Any]:
        name = said["EndpointConfigName"]
        if name not in known or not known[name][0]:
            raise Refused("ValidationException", f'Could not find endpoint configuration "{name}".')
        variant = {"VariantName": "one", "ModelName": "m", **known[name][0]}
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint-config/{name}"
        return {
            "EndpointConfigName": name,
            "EndpointConfigArn": arn,
            "ProductionVariants": [variant],
            "CreationTime": NOW,
        }

    rows = [{**_row(name, status), **times} for name, status, _, _ in endpoints]
    aws.answers["ListEndpoints"] = lambda _: {"Endpoints": rows}
    aws.answers["DescribeEndpoint"] = described
    aws.answers["DescribeEndpointConfig"] = configured


def _row(name: str, status: str) -> dict[str, Any]:
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/{name}"
    return {"EndpointName": name, "EndpointArn": arn, "EndpointStatus": status}
