"""Which model file is meant: a path, a run, the name of one that is installed or was added, or the default."""

import os
from pathlib import Path

from bintally.errors import ModelError
from bintally.inference.library import added_names, installed_names, known_model

ENVIRONMENT_VARIABLE = "BINTALLY_MODEL"
FILE_NAME = "model.onnx"
HOW_TO_GET_ONE = (
    "Get one for non-commercial use: pip install 'bintally[abid]'. "
    "Make one: bintally train DATA --recipe NAME --out RUN, then bintally export RUN; "
    f"name it with --model RUN/{FILE_NAME} or ${ENVIRONMENT_VARIABLE}"
)


def find_model(model: str | None) -> Path:
    """The model file that `model` means.

    Args:
        model: a file, a run's folder, or the name of a model that is installed or was added; None:
            `$BINTALLY_MODEL`, else the one installed model, else the one that was added.

    Raises:
        ModelError: if there is none, or several to choose from; says how to get one.
    """
    wanted = model or os.environ.get(ENVIRONMENT_VARIABLE) or None
    if wanted is None:
        return _default()
    path = Path(wanted)
    if path.is_dir():
        if not (path / FILE_NAME).is_file():
            raise ModelError(f"{path}: a folder without {FILE_NAME}. Make it: bintally export {path}")
        return path / FILE_NAME
    if path.is_file():
        return path
    return known_model(_known(wanted)).path


def _known(name: str) -> str:
    names = sorted({*installed_names(), *added_names()})
    if name not in names:
        here = ", ".join(names) or "none"
        raise ModelError(f"{name}: neither a file nor an installed model (installed: {here}). {HOW_TO_GET_ONE}")
    return name


def _default() -> Path:
    names = installed_names() or added_names()
    if not names:
        raise ModelError(f"no model was named and none is installed. {HOW_TO_GET_ONE}")
    if len(names) > 1:
        raise ModelError(f"several models are installed: choose one with --model {' | '.join(names)}")
    return known_model(names[0]).path
