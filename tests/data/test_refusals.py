"""What a store's refusal means: every lower error becomes one of ours, one sentence with what to do."""

import asyncio
from collections.abc import Iterator

import pytest
from obstore import exceptions
from tests.s3_server import (
    ACCESS_DENIED,
    EXPIRED_TOKEN,
    NO_SUCH_BUCKET,
    NO_SUCH_KEY,
    NOT_S3_404,
    OTHER_REGION,
    OTHER_REGION_SIGNED,
    REQUEST_EXPIRED,
    UNKNOWN_KEY_ID,
    WRONG_SECRET,
    Answer,
    Faults,
    S3Server,
    refusal,
)

from bintally.data.refusals import ERRORS, Asked, may_pass, translate
from bintally.data.store import Store, open_store
from bintally.errors import ObjectNotFoundError, StoreAccessError, StoreError, StoreUnavailableError

ASKED = Asked(doing="s3://b: cannot read x", right="s3:GetObject on arn:aws:s3:::b/x", credential_server="http://meta")
LOWER_ERRORS = [value for value in vars(exceptions).values() if isinstance(value, type)]
SAID = (
    'User: arn:aws:iam::1:user/me is not authorized to perform: kms:Decrypt on resource: "arn:aws:kms:::key/1" because'
)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def store(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.delenv("AWS_SKIP_SIGNATURE", raising=False)
    return open_store("s3://bucket/pre", endpoint=s3.endpoint, max_retries=0)


async def do(store: Store, deed: str) -> None:
    match deed:
        case "read":
            await store.get("a/x.jpg")
        case "write":
            await store.put("a/x.jpg", b"x")
        case "remove":
            await store.delete("a/x.jpg")
        case _:
            [entry async for entry in store.list("a/")]


def test_there_are_lower_errors() -> None:
    assert exceptions.GenericError in LOWER_ERRORS
    assert len(LOWER_ERRORS) >= 12


@pytest.mark.parametrize("lower", [*LOWER_ERRORS, *ERRORS])
def test_every_lower_error_is_mapped_by_name(lower: type[Exception]) -> None:
    error = translate(lower("so it was\n\nDebug source: {}"), ASKED)
    assert type(error) is ERRORS[lower]
    assert str(error).startswith("s3://b: cannot read x: so it was. To do: ")


def test_a_message_is_one_line_whatever_was_asked() -> None:
    error = translate(OSError("so\nit was"), Asked(doing="s3://b: cannot list a\nb"))
    assert str(error) == "s3://b: cannot list a b: so. To do: check the address"


ANSWERS = {
    "expired": (EXPIRED_TOKEN, StoreAccessError, r"credentials have expired \(400 ExpiredToken\)\. To do: renew them"),
    "clock": (REQUEST_EXPIRED, StoreAccessError, r"clock is wrong \(403 RequestTimeTooSkewed\)\. To do: set it"),
    "unknown-key": (
        UNKNOWN_KEY_ID,
        StoreAccessError,
        r"credentials are wrong \(403 InvalidAccessKeyId\)\. .*check AWS_",
    ),
    "wrong-secret": (
        WRONG_SECRET,
        StoreAccessError,
        r"credentials are wrong \(403 SignatureDoesNotMatch\)\. .*AWS_SEC",
    ),
    "malformed-key": (refusal(400, "AuthorizationHeaderMalformed"), StoreAccessError, "credentials are wrong"),
    "region-unsigned": (OTHER_REGION, StoreAccessError, r"another region, eu-west-1\. To do: say --region eu-west-1"),
    "region-signed": (
        OTHER_REGION_SIGNED,
        StoreAccessError,
        r"another region, eu-west-1\. To do: say --region eu-west",
    ),
    "no-bucket": (NO_SUCH_BUCKET, StoreError, r"no such bucket \(404 NoSuchBucket\)\. To do: check its name and --end"),
    "not-s3": (NOT_S3_404, StoreError, r"does not speak S3\. To do: check --endpoint, its port"),
    "slow-down": (refusal(503, "SlowDown"), StoreUnavailableError, r"fewer requests \(503 SlowDown\)\. .*lower --rate"),
    "too-many": (refusal(429, "TooManyRequests"), StoreUnavailableError, r"fewer requests \(429 TooMany"),
    "error": (refusal(500, "InternalError"), StoreUnavailableError, r"server failed \(500 InternalError\)\. .*, later"),
    "gateway": (Answer(status=502, body=b"<html>"), StoreUnavailableError, r"the server failed \(502\)\. To do: run"),
    "timeout": (refusal(400, "RequestTimeout"), StoreUnavailableError, "the connection broke off"),
    "unauthenticated": (Answer(status=401), StoreAccessError, r"no permission for s3:\w+ on .* \(401\)\. To do: "),
    "kms": (
        refusal(403, "AccessDenied", SAID),
        StoreAccessError,
        "no permission for kms:Decrypt on arn:aws:kms:::key/1 ",
    ),
    "other": (
        refusal(400, "InvalidArgument", "No good."),
        StoreError,
        r"refused \(400 InvalidArgument\): No good\. To d",
    ),
}


@pytest.mark.parametrize("deed", ["read", "list", "write", "remove"])
@pytest.mark.parametrize(("answer", "kind", "words"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_one_sentence_of_our_own(
    s3: S3Server, store: Store, deed: str, answer: Answer, kind: type[StoreError], words: str
) -> None:
    s3.faults = Faults(always=answer)
    with pytest.raises(StoreError, match=words) as caught:
        asyncio.run(do(store, deed))
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"s3://bucket/pre at {s3.endpoint}: cannot {deed} a/")
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("deed", "right"),
    [
        ("read", "s3:GetObject on arn:aws:s3:::bucket/pre/a/x.jpg"),
        ("list", "s3:ListBucket on arn:aws:s3:::bucket"),
        ("write", "s3:PutObject on arn:aws:s3:::bucket/pre/a/x.jpg"),
        ("remove", "s3:DeleteObject on arn:aws:s3:::bucket/pre/a/x.jpg"),
    ],
)
def test_no_permission_names_the_right_that_is_missing(s3: S3Server, store: Store, deed: str, right: str) -> None:
    s3.faults = Faults(always=ACCESS_DENIED)
    with pytest.raises(StoreAccessError) as caught:
        asyncio.run(do(store, deed))
    message = str(caught.value)
    assert f": no permission for {right} (403 AccessDenied). To do: have it allowed" in message
    assert ("where nothing is there" in message) is (deed == "read"), "S3 hides what is missing from who may not list"


def test_no_permission_without_credentials_is_told_to_use_some(s3: S3Server) -> None:
    s3.faults = Faults(always=ACCESS_DENIED)
    with pytest.raises(StoreAccessError, match=r"To do: read with credentials \(--signed\)"):
        asyncio.run(open_store("s3://bucket", endpoint=s3.endpoint, anonymous=True).get("x"))


def test_a_missing_object_is_not_found_a_missing_bucket_is_more_than_that(s3: S3Server, store: Store) -> None:
    s3.faults = Faults(always=NO_SUCH_KEY)
    with pytest.raises(
        ObjectNotFoundError, match=r"cannot read a/x\.jpg: not found\. To do: check the address and the"
    ):
        asyncio.run(store.get("a/x.jpg"))
    s3.faults = Faults(always=NO_SUCH_BUCKET)
    with pytest.raises(StoreError) as caught:
        asyncio.run(store.get("a/x.jpg"))
    assert not isinstance(caught.value, ObjectNotFoundError), "or each photo would be taken for a missing one"


def test_a_region_that_nobody_names_is_to_be_found_out(s3: S3Server, store: Store) -> None:
    from bintally.data import bucket

    bucket._region_of.cache_clear()
    s3.faults = Faults(always=Answer(status=301))
    with pytest.raises(StoreAccessError, match=r"the bucket is in another region\. To do: name it with --region"):
        asyncio.run(store.get("x"))
    bucket._region_of.cache_clear()


S3_ERROR = "Generic S3 error: Error performing GET http://h/b/x in 2ms, after 3 retries, max_retries: 3 - "
SENDING = S3_ERROR + "HTTP error: error sending request\n\nDebug source:\n"


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (SENDING + 'ConnectError("dns error")', StoreUnavailableError, "name is not known, asked 4 times"),
        (SENDING + "kind: ConnectionRefused", StoreUnavailableError, "takes no connections, asked 4 times"),
        (
            SENDING + "InvalidCertificate(UnknownIssuer)",
            StoreUnavailableError,
            "TLS certificate is not trusted.*SSL_CERT",
        ),
        (SENDING + "InvalidContentType", StoreUnavailableError, "does not speak TLS.*http or https"),
        (SENDING + "kind: Timeout", StoreUnavailableError, "no answer in time"),
        (SENDING + "ConnectionReset", StoreUnavailableError, "the connection broke off"),
        (
            "Generic S3 error: HTTP error: request or response body error",
            StoreUnavailableError,
            "the connection broke off",
        ),
        (
            "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 1s - x",
            StoreAccessError,
            "no c",
        ),
        (
            "Generic S3 error: Error performing PUT http://meta/latest/api/token - HTTP error",
            StoreAccessError,
            "no cred",
        ),
        (
            "Generic S3 error: Missing SecretAccessKey\n\nsource: MissingSecretAccessKey,",
            StoreAccessError,
            "only one is set",
        ),
        ("Generic S3 error: Got invalid multipart response: missing field", StoreError, "does not speak S3"),
        (
            "Generic LocalFileSystem error: HTTP error TimedOut",
            StoreError,
            "HTTP error TimedOut. To do: check the address",
        ),
        ("Generic S3 error: fine\n\nDebug source: fine", StoreError, "cannot read x: fine. To do"),
    ],
)
def test_what_is_no_answer_is_told_apart_by_what_obstore_prints(text: str, kind: type[StoreError], words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        raise translate(exceptions.GenericError(text), ASKED)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("error", "may"),
    [
        (exceptions.GenericError("Generic S3 error: HTTP error: request or response body error"), True),
        (exceptions.GenericError(SENDING), False),  # obstore has asked again
        (exceptions.PreconditionError("412"), True),  # it changed while it was read
        (exceptions.PermissionDeniedError("403"), False),
        (FileNotFoundError("404"), False),
        (ConnectionError("expected 4 bytes, got 3"), True),
    ],
)
def test_it_is_asked_again_where_that_may_help_and_obstore_did_not(error: Exception, may: bool) -> None:
    assert may_pass(error, translate(error, ASKED)) is may
