"""What a verb says when the part of Bintally that it needs is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from bintally.errors import MissingExtraError


@contextmanager
def extra(name: str, needed_for: str) -> Iterator[None]:
    """Import an optional part inside this; a module of another project that is missing means the extra is.

    Args:
        name: the extra, as `pip install 'bintally[name]'` spells it.
        needed_for: what the user asked for, such as `bintally ingest`.

    Raises:
        MissingExtraError: with the install command.

    >>> with extra("data", "bintally ingest"):
    ...     import json
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "bintally"):  # our own mistake: not cured by installing
            raise
        raise MissingExtraError(name, needed_for=needed_for) from error
