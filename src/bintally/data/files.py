"""Files that are there whole or not at all: the one place where Bintally's own files get their names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write to the temporary name this gives; at the end it becomes `path`, after an error nothing is left of it.

    The folder is made where it is missing.

    Raises:
        OSError: if the folder or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # there only if it was not renamed
