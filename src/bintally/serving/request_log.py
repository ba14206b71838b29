"""One line of JSON for each request, and the last net under them. Never what a photo shows, nor a header.

    {"time": "2026-01-31T12:00:00.123+00:00", "method": "POST", "path": "/invocations", "status": 200, "ms": 8.1,
     "bytes": 51234, "photos": 1, "count": 3}

`error` stands there where one was answered. Status 499 is in no answer: the client had hung up.
"""

import asyncio
import json
import logging
import time
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bintally.serving.faults import CLIENT_GONE, Fault, ending, internal
from bintally.serving.receiving import ClientGoneError

REQUESTS = "bintally.serving.requests"  # the logger whose messages are these lines
_log = logging.getLogger(__name__)
_requests = logging.getLogger(REQUESTS)
_PATH_CHARACTERS = 200


class RequestLog:
    """Around the application: notes what comes and goes, and answers where the application could not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        notes: dict[str, object] = {}
        scope.setdefault("state", {})["notes"] = notes
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except ClientGoneError:
            status = CLIENT_GONE
        except asyncio.CancelledError:  # the grace after SIGTERM is over
            status = await _answer(ending(), notes, send, begun=status != 0)
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer and the log a traceback
            _log.exception("a fault of the server's own")
            status = await _answer(internal(), notes, send, begun=status != 0)
        finally:
            _requests.info("%s", _line(scope, status, began, notes))


async def _answer(fault: Fault, notes: dict[str, object], send: Send, *, begun: bool) -> int:
    """Send a fault, unless an answer has begun; its status."""
    notes["error"] = fault.code
    if not begun:
        body = json.dumps(fault.fields).encode()
        fields = {"content-type": "application/json", "content-length": str(len(body)), **fault.headers}
        headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
        await send({"type": "http.response.start", "status": fault.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    return fault.status


def _line(scope: Scope, status: int, began: float, notes: dict[str, object]) -> str:
    return json.dumps(
        {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "method": scope["method"],
            "path": scope["path"][:_PATH_CHARACTERS],
            "status": status,
            "ms": round((time.perf_counter() - began) * 1000, 1),
            **notes,
        }
    )
