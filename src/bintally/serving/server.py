"""Runs the application with uvicorn, until SIGTERM or Ctrl-C: what is in flight is finished, nothing new is taken.

Refuses to wait for clients: a line on which no whole head of a request arrives in time is cut. Everything but the lines
of requests goes to standard error; those go to standard output.
"""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from bintally.errors import SettingsError
from bintally.serving.answers import to_json
from bintally.serving.app import create_app
from bintally.serving.faults import Fault
from bintally.serving.request_log import REQUESTS
from bintally.serving.settings import ServeSettings

_BACKLOG = 2048


def serve(settings: ServeSettings, *, host: str, port: int, said: Callable[[str], None]) -> None:
    """Serve until told to end; returns then.

    Args:
        settings: the model, and the bounds.
        host: a name or address to listen at.
        port: likewise; 0: any that is free.
        said: told where the server listens, and when it is ready, with the model's licence.

    Raises:
        SettingsError: if it cannot listen there.
        ModelError: if the model cannot be loaded.
        KeyboardInterrupt: after Ctrl-C, once all is finished.
    """
    with listening_at(host, port) as listener:
        app = create_app(
            settings,
            on_ready=lambda facts: said(f"ready: {facts.name}; licence: {facts.provenance.licence}"),
            on_failure=lambda: setattr(server, "should_exit", True),
        )
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=protocol(settings.head_seconds),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=settings.grace_seconds,
            )
        )
        _log_requests()
        name = f"[{host}]" if ":" in host else host
        said(f"listening on http://{name}:{listener.getsockname()[1]}, loading {settings.model}")
        # uvicorn raises the signal again that it ended by, for the handler from before: this one, as SIGTERM is a good
        # end. It also hears a signal that comes before uvicorn listens for them.
        before = signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
        try:
            server.run(sockets=[listener])
        finally:
            signal.signal(signal.SIGTERM, before)
    if app.state.service.failure is not None:
        raise app.state.service.failure


def listening_at(host: str, port: int) -> socket.socket:
    """A socket that listens, and whose lines send at once.

    An answer is two writes, and asyncio sees to that only where it made the socket: the second one would wait for the
    client's acknowledgement, 40 ms on Linux.

    Raises:
        SettingsError: if it cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(
            f"{host}:{port}: cannot listen there ({reason}). Choose another --host or --port"
        ) from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted lines inherit it
    return listener


def protocol(head_seconds: float) -> type[asyncio.Protocol]:
    """HTTP/1.1 by uvicorn, which waits for a request's head for ever, with a limit on that.

    The same limit holds for the rest of a body that was refused: it is read and dropped, so that the client comes to
    read the answer, but not for longer.
    """

    class Protocol(H11Protocol):
        _cut: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_expecting()
            else:
                self._expect()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_expecting()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            body = to_json(Fault(400, "bad-request", f"expected an HTTP request: {msg}").fields)
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            with suppress(h11.LocalProtocolError):  # an answer is under way already
                self.transport.write(self.conn.send(h11.Response(status_code=400, headers=headers)) or b"")
                self.transport.write(self.conn.send(h11.Data(data=body)) or b"")
            self.transport.close()

        def _expect(self) -> None:
            if self._cut is None:
                self._cut = self.loop.call_later(head_seconds, self.transport.close)

        def _stop_expecting(self) -> None:
            if self._cut is not None:
                self._cut.cancel()
                self._cut = None

    return Protocol


def _log_requests() -> None:
    """Lines of requests to standard output, as they are."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger(REQUESTS)
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
