"""Which model file is meant: a path, a run, an installed model's name, or the default."""

import os
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from bintally.errors import ModelError

ENTRY_POINT_GROUP = "bintally.models"
ENVIRONMENT_VARIABLE = "BINTALLY_MODEL"
FILE_NAME = "model.onnx"
_HOW_TO_GET_ONE = (
    "Make one: bintally train DATA --recipe NAME --out RUN, then bintally export RUN; "
    f"name it with --model RUN/{FILE_NAME} or ${ENVIRONMENT_VARIABLE}"
)


def find_model(model: str | None) -> Path:
    """The model file that `model` means.

    Args:
        model: a file, a run's folder, or the name of an installed model; None: `$BINTALLY_MODEL`, else the one
            installed model.

    Raises:
        ModelError: if there is none, or several to choose from; says how to get one.
    """
    wanted = model or os.environ.get(ENVIRONMENT_VARIABLE) or None
    installed = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    if wanted is None:
        return _only(installed)
    path = Path(wanted)
    if path.is_dir():
        if not (path / FILE_NAME).is_file():
            raise ModelError(f"{path}: a folder without {FILE_NAME}. Make it: bintally export {path}")
        return path / FILE_NAME
    if path.is_file():
        return path
    if wanted in installed:
        return _file_of(installed[wanted])
    names = ", ".join(sorted(installed)) or "none"
    raise ModelError(f"{wanted}: neither a file nor an installed model (installed: {names}). {_HOW_TO_GET_ONE}")


def _only(installed: dict[str, EntryPoint]) -> Path:
    if not installed:
        raise ModelError(f"no model was named and none is installed. {_HOW_TO_GET_ONE}")
    if len(installed) > 1:
        raise ModelError(f"several models are installed: choose one with --model {' | '.join(sorted(installed))}")
    return _file_of(next(iter(installed.values())))


def _file_of(entry: EntryPoint) -> Path:
    """An entry point names a function without arguments that gives the model file's path."""
    path = Path(entry.load()())
    if not path.is_file():
        raise ModelError(f"installed model {entry.name!r} names {path}, which is not there; install it again")
    return path
