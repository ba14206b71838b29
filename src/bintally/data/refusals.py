"""What a store's refusal means: errors of obstore, S3 and the system as one sentence each, with what to do about it.

S3 says what was wrong by a code in its answer, obstore in what its errors print, and only there: this is the one place
that reads either. Refuses to repeat what may hold credentials: requests, the queries of addresses, headers.
"""

import re
from dataclasses import dataclass, replace
from http import HTTPStatus

from obstore import exceptions

from bintally.errors import ObjectNotFoundError, StoreAccessError, StoreError, StoreUnavailableError

# Every class that obstore raises, and the system's errors it lets through, with what they mean if their text says no
# more than that.
ERRORS: dict[type[Exception], type[StoreError]] = {
    exceptions.NotFoundError: ObjectNotFoundError,
    FileNotFoundError: ObjectNotFoundError,  # what obstore raises in truth for an object that is not there
    exceptions.PermissionDeniedError: StoreAccessError,
    exceptions.UnauthenticatedError: StoreAccessError,
    PermissionError: StoreAccessError,
    ConnectionError: StoreUnavailableError,
    TimeoutError: StoreUnavailableError,
    exceptions.AlreadyExistsError: StoreError,
    exceptions.GenericError: StoreError,
    exceptions.InvalidPathError: StoreError,
    exceptions.JoinError: StoreError,
    exceptions.NotModifiedError: StoreError,
    exceptions.NotSupportedError: StoreError,
    exceptions.PreconditionError: StoreError,
    exceptions.UnknownConfigurationKeyError: StoreError,
    exceptions.BaseError: StoreError,
    OSError: StoreError,
    ValueError: StoreError,  # a URL or key that cannot be parsed
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked of which store.

    Attributes:
        doing: which store could not do what; a message begins with it.
        right: what S3 must allow for it, such as `s3:GetObject on arn:aws:s3:::bucket/key`.
        anonymous: whether it was asked without credentials.
        credential_server: where credentials are asked for if the environment has none.
    """

    doing: str
    right: str = ""
    anonymous: bool = False
    credential_server: str = ""


@dataclass(frozen=True, slots=True)
class _Refusal:
    kind: type[StoreError]
    fault: str
    remedy: str


_AGAIN = "run the same command again"
_PUBLIC = "or read a public bucket with --anonymous"
_NO_CREDENTIALS = _Refusal(
    StoreAccessError,
    "no credentials found in the environment",
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (a profile's: aws configure export-credentials --format env), "
    + _PUBLIC,
)
_HALF_A_KEY = _Refusal(
    StoreAccessError,
    "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set",
    f"set both, {_PUBLIC}",
)
_EXPIRED = _Refusal(StoreAccessError, "the credentials have expired", f"renew them, then {_AGAIN}")
_WRONG = _Refusal(
    StoreAccessError,
    "the credentials are wrong",
    f"check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, {_PUBLIC}",
)
_CLOCK = _Refusal(StoreAccessError, "this machine's clock is wrong", f"set it, then {_AGAIN}")
_NO_BUCKET = _Refusal(StoreError, "there is no such bucket", "check its name and --endpoint")
_NOT_S3 = _Refusal(StoreError, "the server does not speak S3", "check --endpoint, its port above all")
_BUSY = _Refusal(
    StoreUnavailableError, "the store asks for fewer requests", f"{_AGAIN} with a lower --rate or --concurrency"
)
_FAILED = _Refusal(StoreUnavailableError, "the server failed", f"{_AGAIN}, later")
_NETWORK = f"check the network and --endpoint, then {_AGAIN}"
_BROKEN_OFF = _Refusal(StoreUnavailableError, "the connection broke off", _NETWORK)
_LATE = _Refusal(StoreUnavailableError, "no answer in time", _NETWORK)
_CLOSED = _Refusal(StoreUnavailableError, "the server takes no connections", f"check --endpoint, then {_AGAIN}")
_NO_NAME = _Refusal(
    StoreUnavailableError, "the server's name is not known", "check --endpoint, --region and the network"
)
_CERTIFICATE = _Refusal(
    StoreUnavailableError,
    "the server's TLS certificate is not trusted",
    "check --endpoint, or name its authority's file in SSL_CERT_FILE",
)
_NO_TLS = _Refusal(
    StoreUnavailableError, "the server does not speak TLS as it should", "check --endpoint: is it http or https?"
)
_BY_CODE = {
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidAccessKeyId": _WRONG,
    "InvalidToken": _WRONG,
    "SignatureDoesNotMatch": _WRONG,
    "AuthorizationHeaderMalformed": _WRONG,
    "RequestTimeTooSkewed": _CLOCK,
    "NoSuchBucket": _NO_BUCKET,
    "SlowDown": _BUSY,
    "TooManyRequests": _BUSY,
    "RequestTimeout": _BROKEN_OFF,
}
# What obstore prints where no answer came that S3 gives: the first that fits.
_BY_WORDS = (
    (r"Missing(SecretAccessKey|AccessKeyId)\b", _HALF_A_KEY),
    (r"ETag Header missing|Got invalid \w+ response", _NOT_S3),
    (r"kind: ConnectionRefused", _CLOSED),
    (r'"dns error"', _NO_NAME),
    (r"InvalidCertificate", _CERTIFICATE),
    (r"InvalidContentType|InvalidMessage|AlertReceived|PeerIncompatible", _NO_TLS),
    (r"TimedOut|[Tt]imed out|kind: Timeout", _LATE),
    (r"HTTP error|sending request", _BROKEN_OFF),
)
_ADVICE = {
    ObjectNotFoundError: "check the address and the key",
    StoreAccessError: f"check the bucket and the credentials in the environment, {_PUBLIC}",
    StoreUnavailableError: _NETWORK,
    StoreError: "check the address",
}
_CREDENTIAL_SERVERS = re.compile(r"//(169\.254\.|\[fd00:ec2:)")  # of EC2, ECS and EKS
_ELSEWHERE = ("PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException")
_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_NOT_LONG = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
)  # refused for the moment only, as are all of 500 and above


def translate(error: Exception, asked: Asked, *, region: str = "", times: int = 1) -> StoreError:
    """The error of ours that says what `error`, of obstore or the system, means.

    Args:
        error: what was caught.
        asked: what was tried.
        region: where the bucket is, if it is known not to be where it was looked for.
        times: how often it was tried, besides what obstore did.

    >>> translate(exceptions.UnauthenticatedError("no key"), Asked(doing="s3://b: cannot read x"))  # doctest: +ELLIPSIS
    StoreAccessError('s3://b: cannot read x: no key. ...')
    """
    kind = next(ours for theirs, ours in ERRORS.items() if isinstance(error, theirs))
    refusal = _refusal(str(error), kind, asked, region)
    retries = re.search(r"after (\d+) retries", _first_line(error))
    times = int(retries[1]) + 1 if retries else times
    often = f", asked {times} times" if times > 1 and refusal.kind is StoreUnavailableError else ""
    sentence = f"{asked.doing}: {refusal.fault}{often}. To do: {refusal.remedy}"
    return refusal.kind(" ".join(sentence.splitlines()))


def not_s3(asked: Asked) -> StoreError:
    """The error for a server that answered, but not as S3 does."""
    return _NOT_S3.kind(f"{asked.doing}: {_NOT_S3.fault}. To do: {_NOT_S3.remedy}")


def may_pass(error: Exception, ours: StoreError) -> bool:
    """Whether asking again may help against `error`: it may pass, and obstore did not ask again itself.

    Args:
        error: obstore's.
        ours: what it was translated to.
    """
    changed = isinstance(error, exceptions.PreconditionError)  # while it was read
    return changed or (isinstance(ours, StoreUnavailableError) and " retries" not in _first_line(error))


def is_elsewhere(error: Exception) -> bool:
    """Whether S3 said that the bucket is in another region, but not, as far as obstore tells, in which."""
    return "redirect" in _first_line(error).rpartition(" - ")[2]


def _refusal(text: str, kind: type[StoreError], asked: Asked, region: str) -> _Refusal:
    first = text.partition("\n")[0]
    if _CREDENTIAL_SERVERS.search(first) or (asked.credential_server and asked.credential_server in first):
        return _NO_CREDENTIALS
    said = re.search(r"non-2xx status code: (\d+)", first)
    code = re.search(r"<Code>(\w+)</Code>", text)
    if said or code:
        return _answered(int(said[1]) if said else 0, code[1] if code else "", text, asked)
    if is_elsewhere(exceptions.GenericError(text)):
        return _elsewhere(region)
    words = next((refusal for words, refusal in _BY_WORDS if re.search(words, text)), None)
    if words and "Generic S3 error" in first:
        return words
    return _Refusal(kind, _plain(first), _ADVICE[kind])


def _answered(status: int, code: str, text: str, asked: Asked) -> _Refusal:
    """What an answer of S3 means by its status and code, or of whatever else it was that answered."""
    region = re.search(r"<Region>([\w-]+)</Region>", text)
    if region or code in _ELSEWHERE:
        return _elsewhere(region[1] if region else "")
    brackets = " ".join(filter(None, (str(status or ""), code)))
    if found := _BY_CODE.get(code):
        return replace(found, fault=f"{found.fault} ({brackets})")
    if code == "AccessDenied" or status in _DENIED:
        return _denied(brackets, text, asked)
    if status == HTTPStatus.NOT_FOUND:
        html = re.search(r"<html|<!doctype", text, re.IGNORECASE)
        return _NOT_S3 if html else _Refusal(ObjectNotFoundError, "not found", _ADVICE[ObjectNotFoundError])
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _NOT_LONG:
        return replace(_FAILED, fault=f"{_FAILED.fault} ({brackets})")
    message = re.search(r"<Message>(.*?)</Message>", text)
    why = f": {message[1].rstrip('. ')}" if message else ""
    return _Refusal(StoreError, f"the server refused ({brackets}){why}", "check the address and --endpoint")


def _elsewhere(region: str) -> _Refusal:
    if region:
        return _Refusal(StoreAccessError, f"the bucket is in another region, {region}", f"say --region {region}")
    return _Refusal(StoreAccessError, "the bucket is in another region", "name it with --region")


def _denied(brackets: str, text: str, asked: Asked) -> _Refusal:
    named = re.search(r"not authorized to perform: ([\w:]+) on resource: [\\\"]*([\w:/*.+=,@-]+)", text)
    right = f"{named[1]} on {named[2]}" if named else asked.right
    hidden = "; S3 answers so, too, where nothing is there and listing is not allowed" if "GetObject" in right else ""
    remedy = (
        "read with credentials (--signed)" if asked.anonymous else f"have it allowed, use other credentials, {_PUBLIC}"
    )
    fault = f"no permission for {right}" if right else "no permission"
    return _Refusal(StoreAccessError, f"{fault} ({brackets})", remedy + hidden)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _plain(line: str) -> str:
    """A line of obstore's without its preamble, and without what addresses may hold of credentials.

    >>> _plain("Generic S3 error: Error performing GET http://me:pw@host/b?X-Amz-Signature=1 in 2ms - so it was.")
    'Error performing GET http://host/b in 2ms - so it was'
    """
    line = re.sub(r"//[^/@\s]*@", "//", line.removeprefix("Generic S3 error: "))
    return re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", line).rstrip(". ")
