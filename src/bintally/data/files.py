"""Files that are there whole or not at all: the one place where Bintally's own files get their names.

Refuses nothing itself: what the system refuses, `cannot_write` puts into a sentence.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bintally.errors import CannotWriteError

_BEGINNING, _END = ".", ".part"  # of the name of a file that is being written
_KEPT = "then run the same command again: what is there already is kept"
_FAULTS = {
    errno.ENOSPC: ("the disk is full", f"free some space, {_KEPT}"),
    errno.EDQUOT: ("the disk quota is used up", f"free some space, {_KEPT}"),
    errno.EROFS: ("the file system is read-only", "choose another folder"),
    errno.EACCES: ("no permission to write there", "choose another folder, or have writing allowed"),
    errno.EPERM: ("no permission to write there", "choose another folder, or have writing allowed"),
    errno.ENOTDIR: ("a file is where a folder is needed", "choose another folder, or move the file away"),
    errno.EEXIST: ("a file is where a folder is needed", "choose another folder, or move the file away"),
    errno.EISDIR: ("a folder is where the file is to be", "choose another name, or move the folder away"),
    errno.ENOTEMPTY: ("a folder is where the file is to be", "choose another name, or move the folder away"),
    errno.EMFILE: ("too many files are open", "lower --concurrency, or allow more (ulimit -n)"),
}


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write to the temporary name this gives; at the end it becomes `path`, after an error nothing is left of it.

    The folder is made where it is missing.

    Raises:
        OSError: if the folder or the file cannot be written, or something that is no file has its name.
    """
    if path.exists() and not path.is_file():
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "something that is no file has this name", str(path))
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{_BEGINNING}{path.name}{_END}")
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def is_part(name: str) -> bool:
    """Whether a file of that name is one that was begun and not finished.

    >>> is_part(".00001.jpg.part"), is_part("00001.jpg")
    (True, False)
    """
    return name.startswith(_BEGINNING) and name.endswith(_END)


def cannot_write(path: Path, error: OSError) -> CannotWriteError:
    """What the system said of a file or folder that cannot be written, and what to do.

    >>> cannot_write(Path("photos"), OSError(errno.EROFS, "Read-only file system"))
    CannotWriteError('photos: cannot write: the file system is read-only. To do: choose another folder')
    """
    said = error.strerror or str(error)
    fault, remedy = _FAULTS.get(error.errno or 0, (said, f"check the folder and its disk, {_KEPT}"))
    return CannotWriteError(f"{path}: cannot write: {fault}. To do: {remedy}")
