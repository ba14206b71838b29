"""The application: paths, and how faults become answers. `create_app` makes one; nothing is made at import.

GET  /ping                  200 once the model is loaded and has counted a photo
POST /invocations           SageMaker's way to ask: photos in, an array of predictions out
GET  /execution-parameters  what SageMaker's batch transform asks first
POST /v1/count              the same photos in, predictions in full and the model out
GET  /v1/model              the model and its licence
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from bintally import __version__
from bintally.inference.model_file import ModelFacts
from bintally.serving.answers import model_fields, to_json
from bintally.serving.faults import Fault, http_fault, internal
from bintally.serving.request_log import RequestLog
from bintally.serving.service import Service
from bintally.serving.settings import MIB, ServeSettings

_JSON = "application/json"
_PAYLOAD_MIB = 6  # SageMaker's own default for batch transform
_BATCH_MIB = 100  # the most that MaxConcurrentTransforms x MaxPayloadInMB may be (CreateTransformJob)


def create_app(
    settings: ServeSettings,
    *,
    on_ready: Callable[[ModelFacts], None] = lambda _: None,
    on_failure: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application, which loads its model once it is started.

    Args:
        settings: the model, and the bounds.
        on_ready: called with what the model says of itself, once it has counted a photo.
        on_failure: called if the model cannot be loaded; `app.state.service.failure` then says why.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.load(on_ready=on_ready, on_failure=on_failure))
        yield
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await loading
        service.close()

    # No pages of documentation: they would load scripts from elsewhere.
    app = FastAPI(title="Bintally", version=__version__, lifespan=lifespan, openapi_url=None)
    app.state.service = service
    app.add_middleware(RequestLog)
    app.add_exception_handler(Fault, _answer_fault)
    app.add_exception_handler(HTTPException, _answer_http)
    _add_paths(app, service)
    return app


def _add_paths(app: FastAPI, service: Service) -> None:
    @app.get("/ping")
    async def ping() -> Response:
        return _json({"status": "ready", "model": service.facts.name})

    @app.post("/invocations")
    async def invocations(request: Request) -> Response:
        body, media_type = await service.invoke(request.receive, request.headers, request.state.notes)
        return Response(body, media_type=media_type)

    @app.get("/execution-parameters")
    async def execution_parameters() -> Response:
        payload_mib = max(1, min(_PAYLOAD_MIB, service.settings.max_body_bytes // MIB))
        at_once = min(service.engine.threads + 1, service.settings.queue, _BATCH_MIB // payload_mib)
        return _json(
            {"MaxConcurrentTransforms": at_once, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": payload_mib}
        )

    @app.post("/v1/count")
    async def count(request: Request) -> Response:
        return Response(await service.count(request.receive, request.headers, request.state.notes), media_type=_JSON)

    @app.get("/v1/model")
    async def model() -> Response:
        return _json(model_fields(service.facts))


async def _answer_fault(request: Request, error: Exception) -> Response:
    fault = error if isinstance(error, Fault) else internal()
    request.state.notes["error"] = fault.code
    return _json(fault.fields, status=fault.status, headers=fault.headers)


async def _answer_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return await _answer_fault(request, error)
    said = f"{error.detail}: {request.method} {request.url.path}. There is POST /invocations"
    return await _answer_fault(request, http_fault(error.status_code, said, headers=dict(error.headers or {})))


def _json(value: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(value), status_code=status, headers=headers, media_type=_JSON)
