"""What a refusal of AWS means: every error of botocore as one sentence, with what to do about it.

The one place that reads AWS's codes and texts. Refuses to repeat what may hold credentials: of a signature that does
not match, AWS sends back all that was signed.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from botocore import exceptions

from bintally.cloud.requests import Request
from bintally.errors import CloudAccessError, CloudError, CloudUnavailableError, NotInCloudError, QuotaError

_AGAIN = "then run the same command again"
_POLICY = "docs/sagemaker.md has the policy that Bintally's verbs need"


@dataclass(frozen=True, slots=True)
class _Refusal:
    kind: type[CloudError]
    fault: str
    remedy: str


_NO_CREDENTIALS = _Refusal(
    CloudAccessError,
    "no credentials were found",
    "run `aws configure sso` and name the profile with --aws-profile, or set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY; --dry-run needs none",
)
_HALF = _Refusal(CloudAccessError, "the credentials are incomplete", "set both halves of the key, or name a profile")
_EXPIRED = _Refusal(CloudAccessError, "the credentials have expired", f"renew them (`aws sso login`), {_AGAIN}")
_WRONG = _Refusal(
    CloudAccessError,
    "AWS does not know the credentials, or the secret does not fit",
    "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN or the profile",
)
_CLOCK = _Refusal(CloudAccessError, "this machine's clock is wrong", f"set it, {_AGAIN}")
_NO_REGION = _Refusal(
    CloudAccessError, "no region is named", "say --region us-east-1, or write it into the project's file"
)
_BAD_REGION = _Refusal(CloudAccessError, "there is no such region", "check --region and the project's file")
_PROFILE = _Refusal(CloudAccessError, "there is no such profile", "`aws configure list-profiles` shows those there are")
_OPT_IN = _Refusal(
    CloudAccessError, "the account does not use this service or region", "enable it in the console, or take another"
)
_NO_EXPLORER = _Refusal(
    CloudAccessError,
    "Cost Explorer is not enabled for this account, or not for this user",
    "Billing console > Cost Explorer > Launch, by whoever pays the account's bill; it has figures a day later. Users "
    "also need Account > IAM user and role access to Billing",
)
_NO_COSTS = _Refusal(
    CloudError,
    "Cost Explorer has not enough data for that yet",
    "ask again when the account has been used for a month or so; its first figures come a day after it is enabled",
)
_BUSY = _Refusal(CloudUnavailableError, "AWS asks for fewer requests", "wait a minute, " + _AGAIN)
_FAILED = _Refusal(CloudUnavailableError, "AWS failed", "wait some minutes, " + _AGAIN)
_NO_CAPACITY = _Refusal(
    CloudUnavailableError, "AWS has no such instance free", "try later, another --instance-type, or another region"
)
_NOT_READY = _Refusal(CloudUnavailableError, "the endpoint is still loading its model", "wait a minute, " + _AGAIN)
_MADE_BEFORE = _Refusal(
    CloudUnavailableError,
    "AWS did not answer the first time, and says by now that it is there",
    "`bintally sagemaker status` shows it, and `bintally sagemaker clean` removes it",
)
_NETWORK = _Refusal(
    CloudUnavailableError, "AWS cannot be reached", f"check the network, the region and proxies, {_AGAIN}"
)
_LATE = _Refusal(CloudUnavailableError, "AWS did not answer in time", f"check the network, {_AGAIN}")
_TLS = _Refusal(
    CloudUnavailableError, "the server's TLS certificate is not trusted", "name its authority's file in AWS_CA_BUNDLE"
)

ERRORS: dict[type[Exception], _Refusal] = {
    exceptions.NoCredentialsError: _NO_CREDENTIALS,
    exceptions.NoAuthTokenError: _NO_CREDENTIALS,
    exceptions.PartialCredentialsError: _HALF,
    exceptions.TokenRetrievalError: _EXPIRED,
    exceptions.SSOTokenLoadError: _EXPIRED,
    exceptions.UnauthorizedSSOTokenError: _EXPIRED,
    exceptions.SSOError: _EXPIRED,
    exceptions.CredentialRetrievalError: _EXPIRED,
    exceptions.NoRegionError: _NO_REGION,
    exceptions.InvalidRegionError: _BAD_REGION,
    exceptions.UnknownRegionError: _BAD_REGION,
    exceptions.ProfileNotFound: _PROFILE,
    exceptions.SSLError: _TLS,
    exceptions.ConnectTimeoutError: _LATE,
    exceptions.ReadTimeoutError: _LATE,
    exceptions.HTTPClientError: _NETWORK,
    exceptions.ConnectionError: _NETWORK,
}
"""What botocore raises before AWS answered. Whatever is not here means what botocore says."""

_BY_CODE = {
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "UnrecognizedClientException": _WRONG,
    "InvalidClientTokenId": _WRONG,
    "InvalidAccessKeyId": _WRONG,
    "InvalidSignatureException": _WRONG,
    "SignatureDoesNotMatch": _WRONG,
    "IncompleteSignature": _WRONG,
    "MissingAuthenticationToken": _NO_CREDENTIALS,
    "MissingAuthenticationTokenException": _NO_CREDENTIALS,
    "RequestTimeTooSkewed": _CLOCK,
    "OptInRequired": _OPT_IN,
    "SubscriptionRequiredException": _OPT_IN,
    "Throttling": _BUSY,
    "ThrottlingException": _BUSY,
    "ThrottledException": _BUSY,
    "TooManyRequestsException": _BUSY,
    "RequestLimitExceeded": _BUSY,
    "RequestThrottled": _BUSY,
    "SlowDown": _BUSY,
    "InternalFailure": _FAILED,
    "InternalServerError": _FAILED,
    "InternalServiceError": _FAILED,
    "ServiceUnavailable": _FAILED,
    "ServiceUnavailableException": _FAILED,
    "CapacityError": _NO_CAPACITY,
    "ModelNotReadyException": _NOT_READY,
    "InternalDependencyException": _FAILED,
    "DataUnavailableException": _NO_COSTS,
}
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "403", "Forbidden")
_QUOTA = ("ResourceLimitExceeded", "LimitExceeded", "LimitExceededException", "ServiceQuotaExceededException")
_NOT_THERE = (
    "ResourceNotFound",
    "ResourceNotFoundException",
    "NoSuchEntity",
    "NoSuchKey",
    "NoSuchBucket",
    "NotFoundException",
    "ChangeSetNotFound",
    "ObjectNotFoundException",
    "404",
)
_SAYS_NOT_THERE = r"Could not find|[Rr]esource not found|does not exist|[Nn]o such|cannot be found|Cannot find"
_SAYS_NOT_THERE += r"|Endpoint \S+ of account \d+ not found|No scalable target found"
_IMAGE = (
    r"[Ii]mage.*(does not exist|not found)|Cannot find (requested )?(image|repository)|Requested image .* not found"
)
_IMAGE_CODES = ("ImageNotFoundException", "RepositoryNotFoundException")
# Actions that IAM calls otherwise than the operations, where AWS does not say which was missing.
_ACTIONS = {
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
}
_PREFIXES = {"resourcegroupstaggingapi": "tag", "sagemaker-runtime": "sagemaker"}


def translate(error: Exception, request: Request | None, *, doing: str) -> CloudError:
    """The error of ours that says what `error`, of botocore, means.

    Args:
        error: what was caught.
        request: what was asked; None: nothing yet.
        doing: what could not be done, in words; a message begins with it.

    >>> translate(exceptions.NoRegionError(), None, doing="SageMaker")  # doctest: +ELLIPSIS
    CloudAccessError("SageMaker: no region is named. To do: say --region ...")
    """
    if isinstance(error, exceptions.ClientError):
        refusal = _answered(error, request)
    else:
        refusal = next((ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS), None) or _Refusal(
            CloudError, _plain(str(error)), "check --region, --aws-profile and ~/.aws/config"
        )
    return refusal.kind(" ".join(f"{doing}: {refusal.fault}. To do: {refusal.remedy}".split()))


def failure_reason(reason: str) -> str:
    """A job's FailureReason as one sentence, with what to do where that is known.

    >>> failure_reason("AlgorithmError: , exit code: 1")
    'the container ended with exit code 1 and left no reason; its last log lines say more'
    """
    line = " ".join(reason.split())
    if re.search(_IMAGE, line):
        return f"{_bare(line)}. To do: {_image_remedy()}"
    if "CapacityError" in line or "InsufficientInstanceCapacity" in line:
        return f"{_NO_CAPACITY.fault} ({_bare(line)}). To do: {_NO_CAPACITY.remedy}"
    if re.search(r"AccessDenied|not authorized to perform", line):
        return f"the job's role lacks a permission: {_bare(line)}. To do: run `bintally sagemaker bootstrap` again"
    if found := re.fullmatch(r"AlgorithmError: ,? ?exit code: (\d+)", line):
        return f"the container ended with exit code {found[1]} and left no reason; its last log lines say more"
    said = re.match(r"AlgorithmError: (.*?),? exit code: \d+$", line)
    return _bare(said[1] if said else line) or "no reason was given"


def _answered(error: exceptions.ClientError, request: Request | None) -> _Refusal:
    """What an answer of AWS means, by its code and text."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    text = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())
    if code == "ModelError":
        return _by_container(error, text, request)
    if found := _BY_CODE.get(code):
        return _Refusal(found.kind, f"{found.fault} ({code})", found.remedy)
    if request is not None and request.service == "ce":
        if code == "LimitExceededException":  # elsewhere a quota
            return _Refusal(_BUSY.kind, f"{_BUSY.fault} ({code})", _BUSY.remedy)
        if re.search(r"(?i)(not enabled for|access to) cost explorer", text):
            return _Refusal(_NO_EXPLORER.kind, f"{_NO_EXPLORER.fault} ({code})", _NO_EXPLORER.remedy)
    readers: tuple[tuple[bool, Callable[[], _Refusal]], ...] = (
        (_made_before(error, code, text, request), lambda: _MADE_BEFORE),
        (code in _DENIED, lambda: _denied(code, text, request)),
        (code in _QUOTA or "service limit" in text, lambda: _quota(text)),
        (
            code in _IMAGE_CODES or re.search(_IMAGE, text) is not None,
            lambda: _Refusal(NotInCloudError, f"the image is not there: {_bare(text)}", _image_remedy()),
        ),
        (code in _NOT_THERE or re.search(_SAYS_NOT_THERE, text) is not None, lambda: _not_there(text)),
        (
            "Could not assume role" in text,
            lambda: _Refusal(
                CloudError,
                f"SageMaker cannot take the project's role: {_bare(text)}",
                "a role that was just made takes a minute: run the same command again; if that does not help, run "
                "`bintally sagemaker bootstrap` again",
            ),
        ),
        (
            _status(error) >= 500,  # noqa: PLR2004 - HTTP's server errors
            lambda: _Refusal(_FAILED.kind, f"{_FAILED.fault} ({code})", _FAILED.remedy),
        ),
    )
    for fits, read in readers:
        if fits:
            return read()
    brackets = f" ({code})" if code else ""
    return _Refusal(CloudError, f"AWS refused{brackets}: {_bare(text) or 'it gave no reason'}", "change what was asked")


