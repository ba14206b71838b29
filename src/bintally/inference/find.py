"""Which model file is meant: a path, a run, the name of one that is installed or was added, or the default."""

import os
from pathlib import Path

from bintally.errors import ModelError
from bintally.inference.library import added_names, installed_names, known_model

ENVIRONMENT_VARIABLE = "BINTALLY_MODEL"
FILE_NAME = "model.onnx"
HOW_TO_GET_ONE = (
    "Get one for non-commercial use: pip install 'bintally[abid]', or in a checkout "
    "pip install ./packages/bintally-model-abid. "
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
    if model:
        return _named(model)
    if wanted := os.environ.get(ENVIRONMENT_VARIABLE):
        try:
            return _named(wanted)
        except ModelError as error:
            raise ModelError(f"${ENVIRONMENT_VARIABLE}: {error}") from error
    return _default()


def _named(wanted: str) -> Path:
    path = Path(wanted)
    try:
        for file in (path, path / FILE_NAME):
            if file.is_file():
                return file
        is_folder = path.is_dir()
    except OSError as error:  # below a folder that may not be read, or a name that cannot be one
        raise ModelError(f"{wanted}: cannot be read ({error.strerror})") from error
    names = sorted({*installed_names(), *added_names()})
    if wanted in names:
        return known_model(wanted).path
    if is_folder:
        raise ModelError(f"{path}: a folder without {FILE_NAME}. Make it: bintally export {path}")
    here = ", ".join(names) or "none"
    raise ModelError(f"{wanted}: neither a file nor an installed model (installed: {here}). {HOW_TO_GET_ONE}")


def _default() -> Path:
    names = installed_names() or added_names()
    if not names:
        raise ModelError(f"no model was named and none is installed. {HOW_TO_GET_ONE}")
    if len(names) > 1:
        raise ModelError(f"several models are installed: choose one with --model {' | '.join(names)}")
    return known_model(names[0]).path
