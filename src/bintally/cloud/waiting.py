"""How the verbs wait for what takes minutes: by asking again, with patience where AWS cannot be reached for a while."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from bintally.errors import CloudUnavailableError

T = TypeVar("T")
PATIENCE = 20  # answers in a row that may fail: what is waited for goes on without us


def pause(seconds: float) -> None:
    """Wait; the one place that does."""
    time.sleep(seconds)


def poll(
    ask: Callable[[], T],
    *,
    every_seconds: float,
    complain: Callable[[str], None] = lambda _: None,
    patience: int = PATIENCE,
) -> Iterator[T]:
    """Ask for ever, with a pause between; whoever takes the answers stops when one is enough.

    Args:
        ask: asks once.
        every_seconds: how long each pause is.
        complain: told why an answer failed that is asked for again.
        patience: how many in a row may fail.

    Raises:
        CloudUnavailableError: the last of `patience` failures in a row.
    """
    failures = 0
    while True:
        try:
            answer = ask()
        except CloudUnavailableError as error:
            failures += 1
            if failures >= patience:
                raise
            complain(str(error))
        else:
            failures = 0
            yield answer
        pause(every_seconds)
