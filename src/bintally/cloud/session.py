"""The one place that makes boto3 clients, and the one through which every request goes.

Each request is checked against the service's model before it is sent, and each refusal becomes one sentence. boto3 asks
again by itself where that may help. Refuses to hold credentials: boto3 finds them, and nothing here reads them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

from bintally import __version__
from bintally.cloud.refusals import translate
from bintally.cloud.requests import Request, check

_CONNECT_SECONDS = 10
_ANSWER_SECONDS = 60
_CONNECTIONS = 16  # to one service at a time: as many as `batch_results` fetches at once
_ATTEMPTS = 6  # each request, in boto3's standard mode: throttling, broken connections, the server's own errors


class Cloud:
    """An AWS account's services in one region.

    Args:
        region: None: the profile's, or the environment's.
        profile: of `~/.aws/config`; None: what the environment says.
        endpoint: another server for all services, for tests; boto3's own AWS_ENDPOINT_URL does the same.

    Raises:
        CloudAccessError: if there is no such profile, or no region.
    """

    def __init__(self, region: str | None = None, *, profile: str | None = None, endpoint: str | None = None) -> None:
        try:
            self._session = boto3.session.Session(region_name=region, profile_name=profile)
            if self._session.region_name is None:
                raise NoRegionError
        except BotoCoreError as error:
            raise translate(error, None, doing=f"AWS, profile {profile}" if profile else "AWS") from error
        self.region: str = self._session.region_name
        self._endpoint = endpoint
        self._clients: dict[str, Any] = {}

    def send(self, request: Request) -> Mapping[str, Any]:
        """Check a request, send it, and give AWS's answer.

        Raises:
            SettingsError: if it breaks the service's model; nothing was sent then.
            CloudError: of the kind that says why AWS did not do it.
        """
        check(request)
        try:
            answer: Mapping[str, Any] = getattr(self._client(request.service), request.method)(**request.parameters)
        except (BotoCoreError, ClientError) as error:
            raise translate(error, request, doing=f"{request.service} {request.operation}{_named(request)}") from error
        return answer

    def read(self, request: Request) -> bytes:
        """`send`, for an answer that comes as a body: all of it.

        Raises:
            CloudError: as `send`, or if it broke off.
        """
        answer = self.send(request)
        try:
            body: bytes = answer["Body"].read()
        except BotoCoreError as error:
            raise translate(error, request, doing=f"{request.service} {request.operation}{_named(request)}") from error
        return body

    def ask(self, service: str, operation: str, **parameters: Any) -> Mapping[str, Any]:
        """`send`, for a request that nobody looks at before."""
        return self.send(Request(service=service, operation=operation, parameters=parameters))

    def pages(
        self,
        request: Request,
        *,
        items: str,
        following: str = "NextToken",
        named: str = "",
    ) -> Iterator[Any]:
        """All items of a list that comes in pages.

        Args:
            request: for the first page.
            items: the answer's key that holds them.
            following: the request's key that asks for the next page.
            named: the answer's key that says which it is; empty: the same.

        Raises:
            CloudError: as `send`.
        """
        more: dict[str, Any] = {}
        while True:
            answer = self.send(
                Request(service=request.service, operation=request.operation, parameters={**request.parameters, **more})
            )
            yield from answer.get(items, ())
            if not answer.get(named or following):
                return
            more = {following: answer[named or following]}

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            config = Config(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_ANSWER_SECONDS,
                max_pool_connections=_CONNECTIONS,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                user_agent_extra=f"bintally/{__version__}",
            )
            self._clients[service] = self._session.client(service, endpoint_url=self._endpoint, config=config)
        return self._clients[service]


def _named(request: Request) -> str:
    """What a request is about, to stand behind it in a message.

    >>> _named(Request(service="sagemaker", operation="StopTrainingJob", parameters={"TrainingJobName": "a-1"}))
    ' a-1'
    """
    for name, value in request.parameters.items():
        if name == "Bucket":
            return f" s3://{value}/{request.parameters.get('Key', request.parameters.get('Prefix', ''))}"
        if name.endswith("Name") or name in ("roleName", "repositoryName", "logGroupName"):
            return f" {value}"
    return ""