def container_sentence(original: str) -> str:
    """What a model's container answered, in its own words.

    >>> container_sentence('{"error": {"code": "not-a-photo", "message": "expected a JPEG or PNG"}}')
    'expected a JPEG or PNG'
    """
    try:
        return str(json.loads(original)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return _bare(" ".join(original.split()))


def _made_before(error: exceptions.ClientError, code: str, text: str, request: Request | None) -> bool:
    """Whether boto3 asked again after no answer came, and AWS had made the thing the first time."""
    again = int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)) > 0
    creates = request is not None and request.service == "sagemaker" and request.operation.startswith("Create")
    return again and creates and (code == "ResourceInUse" or "already exist" in text)


def _by_container(error: exceptions.ClientError, text: str, request: Request | None) -> _Refusal:
    """The endpoint was reached, and its container refused."""
    name = request.parameters.get("EndpointName", "NAME") if request else "NAME"
    status = error.response.get("OriginalStatusCode", "")
    said = container_sentence(str(error.response.get("OriginalMessage") or text))
    return _Refusal(
        CloudError, f"the model's container answered {status}: {said}", f"read its log: /aws/sagemaker/Endpoints/{name}"
    )


def _denied(code: str, text: str, request: Request | None) -> _Refusal:
    """Which action on what resource, and where to have it allowed."""
    named = re.search(r"perform: ([\w-]+:\w+)(?: on resource: ([^\s\"']+))?", text)
    action = named[1] if named else action_of(request) if request else "the request"
    resource = (named[2] if named and named[2] else "") or _resource(request)
    who = re.search(r"(?:User|principal): (arn:[^\s]+)", text)
    whom = f" for {who[1]}" if who else ""
    remedy = f"have an administrator allow {action}{whom} in IAM; {_POLICY}"
    if "explicit deny" in text or "service control policy" in text:
        remedy = f"a policy forbids it outright: ask an administrator to lift the deny of {action}{whom}"
    elif "permissions boundary" in text:
        remedy = f"have an administrator allow {action} in the permissions boundary{whom}"
    elif action == "iam:PassRole":
        remedy = f"have an administrator allow iam:PassRole on the execution role{whom}; {_POLICY}"
    on = f" on {resource.rstrip('.')}" if resource else ""
    return _Refusal(CloudAccessError, f"no permission for {action}{on} ({code})", remedy)


