"""Requests are refused here by what botocore's models say, before AWS would."""

import json

import pytest

from bintally.cloud.requests import Request, as_json, check
from bintally.errors import SettingsError

ARN = "arn:aws:sagemaker:us-east-1:123456789012:model/bins"
STOP = {"TrainingJobName": "bins-train-1"}


def sagemaker(operation: str, **parameters: object) -> Request:
    return Request(service="sagemaker", operation=operation, parameters=parameters)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (sagemaker("StopTrainingJob"), "Missing required parameter"),
        (sagemaker("StopTrainingJob", TrainingJobName=3), "Invalid type"),
        (sagemaker("StopTrainingJob", TrainingJobName="a", Colour="red"), "Unknown parameter"),
        (
            sagemaker("StopTrainingJob", TrainingJobName="a" * 64),
            "TrainingJobName: expected at most 63 characters, got 64",
        ),
        (sagemaker("StopTrainingJob", TrainingJobName="under_score"), "expected text like"),
        (sagemaker("ListTrainingJobs", SortOrder="Upward"), "SortOrder: expected one of Ascending, Descending"),
        (sagemaker("ListTrainingJobs", MaxResults=101), "MaxResults: expected at most 100, got 101"),
        (sagemaker("AddTags", ResourceArn=ARN, Tags=[{"Key": "k", "Value": "v"}] * 51), "at most 50 entries"),
        (sagemaker("AddTags", ResourceArn=ARN, Tags=[{"Key": "k", "Value": "a;b"}]), "Tags[0].Value"),
        (sagemaker("MakeTea"), "boto3 does not know it"),
        (Request(service="teamaker", operation="MakeTea"), "boto3 does not know it"),
    ],
    ids=["missing", "type", "unknown", "long", "pattern", "choice", "large", "many", "nested", "operation", "service"],
)
def test_what_a_model_forbids_is_refused_by_name(request_: Request, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check(request_)
    assert said in str(caught.value)


def test_what_it_allows_passes() -> None:
    check(sagemaker("StopTrainingJob", **STOP))
    check(sagemaker("AddTags", ResourceArn=ARN, Tags=[{"Key": "bintally:kind", "Value": "größe 1+2=3"}]))
    check(Request(service="s3", operation="ListBuckets"))


@pytest.mark.parametrize("key", ["AKIAABCDEFGHIJKLMNOP", "x ASIAABCDEFGHIJKLMNOP y"])
def test_an_access_key_goes_nowhere(key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check(sagemaker("AddTags", ResourceArn=ARN, Tags=[{"Key": "k", "Value": key}]))
    assert "holds an access key" in str(caught.value)
    assert "ABCDEFGHIJKLMNOP" not in str(caught.value)


def test_they_print_as_json_that_reads_back() -> None:
    printed = json.loads(as_json([sagemaker("StopTrainingJob", **STOP)]))
    assert printed == [{"service": "sagemaker", "operation": "StopTrainingJob", "parameters": STOP}]


@pytest.mark.parametrize(
    ("operation", "method"),
    [("ListObjectsV2", "list_objects_v2"), ("GetResources", "get_resources"), ("DescribeStacks", "describe_stacks")],
)
def test_they_name_the_method_of_boto3(operation: str, method: str) -> None:
    assert Request(service="x", operation=operation).method == method
