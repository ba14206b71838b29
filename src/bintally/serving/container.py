"""The inference container's program: SageMaker's contract, served by `bintally.serving.server`.

    python -m bintally.serving.container serve [--root /opt/ml] [--host 0.0.0.0]

SageMaker unpacks `model.tar.gz` to ROOT/model and calls GET /ping and POST /invocations on port 8080, or on
`SAGEMAKER_BIND_TO_PORT`. No other port is opened, so there is nothing to choose from `SAGEMAKER_SAFE_PORT_RANGE`.
Refuses to be an endpoint of several models. Source: "Custom Inference Code with Hosting Services", "Custom Inference
Code with Batch Transform" and "Use Amazon SageMaker AI elastic inference ports" in SageMaker's developer guide.
"""

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bintally.errors import BintallyError, ModelError, SettingsError
from bintally.inference.find import FILE_NAME
from bintally.serving.server import serve
from bintally.serving.settings import MIB, ServeSettings

ROOT = Path("/opt/ml")
ROOT_VARIABLE = "BINTALLY_ML_ROOT"
_PORT = 8080
# What SageMaker and its SDK call settings of ours, the later going before the earlier.
_NAMES = {
    "MODEL_SERVER_WORKERS": "threads",
    "SAGEMAKER_MODEL_SERVER_WORKERS": "threads",
    "MODEL_SERVER_TIMEOUT": "deadline_seconds",
    "SAGEMAKER_MODEL_SERVER_TIMEOUT": "deadline_seconds",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the model under the root until told to end; exit code 0 then, 2 or 6 where it cannot begin."""
    parser = argparse.ArgumentParser(description="Bintally's inference container", allow_abbrev=False)
    parser.add_argument("task", choices=["serve"], help="what SageMaker calls the container with")
    parser.add_argument(
        "--root", type=Path, default=Path(os.environ.get(ROOT_VARIABLE, ROOT)), help="instead of /opt/ml"
    )
    parser.add_argument("--host", default="0.0.0.0", help="where to listen")  # noqa: S104 - a container's own network
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        settings = settings_of(os.environ, options.root)
        serve(settings, host=options.host, port=port_of(os.environ), said=_say)
    except BintallyError as error:
        _say(str(error))
        sys.exit(6 if isinstance(error, ModelError) else 2)  # as the command line has it
    except KeyboardInterrupt:
        sys.exit(130)


def settings_of(environment: Mapping[str, str], root: Path) -> ServeSettings:
    """What the container serves, by its environment.

    Raises:
        ModelError: if the archive held no model.
        SettingsError: if the environment asks for what cannot be.
    """
    if environment.get("SAGEMAKER_MULTI_MODEL", "false").lower() == "true":
        raise SettingsError(
            "SAGEMAKER_MULTI_MODEL is true, but this container serves one model. "
            "Create the model with Mode SingleModel, and an endpoint for each"
        )
    model = root / "model" / FILE_NAME
    if not model.is_file():
        raise ModelError(f"{model}: not there. The model's archive must hold {FILE_NAME}: bintally export RUN makes it")
    names = {
        f"BINTALLY_SERVE_{ours.upper()}": environment[name] for name, ours in _NAMES.items() if name in environment
    }
    settings = ServeSettings.from_environment({**names, **environment}, model=model)
    payload_bytes = _whole(environment, "SAGEMAKER_MAX_PAYLOAD_IN_MB", 0) * MIB
    at_once = _whole(environment, "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", 0)
    return settings.model_copy(
        update={
            "max_body_bytes": max(settings.max_body_bytes, payload_bytes),
            "max_held_bytes": max(settings.max_held_bytes, payload_bytes * max(1, at_once)),
            "queue": max(settings.queue, at_once),
        }
    )


def port_of(environment: Mapping[str, str]) -> int:
    """The port that SageMaker wants to find the container at.

    >>> port_of({}), port_of({"SAGEMAKER_BIND_TO_PORT": "9001"})
    (8080, 9001)
    """
    return _whole(environment, "SAGEMAKER_BIND_TO_PORT", _PORT)


def _whole(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "").strip() or str(default)
    if not (text.isascii() and text.isdecimal()):
        raise SettingsError(f"{name}: expected a whole number, got {text!r}")
    return int(text)


def _say(sentence: str) -> None:
    sys.stderr.write(f"bintally: {sentence}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
