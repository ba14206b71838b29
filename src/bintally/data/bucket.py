"""How a bucket is asked: again where that may help, and with the reason where it does not.

obstore makes a request for reading again when it fails; here is asked again where obstore does not: after a write, a
removal, a page of a listing that broke off, an object that changed while it was read. Refuses to wait long for
credentials that nobody has.
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from bintally.data.refusals import ERRORS, Asked, is_elsewhere, may_pass, translate

if TYPE_CHECKING:
    from obstore.store import RetryConfig

T = TypeVar("T")
# The waits before a request is made again, obstore's and those here: each is taken at random from the first to four
# times the one before, on average twice that; six of them last 9 s on average.
_FIRST_WAIT_SECONDS = 0.1
_WAITS_GROW = 4
_LONGEST_WAIT_SECONDS = 15.0
_CREDENTIALS_SECONDS = 2.0  # a credential server is on the machine itself, or there is none
_REGION_SECONDS = 5.0
_CREDENTIAL_SERVER = "http://169.254.169.254"
_CREDENTIAL_VARIABLES = (  # if none is set, obstore asks that server
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


@dataclass(slots=True)
class CredentialServer:
    """A server that hands out credentials, on the machine itself: EC2 has one, others nothing at its address.

    Attributes:
        url: its address.
        is_there: whether it was seen.
    """

    url: str
    is_there: bool = False

    async def look(self) -> None:
        """See whether it is there: obstore would ask it again and again, for half a minute.

        Raises:
            ConnectionError: if it is not.
        """
        if self.is_there:
            return
        parts = urlsplit(self.url)
        try:
            connecting = asyncio.open_connection(parts.hostname, parts.port or 80)
            _, connection = await asyncio.wait_for(connecting, _CREDENTIALS_SECONDS)
        except OSError as error:
            raise ConnectionError(f"no credentials from {self.url}") from error
        connection.close()
        self.is_there = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket, as it is asked and as messages name it.

    Attributes:
        server: the address of the server that has it, such as `https://s3.amazonaws.com`.
        name: its name there.
        prefix: where its keys begin, without a slash at either end.
        anonymous: whether it is asked without credentials.
        max_retries: how often a request is made again.
        retry_seconds: for how long.
        stalled_seconds: how long a request may bring nothing before it is given up.
        credentials: the server that hands out credentials; None where none are needed or the environment has some.
    """

    server: str
    name: str
    prefix: str
    anonymous: bool
    max_retries: int
    retry_seconds: float
    stalled_seconds: float
    credentials: CredentialServer | None = None

    @property
    def retries(self) -> "RetryConfig":
        """What obstore is told of it."""
        return {
            "max_retries": self.max_retries,
            "retry_timeout": timedelta(seconds=self.retry_seconds),
            "backoff": {
                "init_backoff": timedelta(seconds=_FIRST_WAIT_SECONDS),
                "max_backoff": timedelta(seconds=_LONGEST_WAIT_SECONDS),
                "base": _WAITS_GROW,
            },
        }

    def asked(self, doing: str, action: str, key: str = "") -> Asked:
        """What is asked of it, in words: `action` is S3's, on the bucket itself or on the object at `key`."""
        resource = "/".join(filter(None, (self.name, self.prefix, key))) if key else self.name
        return Asked(
            doing=doing,
            right=f"{action} on arn:aws:s3:::{resource}",
            anonymous=self.anonymous,
            credential_server=self.credentials.url if self.credentials else "",
        )

    async def ask(self, attempt: Callable[[], Awaitable[T]], asked: Asked, retries: int) -> T:
        """What `attempt` gives, tried again at most `retries` times where that may help and obstore did not.

        Raises:
            StoreError: the kind of ours that says why there is nothing to give.
        """
        end = time.monotonic() + self.retry_seconds
        wait_seconds = _FIRST_WAIT_SECONDS
        times = 1
        while True:
            try:
                if self.credentials is not None:
                    await self.credentials.look()
                return await attempt()
            except tuple(ERRORS) as error:
                ours = translate(error, asked, region=await self._region(error), times=times)
                if times > retries or time.monotonic() + wait_seconds > end or not may_pass(error, ours):
                    raise ours from error
            await asyncio.sleep(wait_seconds)
            times += 1
            longest = min(_WAITS_GROW * wait_seconds, _LONGEST_WAIT_SECONDS)
            wait_seconds = random.uniform(_FIRST_WAIT_SECONDS, longest)  # noqa: S311 - no secret

    async def _region(self, error: Exception) -> str:
        """The region that the bucket is in, if `error` is about that."""
        if not is_elsewhere(error):
            return ""
        return await asyncio.to_thread(_region_of, f"{self.server.rstrip('/')}/{self.name}")


def credential_server() -> CredentialServer | None:
    """The server that is asked for credentials; None if the environment has some, or says where else they are."""
    if any(os.environ.get(name) for name in _CREDENTIAL_VARIABLES):
        return None
    return CredentialServer(os.environ.get("AWS_METADATA_ENDPOINT", _CREDENTIAL_SERVER))


@cache
def _region_of(address: str) -> str:
    """The region that S3 names when it sends elsewhere; obstore keeps it to itself. Empty if it names none."""
    try:
        with urlopen(Request(address, method="HEAD"), timeout=_REGION_SECONDS) as answer:  # noqa: S310 - http only
            headers = answer.headers
    except HTTPError as error:
        headers = error.headers
    except (OSError, ValueError):
        return ""
    return str(headers.get("x-amz-bucket-region", ""))