def _quota(text: str) -> _Refusal:
    """Which quota, how large it is, how to ask for more."""
    found = re.search(r"service limit '([^']+)' is ([\d.]+).*?utilization of ([\d.]+).*?delta of ([\d.]+)", text)
    if found is None:
        return _Refusal(QuotaError, f"a quota is used up: {_bare(text)}", "ask for more in the Service Quotas console")
    name, limit, used, more = found.groups()
    return _Refusal(
        QuotaError,
        f"the account's quota '{name}' is {limit}, {used} are in use and {more} more were asked for",
        f"ask for more: Service Quotas console > Amazon SageMaker > '{name}' > Request increase (hours to days); or "
        "take another --instance-type, or wait until others' jobs have ended",
    )


def _not_there(text: str) -> _Refusal:
    return _Refusal(
        NotInCloudError,
        f"not found: {_bare(text) or 'AWS gave no reason'}",
        "check the name and --region; `bintally sagemaker status` shows what there is",
    )


def _image_remedy() -> str:
    return "build the image and push it to ECR (docs/sagemaker.md), or name another with --image"


def action_of(request: Request) -> str:
    """What IAM calls the right to send a request.

    >>> action_of(Request(service="s3", operation="HeadObject"))
    's3:GetObject'
    """
    action = f"{_PREFIXES.get(request.service, request.service)}:{request.operation}"
    return _ACTIONS.get(action, action)


def _resource(request: Request | None) -> str:
    """What the request names, where AWS does not say what it refused."""
    if request is None:
        return ""
    if "Bucket" in request.parameters:
        key = request.parameters.get("Key") or request.parameters.get("Prefix", "")
        return f"arn:aws:s3:::{request.parameters['Bucket']}" + (f"/{key}" if key else "")
    return next((str(value) for name, value in request.parameters.items() if name.endswith("Name")), "")


def _status(error: exceptions.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _bare(text: str) -> str:
    """A text of AWS's to stand inside a sentence."""
    return _plain(text).rstrip(". ")


def _plain(text: str) -> str:
    """Without what may hold credentials: addresses' queries, access keys, and all that was signed.

    >>> _plain("GET https://s3.amazonaws.com/b?X-Amz-Signature=12 failed for AKIAABCDEFGHIJKLMNOP")
    'GET https://s3.amazonaws.com/b failed for [access key]'
    """
    text = re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", text)
    text = re.sub(r"(?i)(x-amz-security-token\W+)\S+", r"\1[...]", text)
    return re.sub(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b", "[access key]", text)
