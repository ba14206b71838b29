"""A model put behind an endpoint, or behind one that is there: made, waited for, asked once, scaled.

What fails is taken back: everything made by this deployment is removed again, an update gives way to what served
before. Refuses to leave anything that costs without saying its name and how to remove it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bintally.cloud.clean import remove_request
from bintally.cloud.endpoint import (
    Endpoint,
    Scaling,
    config_request,
    deregister_request,
    describe_request,
    endpoint_request,
    model_request,
    policies_request,
    policy_request,
    register_request,
    scaling_requests,
    target_request,
    update_request,
)
from bintally.cloud.endpoint_state import EndpointState, read_endpoint, wait_in_service
from bintally.cloud.invoke import invoke, trial_photo
from bintally.cloud.requests import Request
from bintally.cloud.session import Cloud
from bintally.errors import BintallyError, CloudError, CloudUnavailableError, NotInCloudError, SettingsError

_REMOVE = "`bintally sagemaker clean` removes it once AWS lets it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """What served before an update.

    Attributes:
        config: its configuration.
        target: how far its count of instances could change; empty: it could not.
        policies: what that followed.
    """

    config: str
    target: Mapping[str, Any] = field(default_factory=dict)
    policies: Sequence[Mapping[str, Any]] = ()


@dataclass(kw_only=True)
class Deployment:
    """One deployment under way.

    Args:
        cloud: the account.
        endpoint: what it is to be.
        former: what served before; None: the endpoint is new.
        max_minutes: after so long it is given up.
        say: told of each step.
        complain: told what could not be read.
        on_state: told of each look at the endpoint.
    """

    cloud: Cloud
    endpoint: Endpoint
    former: Former | None
    max_minutes: float
    say: Callable[[str], None]
    complain: Callable[[str], None]
    on_state: Callable[[EndpointState], None] = lambda _: None
    _made: list[tuple[str, Request]] = field(default_factory=list)
    _scales: bool = False

    def run(self, *, wait: bool = True) -> list[float]:
        """Deploy; what the endpoint answered to a drawn bin, or nothing where it is not waited for.

        Raises:
            CloudError: if it could not be; the message says what was removed, and what is left.
        """
        try:
            self._make()
            if not wait:
                return []
            self._wait(self.endpoint.config)
            probabilities = self._ask()
            if self.endpoint.scaling is not None:
                self._scale(self.endpoint.scaling)
        except CloudError as error:
            raise type(error)(f"{error}. {self._take_back()}") from error
        return probabilities

    def left(self) -> str:
        """What goes on when nobody waits for it any more, for a person."""
        name = self.endpoint.name
        if self.former is None and not self._made:
            return "Nothing was made"
        scaling = self.endpoint.scaling
        unscaled = ""
        if scaling is not None and not self._scales:
            unscaled = f". It does not scale yet: deploy again with --endpoint {name} --max-count {scaling.most}"
        return (
            f"{name} goes on, and costs. bintally sagemaker status shows it, bintally sagemaker invoke {name} PHOTO "
            f"asks it, bintally sagemaker clean removes it{unscaled}"
        )

    def _make(self) -> None:
        endpoint = self.endpoint
        if self.former is not None and self.former.target:
            self._send("scaling stopped while it changes", deregister_request(endpoint.name))
        self._create("model", endpoint.model, "Model", model_request(endpoint))
        self._create("endpoint configuration", endpoint.config, "EndpointConfig", config_request(endpoint))
        if self.former is None:
            self._create("endpoint", endpoint.name, "Endpoint", endpoint_request(endpoint))
        else:
            self._send(f"endpoint {endpoint.name}: new configuration", update_request(endpoint))

    def _create(self, what: str, name: str, word: str, request: Request) -> None:
        """Make one part; what was refused outright was not made, and what bears its name is somebody else's."""
        self._made.append((f"{what} {name}", remove_request(name, word)))
        try:
            self._send(f"{what} {name}", request)
        except CloudUnavailableError:  # it may have been made all the same
            raise
        except CloudError:
            self._made.pop()
            raise

    def _send(self, what: str, request: Request) -> None:
        self.say(what)
        self.cloud.send(request)

    def _wait(self, config: str) -> None:
        wait_in_service(
            self.cloud,
            self.endpoint.name,
            config=config,
            max_minutes=self.max_minutes,
            on_state=self.on_state,
            complain=self.complain,
        )

    def _ask(self) -> list[float]:
        try:
            return invoke(self.cloud, self.endpoint.name, trial_photo().photo, name="a drawn bin")
        except CloudError:
            raise
        except BintallyError as error:
            raise CloudError(f"{self.endpoint.name} is in service but does not count: {error}") from error

    def _scale(self, scaling: Scaling) -> None:
        self._scales = True
        for request in scaling_requests(self.endpoint.name, scaling):
            self._send("scaling", request)

    # --- back again --------------------------------------------------------------------------------------------------

    def _take_back(self) -> str:
        """Undo it; what came of that, for the message."""
        if self.former is not None:
            return self._restore(self.former)
        scaling = [("its scaling", deregister_request(self.endpoint.name))] if self._scales else []
        removed, left = self._remove([*scaling, *reversed(self._made)])
        parts = [f"Removed again: {', '.join(removed)}"] if removed else []
        parts += [f"Left, and it may cost: {'; '.join(left)}. To do: {_REMOVE}"] if left else []
        return ". ".join(parts) or "Nothing was made"

    def _restore(self, former: Former) -> str:
        """Have what served before serve again."""
        name = self.endpoint.name
        try:
            state = read_endpoint(self.cloud.send(describe_request(name)))
            if state.changing:
                unscaled = "; it scales no more" if former.target else ""
                return (
                    f"{name} is still {state.status}; {self.endpoint.config} and {self.endpoint.model} are left for it"
                    f"{unscaled}"
                )
            if self._scales:  # AWS updates nothing that scales
                self._remove([("its scaling", deregister_request(name))])
            if state.config != former.config:
                self._send(f"back to {former.config}", update_request_to(name, former.config))
                self._wait(former.config)
            self._scale_as_before(former)
        except CloudError as error:
            return f"{name} could not be given back its former configuration {former.config}: {error}"
        _, left = self._remove(reversed(self._made))
        also = f"; left: {'; '.join(left)}" if left else ""
        return f"{name} serves as before, by {former.config}{also}"

    def _scale_as_before(self, former: Former) -> None:
        if not former.target:
            return
        name = self.endpoint.name
        least, most = int(former.target["MinCapacity"]), int(former.target["MaxCapacity"])
        self._send("scaling as before", register_request(name, least, most))
        for policy in former.policies:
            if follows := policy.get("TargetTrackingScalingPolicyConfiguration"):
                self.cloud.send(policy_request(name, policy["PolicyName"], follows))

    def _remove(self, made: Iterable[tuple[str, Request]]) -> tuple[list[str], list[str]]:
        """What was removed, and what was not; an endpoint that is left keeps its configuration and its model."""
        removed, left, serves = [], [], False
        for what, request in made:
            if serves:
                left.append(what)
                continue
            try:
                self.cloud.send(request)
            except NotInCloudError:
                continue
            except CloudError as error:
                left.append(f"{what} ({error})")
                serves = request.operation == "DeleteEndpoint"
            else:
                removed.append(what)
        return removed, left


