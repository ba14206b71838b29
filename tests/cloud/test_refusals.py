"""Every refusal is one sentence that says what to do, and none repeats a secret."""

import inspect

import pytest
from botocore import exceptions
from hypothesis import given
from hypothesis import strategies as st

from bintally.cloud.refusals import failure_reason, translate
from bintally.cloud.requests import Request
from bintally.errors import CloudAccessError, CloudError, CloudUnavailableError, NotInCloudError, QuotaError

REQUEST = Request(service="sagemaker", operation="CreateTrainingJob", parameters={"TrainingJobName": "bins-train-1"})
KINDS = [
    kind
    for _, kind in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(kind, exceptions.BotoCoreError) and kind.__module__ == exceptions.__name__
]


class _Anything(dict[str, str]):
    def __missing__(self, _: str) -> str:
        return "x"


def answered(code: str, message: str = "", status: int = 400, retries: int = 0) -> exceptions.ClientError:
    meta = {"HTTPStatusCode": status, "RetryAttempts": retries}
    said = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": meta}
    return exceptions.ClientError(said, "CreateTrainingJob")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_of_botocore_becomes_one_of_ours(kind: type[exceptions.BotoCoreError]) -> None:
    error = kind.__new__(kind)
    Exception.__init__(error, kind.__name__)
    ours = translate(error, REQUEST, doing="x")
    assert str(ours).startswith("x: ")
    assert "To do: " in str(ours)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (exceptions.NoCredentialsError(), CloudAccessError, "aws configure sso"),
        (exceptions.PartialCredentialsError(provider="env", cred_var="x"), CloudAccessError, "incomplete"),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="x"), CloudAccessError, "have expired"),
        (exceptions.NoRegionError(), CloudAccessError, "--region us-east-1"),
        (exceptions.EndpointConnectionError(endpoint_url="https://x"), CloudUnavailableError, "cannot be reached"),
        (exceptions.ReadTimeoutError(endpoint_url="https://x"), CloudUnavailableError, "in time"),
        (exceptions.SSLError(endpoint_url="https://x", error="x"), CloudUnavailableError, "AWS_CA_BUNDLE"),
        (answered("ExpiredTokenException", "The security token is expired"), CloudAccessError, "aws sso login"),
        (answered("UnrecognizedClientException"), CloudAccessError, "does not know the credentials"),
        (answered("ThrottlingException", "Rate exceeded"), CloudUnavailableError, "fewer requests"),
        (answered("InternalFailure", "", 500), CloudUnavailableError, "AWS failed"),
        (answered("Strange", "", 503), CloudUnavailableError, "AWS failed (Strange)"),
        (answered("ResourceLimitExceeded", "Too many jobs."), QuotaError, "a quota is used up: Too many jobs"),
        (answered("ValidationException", "Could not find model"), NotInCloudError, "not found"),
        (answered("ValidationException", "Requested image x:y not found."), NotInCloudError, "push it to ECR"),
        (answered("RepositoryNotFoundException", "no repository"), NotInCloudError, "push it to ECR"),
        (
            answered("ValidationException", "RoleArn is odd."),
            CloudError,
            "AWS refused (ValidationException): RoleArn is odd",
        ),
        (answered("OptInRequired"), CloudAccessError, "does not use this service"),
        (answered("ResourceInUse", "Job name must be unique"), CloudError, "AWS refused (ResourceInUse)"),
        (answered("ResourceInUse", "Job name must be unique", retries=1), CloudUnavailableError, "that it is there"),
        (
            answered("ValidationException", "Cannot create already existing endpoint x", retries=2),
            CloudUnavailableError,
            "`bintally sagemaker status` shows it",
        ),
        (
            answered("ValidationException", "Could not assume role arn:aws:iam::1:role/r. Please ensure it exists"),
            CloudError,
            "a role that was just made takes a minute",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_refusal_says_what_is_wrong_and_what_to_do(error: Exception, kind: type[CloudError], said: str) -> None:
    ours = translate(error, REQUEST, doing="sagemaker")
    assert type(ours) is kind
    assert said in str(ours)
    assert len(str(ours).splitlines()) == 1


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "User: arn:aws:iam::1:user/a is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/r "
            "because no identity-based policy allows the iam:PassRole action",
            "allow iam:PassRole on the execution role for arn:aws:iam::1:user/a",
        ),
        (
            "User: arn:aws:iam::1:user/a is not authorized to perform: sagemaker:CreateTrainingJob with an explicit "
            "deny in a service control policy",
            "lift the deny of sagemaker:CreateTrainingJob for arn:aws:iam::1:user/a",
        ),
        (
            "User: arn:aws:iam::1:user/a is not authorized to perform: sagemaker:CreateTrainingJob because no "
            "permissions boundary allows it",
            "in the permissions boundary",
        ),
        ("Access Denied", "no permission for sagemaker:CreateTrainingJob on bins-train-1 (AccessDenied)"),
    ],
    ids=["pass role", "explicit deny", "boundary", "nothing said"],
)
def test_no_permission_says_where_it_is_to_be_given(message: str, said: str) -> None:
    assert said in str(translate(answered("AccessDenied", message, 403), REQUEST, doing="x"))


def test_no_permission_in_a_bucket_names_the_action_that_iam_knows() -> None:
    request = Request(service="s3", operation="ListObjectsV2", parameters={"Bucket": "b", "Prefix": "p"})
    said = str(translate(answered("AccessDenied", "Access Denied", 403), request, doing="x"))
    assert "no permission for s3:ListBucket on arn:aws:s3:::b/p" in said


@given(
    code=st.sampled_from(
        ["ValidationException", "AccessDenied", "SignatureDoesNotMatch", "Odd", "ResourceLimitExceeded"]
    ),
    before=st.text(max_size=30),
    after=st.text(max_size=30),
)
def test_no_secret_is_repeated(code: str, before: str, after: str) -> None:
    message = f"{before} AKIAABCDEFGHIJKLMNOP x-amz-security-token:my-token https://s3/b?X-Amz-Signature=abc12 {after}"
    said = str(translate(answered(code, message), REQUEST, doing="x"))
    for secret in ("ABCDEFGHIJKLMNOP", "my-token", "abc12"):
        assert secret not in said


def test_nothing_is_repeated_of_what_was_signed() -> None:
    error = answered(
        "SignatureDoesNotMatch", "The Canonical String for this request should have been 'POST / host:x'", 403
    )
    said = str(translate(error, REQUEST, doing="x"))
    assert "does not know the credentials" in said
    assert "Canonical" not in said


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("AlgorithmError: manifest.parquet: no splits, exit code: 1", "manifest.parquet: no splits"),
        ("AlgorithmError: , exit code: 137", "exit code 137"),
        ("ClientError: Data download failed: AccessDenied (403)", "run `bintally sagemaker bootstrap` again"),
        ("", "no reason was given"),
    ],
)
def test_a_jobs_reason_becomes_a_sentence(reason: str, said: str) -> None:
    assert said in failure_reason(reason)
