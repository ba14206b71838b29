"""A request to AWS as a value, and what botocore's own models of the services say of it before it is sent.

botocore itself checks names, types and what is required; lengths, patterns and choices stand in the same models and are
checked here as well, because the service refuses what breaks them. Refuses access keys in what others may read.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any

import botocore.session
from botocore.exceptions import UnknownServiceError
from botocore.model import OperationModel, OperationNotFoundError
from botocore.validate import ParamValidator

from bintally.errors import SettingsError

_ACCESS_KEY = re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b")
_JAVA = (("\\p{Alnum}", "a-zA-Z0-9"), ("\\p{L}", "\\w"), ("\\p{Z}", "\\s"), ("\\p{N}", "\\d"))  # as their patterns say
_FEW = 12  # choices that are all named
_SHOWN = 80  # characters of a wrong value


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of AWS.

    Attributes:
        service: as boto3 calls it: `sagemaker`.
        operation: as AWS calls it: `CreateTrainingJob`.
        parameters: plain values.
    """

    service: str
    operation: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The operation as boto3 spells it.

        >>> Request(service="logs", operation="GetLogEvents").method
        'get_log_events'
        """
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.operation).lower()


def check(request: Request) -> None:
    """Refuse a request that the service's model says cannot be meant.

    Raises:
        SettingsError: naming every parameter that is wrong, and what was expected.

    >>> check(Request(service="sagemaker", operation="DescribeTrainingJob", parameters={"TrainingJobName": "a-1"}))
    """
    shape = model_of(request.service, request.operation).input_shape
    report = ParamValidator().validate(dict(request.parameters), shape) if shape is not None else None
    faults = report.generate_report().splitlines() if report is not None and report.has_errors() else []
    if shape is not None and not faults:
        faults = list(_faults(request.parameters, shape, ""))
    if faults:
        raise SettingsError(f"{request.service} {request.operation}: cannot be sent: {'; '.join(faults)}")


def as_json(requests: Sequence[Request]) -> str:
    """Requests for a person or a program to read: a list of service, operation and parameters."""
    plain = [{"service": each.service, "operation": each.operation, "parameters": each.parameters} for each in requests]
    return json.dumps(plain, indent=2, ensure_ascii=False, default=str)


@cache
def model_of(service: str, operation: str) -> OperationModel:
    """What botocore knows of an operation.

    Raises:
        SettingsError: if it knows none of that name.
    """
    try:
        return botocore.session.get_session().get_service_model(service).operation_model(operation)
    except (UnknownServiceError, OperationNotFoundError) as error:
        raise SettingsError(
            f"{service} {operation}: boto3 does not know it. To do: pip install --upgrade boto3"
        ) from error


def _faults(value: Any, shape: Any, where: str) -> Iterator[str]:
    """What of lengths, patterns and choices is broken, at any depth."""
    if shape.type_name == "structure":
        for name, inner in value.items():
            yield from _faults(inner, shape.members[name], f"{where}.{name}".lstrip("."))
    elif shape.type_name == "list":
        yield from _too_many(value, shape, where)
        for place, inner in enumerate(value):
            yield from _faults(inner, shape.member, f"{where}[{place}]")
    elif shape.type_name == "map":
        yield from _too_many(value, shape, where)
        for key, inner in value.items():
            yield from _faults(key, shape.key, f"{where} key {key!r}")
            yield from _faults(inner, shape.value, f"{where}.{key}")
    elif shape.type_name == "string":
        yield from _text_faults(value, shape, where)
    elif shape.type_name in ("integer", "long", "float", "double") and value > shape.metadata.get("max", value):
        yield f"{where}: expected at most {shape.metadata['max']}, got {value}"


def _too_many(value: Any, shape: Any, where: str) -> Iterator[str]:
    if len(value) > shape.metadata.get("max", len(value)):
        yield f"{where}: expected at most {shape.metadata['max']} entries, got {len(value)}"


def _text_faults(value: str, shape: Any, where: str) -> Iterator[str]:
    shown = repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "...")
    if _ACCESS_KEY.search(value):
        yield f"{where}: holds an access key, which whoever may see the job could read. Leave it out"
        return
    if len(value) > shape.metadata.get("max", len(value)):
        yield f"{where}: expected at most {shape.metadata['max']} characters, got {len(value)}: {shown}"
    if shape.enum and value not in shape.enum:
        yield f"{where}: expected {_choices(value, shape.enum)}, got {shown}"
    pattern = _compiled(shape.metadata.get("pattern", ""))
    if pattern is not None and not pattern.fullmatch(value):
        yield f"{where}: expected text like {shape.metadata['pattern']}, got {shown}"


def _choices(value: str, known: Sequence[str]) -> str:
    """What there is to choose, or of many what is like it.

    >>> _choices("ml.m5.huge", ["ml.m5.large", *"abcdefghijkl"])
    'one of 13 that this boto3 knows, such as ml.m5.large'
    """
    if len(known) <= _FEW:
        return f"one of {', '.join(known)}"
    like = get_close_matches(value, known, n=3) or known[:3]
    return f"one of {len(known)} that this boto3 knows, such as {', '.join(like)}"


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """A model's pattern, which is Java's, for Python; None where there is none, or none that Python can read."""
    for java, python in _JAVA:
        pattern = pattern.replace(java, python)
    try:
        return re.compile(pattern) if pattern else None
    except re.error:
        return None