def find_former(cloud: Cloud, endpoint: str) -> Former:
    """What an endpoint serves by now.

    Raises:
        SettingsError: if it is changing just now.
        CloudError: if it is not there.
    """
    state = read_endpoint(cloud.send(describe_request(endpoint)))
    if state.status != "InService":
        raise SettingsError(
            f"{endpoint} is {state.status}, not InService, and cannot be updated. To do: wait, or remove it with "
            "`bintally sagemaker clean` and deploy anew"
        )
    targets = list(cloud.pages(target_request(endpoint), items="ScalableTargets"))
    if not targets:
        return Former(config=state.config)
    policies = list(cloud.pages(policies_request(endpoint), items="ScalingPolicies"))
    return Former(config=state.config, target=targets[0], policies=policies)


def check_former(endpoint: Endpoint, former: Former) -> None:
    """Refuse an update that would silently end scaling.

    Raises:
        SettingsError: saying what it is now.
    """
    if former.target and endpoint.scaling is None and endpoint.serverless is None:
        raise SettingsError(
            f"{endpoint.name} scales between {former.target['MinCapacity']} and {former.target['MaxCapacity']} "
            "instances, which an update ends. To do: say again how it shall scale: --min-count, --max-count, --target; "
            "or --no-scaling"
        )


def update_request_to(endpoint: str, config: str) -> Request:
    """Gives an endpoint a configuration that is there."""
    parameters = {"EndpointName": endpoint, "EndpointConfigName": config}
    return Request(service="sagemaker", operation="UpdateEndpoint", parameters=parameters)
