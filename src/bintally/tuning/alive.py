"""Which workers are alive: each holds the kernel's lock on a file of its own, which nothing outlives it by.

Says nothing of workers elsewhere that share a database but no folder.
"""

import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_SUFFIX = ".lock"


@contextmanager
def alive(folder: Path) -> Iterator[str]:
    """Be alive, under the name that this gives.

    Raises:
        OSError: if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{_host()}-{os.getpid()}-{secrets.token_hex(3)}"
    path = folder / f"{name}{_SUFFIX}"
    with FileLock(path):
        yield name
    path.unlink(missing_ok=True)


def is_here(name: str) -> bool:
    """Whether a worker of that name is or was on this machine."""
    return name.rsplit("-", 2)[0] == _host()


def _host() -> str:
    return re.sub(r"[^\w-]", "-", socket.gethostname())[:40]


def liveness(folder: Path, *, is_shared: bool) -> Callable[[str], bool | None]:
    """Whether a worker is alive, by its name.

    Args:
        folder: where the workers that can be seen hold their locks.
        is_shared: whether all workers do; otherwise one without a file is elsewhere, and the answer is None.
    """

    def is_alive(name: str) -> bool | None:
        path = folder / f"{name}{_SUFFIX}"
        if not path.exists():
            return False if is_shared else None
        return _is_held(path)

    return is_alive


def sweep(folder: Path) -> None:
    """Remove the files of dead workers."""
    for path in folder.glob(f"*{_SUFFIX}"):
        with suppress(OSError):
            if not _is_held(path):
                path.unlink(missing_ok=True)


def _is_held(path: Path) -> bool:
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
