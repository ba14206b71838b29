"""Notes that a run is told to stop, so that it ends where it can go on from. Refuses nothing."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignals:
    """Notes SIGTERM and Ctrl-C; a second Ctrl-C interrupts at once.

    In a thread, which no signal reaches, nothing is done.
    """

    def __init__(self) -> None:
        self.signum = 0  # of the signal that came; 0: none
        self._here = threading.current_thread() is threading.main_thread()

    @contextmanager
    def restored(self) -> Iterator[None]:
        """At the end, the signals do again what they did at the beginning."""
        handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for signum, handler in handlers.items():
                if self._here and handler is not None:  # None: it was not set by Python
                    signal.signal(signum, handler)

    def listen(self) -> None:
        """Begin to note them, in place of whoever else did."""
        if not self._here:
            return
        signal.signal(signal.SIGTERM, self._note)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in a shell's background
            signal.signal(signal.SIGINT, self._note)

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        if signum == self.signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum
