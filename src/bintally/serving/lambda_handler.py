"""A Lambda function that answers as `POST /invocations` does: the same bodies, answers and faults, by the same code.

The function's handler is `bintally.serving.lambda_handler.handler`. It takes events of API Gateway (both versions of
its payload) and of function URLs, and bare JSON, as `aws lambda invoke` sends it: the body of a request, whose answer
is the same. The model is what `BINTALLY_MODEL` names: a file, a folder, or a `model.tar.gz`; without it, what lies
under /opt/ml/model. It is loaded by the first call and stays. Refuses what the HTTP server refuses; photos are counted
one after the other, and 504 is answered before the function's own time is over.
"""

import base64
import binascii
import json
import os
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from bintally.errors import BintallyError
from bintally.inference.archive import SUFFIX, unpack_model
from bintally.inference.engine import Engine
from bintally.inference.find import ENVIRONMENT_VARIABLE, find_model
from bintally.serving.answers import Counted, answer_type, model_fields, render, render_full, to_json
from bintally.serving.bodies import kind_of, photos_in
from bintally.serving.counting import count_one
from bintally.serving.faults import Fault, fault_of, http_fault
from bintally.serving.service import load_engine
from bintally.serving.settings import ServeSettings

_MODEL = "/opt/ml/model"
_SPARE_MS = 500  # kept of the function's time to send an answer


class LambdaContext(Protocol):
    """What is used of what Lambda tells a function."""

    def get_remaining_time_in_millis(self) -> int:
        """How long until the function is ended."""


class _Loaded:
    """What stays between two calls of a function."""

    def __init__(self) -> None:
        model = os.environ.get(ENVIRONMENT_VARIABLE) or _MODEL
        if model.endswith(SUFFIX):
            model = str(unpack_model(Path(model), Path(tempfile.mkdtemp(prefix="bintally-"))))
        self.settings = ServeSettings.from_environment(os.environ, model=find_model(model))
        self.engine: Engine = load_engine(self.settings)


_loaded = lru_cache(maxsize=1)(_Loaded)  # errors are not kept: the next call tries again


def handler(event: Mapping[str, Any], context: LambdaContext | None = None) -> dict[str, Any]:
    """Answer one event: statusCode, headers and body as API Gateway and function URLs take them."""
    try:
        method, path, headers, body = _request(event)
        answer, media_type = _answered(method, path, headers, body, context)
    except Fault as fault:
        return _faulty(fault)
    except BintallyError as error:
        return _faulty(fault_of(error))
    return _response(answer, media_type)


def _request(event: Mapping[str, Any]) -> tuple[str, str, dict[str, str], bytes]:
    """Method, path, headers by their lower names, and body."""
    http = (event.get("requestContext") or {}).get("http") or {}  # version 2.0, and function URLs
    method = http.get("method") or event.get("httpMethod")  # else version 1.0
    if not method:
        return "POST", "/invocations", {"content-type": "application/json"}, json.dumps(event).encode()
    headers = {name.lower(): str(value) for name, value in (event.get("headers") or {}).items()}
    text = event.get("body") or ""
    try:
        body = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") else text.encode()
    except (binascii.Error, ValueError) as error:
        raise Fault(400, "bad-request", f"expected the event's body in base64, got what is none ({error})") from error
    return method, event.get("rawPath") or event.get("path") or "/invocations", headers, body


def _answered(
    method: str, path: str, headers: Mapping[str, str], body: bytes, context: LambdaContext | None
) -> tuple[bytes, str]:
    route = path.rstrip("/").rpartition("/")[2]  # a stage or a base path may stand before it
    if method == "GET" and route in ("ping", "model"):
        facts = _loaded().engine.facts
        said = {"status": "ready", "model": facts.name} if route == "ping" else model_fields(facts)
        return to_json(said), "application/json"
    if method != "POST":
        raise http_fault(405, f"Method Not Allowed: {method} {path}. There is POST /invocations")
    kind = kind_of(headers.get("content-type", ""), headers.get("content-encoding", ""))
    wanted = answer_type(headers.get("accept", ""), kind)
    loaded = _loaded()
    settings, engine = loaded.settings, loaded.engine
    if len(body) > settings.max_body_bytes:
        raise Fault(413, "too-large", f"expected at most {settings.max_body_bytes:,} bytes, got {len(body):,}")
    counted: list[Counted] = []
    for given in photos_in(body, kind, max_photos=settings.max_photos):
        if context is not None and context.get_remaining_time_in_millis() < _SPARE_MS:
            raise Fault(504, "too-late", "not counted within the function's time. Send fewer photos at once")
        counted.append(count_one(engine, given))
    if route == "count":
        return render_full(counted, engine.facts, level=settings.level), "application/json"
    return render(counted, wanted, kind, level=settings.level), wanted.value


def _faulty(fault: Fault) -> dict[str, Any]:
    return _response(to_json(fault.fields), "application/json", status=fault.status, headers=fault.headers)


def _response(
    body: bytes, media_type: str, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"content-type": media_type, **(headers or {})},
        "body": body.decode(),
        "isBase64Encoded": False,
    }
