"""HTTP statuses, in one table: what a client may rely on.

400 the body is no JSON where JSON was announced
404 there is nothing at that path
405 not with that method
406 no answer of that type can be given
408 the body came too slowly
413 too many bytes, pixels or photos
415 a type that is not taken, or bytes that are neither JPEG nor PNG
422 a photo that does not decode, or JSON without a photo in it
500 a fault of Bintally's own (the log has a traceback)
503 not ready yet, too much to do, or about to end: ask again
504 not counted in time
"""

from http import HTTPStatus

from bintally import errors

CLIENT_GONE = 499  # in the log only, as nginx has it: nobody is there to be answered

_BY_ERROR: dict[type[errors.BintallyError], tuple[int, str]] = {
    errors.NotAPhotoError: (415, "not-a-photo"),
    errors.PhotoTooLargeError: (413, "photo-too-large"),
    errors.BrokenPhotoError: (422, "broken-photo"),
    errors.PhotoError: (422, "bad-photo"),
    errors.ModelError: (503, "no-model"),
    errors.BintallyError: (500, "internal"),
}


class Fault(Exception):  # noqa: N818 - an answer that is raised; it never leaves this layer
    """Why a request gets no counts."""

    def __init__(self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None) -> None:
        """Status and headers of the answer; `code` for programs and `message` for people go into its body."""
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}

    @property
    def fields(self) -> dict[str, dict[str, str]]:
        """The body of the answer."""
        return {"error": {"code": self.code, "message": self.message}}


def fault_of(error: errors.BintallyError) -> Fault:
    """What is answered to an error: its own class's status, or that of the nearest one above it.

    >>> fault_of(errors.NotAPhotoError("x.jpg: expected a JPEG")).status
    415
    """
    status, code = next(_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _BY_ERROR)
    return Fault(status, code, str(error))


def http_fault(status: int, detail: str, *, headers: dict[str, str] | None = None) -> Fault:
    """What the router answers by itself: no such path, no such method.

    >>> http_fault(404, "Not Found").code
    'not-found'
    """
    return Fault(status, HTTPStatus(status).phrase.lower().replace(" ", "-"), detail, headers=headers)


def not_ready() -> Fault:
    """The model is still being loaded."""
    return Fault(503, "not-ready", "the model is still being loaded: ask again", headers={"Retry-After": "5"})


def overloaded(what: str) -> Fault:
    """Too much at once."""
    return Fault(503, "overloaded", f"{what}: ask again in a moment", headers={"Retry-After": "1"})


def ending() -> Fault:
    """The server was told to end, and its grace is over."""
    return Fault(503, "ending", "the server is ending: ask again", headers={"Retry-After": "1", "Connection": "close"})


def internal() -> Fault:
    """A fault of our own."""
    return Fault(500, "internal", "a fault of the server's own; its log says more")
