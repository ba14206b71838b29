"""The line that is printed and the expressions that read it are one."""

import math
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.cloud.metrics import BEST, METRICS, epoch_line, metric_definitions, read_line
from bintally.cloud.requests import model_of

VALUES = st.floats(allow_nan=False, allow_infinity=False, width=32)


def as_sagemaker_reads(line: str) -> dict[str, float]:
    """First group of the first match, as its documentation says."""
    found = {each["Name"]: re.search(each["Regex"], line) for each in metric_definitions()}
    return {name: float(match[1]) for name, match in found.items() if match}


@given(epoch=st.integers(1, 10**6), row=st.fixed_dictionaries(dict.fromkeys(METRICS, VALUES)))
def test_sagemaker_reads_what_is_printed(epoch: int, row: dict[str, float]) -> None:
    line = epoch_line({"epoch": epoch, **row})
    assert len(line.splitlines()) == 1
    assert as_sagemaker_reads(line) == pytest.approx(row, rel=1e-6)
    assert read_line(line) == pytest.approx({"epoch": epoch, **row}, rel=1e-6)
    assert as_sagemaker_reads(f"2026-02-03 {line}\n") == as_sagemaker_reads(line)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_leaves_no_metric(odd: float) -> None:
    line = epoch_line({"epoch": 1, "train_loss": odd, "val_loss": 2.0})
    assert as_sagemaker_reads(line) == {"val_loss": 2.0}
    assert read_line(line) == {"epoch": 1.0, "val_loss": 2.0}


@pytest.mark.parametrize("line", ["", "val_loss=1;", "epoch=1; val_loss=1;", "the metrics epoch: val_loss=1"])
def test_other_lines_hold_no_metrics(line: str) -> None:
    assert read_line(line) == {}
    assert as_sagemaker_reads(line) == {}


def test_the_expressions_fit_sagemakers_limits() -> None:
    shape = model_of("sagemaker", "CreateTrainingJob").input_shape.members["AlgorithmSpecification"]
    regex = shape.members["MetricDefinitions"].member.members["Regex"].metadata["max"]
    assert all(len(each["Regex"]) <= regex for each in metric_definitions())


def test_they_are_the_columns_of_curves_csv() -> None:
    from bintally.training.curves import CURVES_COLUMNS

    assert [*CURVES_COLUMNS, BEST] == ["epoch", *METRICS]


def test_whoever_asks_for_jobs_needs_no_torch() -> None:
    modules = "checks, clean, hyperparameters, made, metrics, stack_apply, stack_lint, training_job, watch"
    program = f"import sys; from bintally.cloud import {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_what_containers_share_with_requests_needs_no_boto3() -> None:
    modules = "contract, hyperparameters, metrics, prepare_arguments"
    program = f"import sys; from bintally.cloud import {modules}; sys.exit('botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
