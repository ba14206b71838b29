"""The stand-in for commands that are processes of their own: what it holds lies in a file between them.

A folder with the lines of `HOOK` in `sitecustomize.py`, first in PYTHONPATH, puts it in AWS's place in every process
whose arguments name the verbs of `bintally sagemaker`.
"""

import atexit
import os
import pickle
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.cloud.cost_explorer import nothing_spent, record, result
from tests.cloud.standin import StandIn, stand_in

STATE = "TESTS_STANDIN"
"""Names the file."""
HOOK = """
import sys

if "sagemaker" in sys.orig_argv:
    from tests.cloud.standin_process import take_over

    take_over()
"""
_NOT_KEPT = ("answers", "serves", "trains", "_hidden")  # functions


def save(aws: StandIn, path: Path) -> None:
    """Keep what it holds."""
    path.write_bytes(pickle.dumps({key: value for key, value in vars(aws).items() if key not in _NOT_KEPT}))


def take_over() -> None:
    """In this process boto3 speaks with the stand-in, as the file left it; the file is written again at the end.

    Beside the file lie `model.tar.gz` and `output.tar.gz`, which every training job leaves, and `model.onnx`, which
    answers.
    """
    path = Path(os.environ[STATE])
    aws = stand_in(pytest.MonkeyPatch())
    vars(aws).update(pickle.loads(path.read_bytes()))  # noqa: S301 - our own
    record(aws, tagged=nothing_spent(), account=())
    aws.answers["GetCostAndUsage"] = a_dollar_a_day
    aws.serves = lambda body, media_type, accept: answer(path.with_name("model.onnx"), body, media_type, accept)
    for (word, name), job in aws.jobs.items():
        if word == "TrainingJob":
            bucket, _, key = job.request["OutputDataConfig"]["S3OutputPath"].removeprefix("s3://").partition("/")
            for archive in ("model.tar.gz", "output.tar.gz"):
                aws.objects[bucket, f"{key}/{name}/output/{archive}"] = path.with_name(archive).read_bytes()
    atexit.register(save, aws, path)


def a_dollar_a_day(said: Mapping[str, Any]) -> dict[str, Any]:
    """What Cost Explorer answers: SageMaker costs one on each day; it knows nothing by tag."""
    first, end = (date.fromisoformat(said["TimePeriod"][key]) for key in ("Start", "End"))
    days = [first + timedelta(days=n) for n in range((end - first).days)]
    spent = {} if "Tags" in said["Filter"]["And"][0] else {("Amazon SageMaker", "USE1-Train:ml.c5.xlarge"): "1"}
    return {"ResultsByTime": [result(day, spent) for day in days]}


def answer(model: Path, body: bytes, media_type: str, accept: str) -> tuple[int, bytes]:
    """What the serving application answers."""
    from starlette.testclient import TestClient

    from bintally.serving.app import create_app
    from bintally.serving.settings import ServeSettings

    with TestClient(create_app(ServeSettings(model=model, threads=1))) as client:
        while client.get("/ping").status_code == 503:
            pass
        answered = client.post("/invocations", content=body, headers={"Content-Type": media_type, "Accept": accept})
    return answered.status_code, answered.content
