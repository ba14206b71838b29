"""Where SageMaker puts what a training container gets, and where it looks for what the container leaves.

The contract is "How Amazon SageMaker AI Provides Training Information" in its developer guide: files under `/opt/ml`.
Variables `SM_*`, which SageMaker's own images set beside them, win where there are any. Refuses to guess: what is not
there or cannot be read is named.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bintally.errors import SettingsError

ROOT_VARIABLE = "BINTALLY_ML_ROOT"
DEFAULT_ROOT = Path("/opt/ml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The folders of one container.

    Attributes:
        model: becomes `model.tar.gz`.
        output: `data` in it becomes `output.tar.gz`; `failure` in it becomes the job's FailureReason.
        checkpoints: copied to the bucket while the job runs, and back before it goes on.
    """

    root: Path
    model: Path
    output: Path
    checkpoints: Path

    @property
    def reports(self) -> Path:
        """What comes back beside the model."""
        return self.output / "data"

    @property
    def failure(self) -> Path:
        """Says why a job failed."""
        return self.output / "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """The instances of a job, in an order that all of them share."""

    names: tuple[str, ...]
    mine: str
    interface: str  # the network card that they reach each other by
    gpus: int  # in this one

    @property
    def rank(self) -> int:
        """Which of them this is."""
        return self.names.index(self.mine)


def read_layout(environ: Mapping[str, str] = os.environ) -> Layout:
    """The folders, under `/opt/ml` or where the environment says."""
    root = Path(environ.get(ROOT_VARIABLE, DEFAULT_ROOT))
    return Layout(
        root=root,
        model=Path(environ.get("SM_MODEL_DIR", root / "model")),
        output=Path(environ.get("SM_OUTPUT_DIR", root / "output")),
        checkpoints=root / "checkpoints",
    )


def read_hyperparameters(layout: Layout, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the request said under HyperParameters: names to strings.

    Raises:
        SettingsError: if they cannot be read, or are no strings.
    """
    name = "SM_HPS" if "SM_HPS" in environ else "hyperparameters.json"
    held = _from_variable("SM_HPS", environ) if "SM_HPS" in environ else _config(layout, name, default={})
    if not isinstance(held, dict):
        raise SettingsError(f"{name}: expected names and values, got {type(held).__name__}")
    # SageMaker's own images turn strings that are JSON into what they mean; the platform passes strings only.
    return {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in held.items()}


def read_hosts(layout: Layout, environ: Mapping[str, str] = os.environ) -> Hosts:
    """The job's instances; this machine alone, where nothing is said.

    Raises:
        SettingsError: if what is said cannot be read, or this instance is not among them.
    """
    config = _config(layout, "resourceconfig.json", default={})
    if not isinstance(config, dict):
        raise SettingsError(f"resourceconfig.json: expected names and values, got {type(config).__name__}")
    names = _from_variable("SM_HOSTS", environ) if "SM_HOSTS" in environ else config.get("hosts", ["localhost"])
    mine = environ.get("SM_CURRENT_HOST", config.get("current_host", "localhost"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or mine not in names:
        raise SettingsError(f"resourceconfig.json: current_host {mine!r} is not among hosts {names!r}")
    gpus = environ.get("SM_NUM_GPUS")
    return Hosts(
        names=tuple(names),
        mine=mine,
        interface=environ.get("SM_NETWORK_INTERFACE_NAME", config.get("network_interface_name", "")),
        gpus=_gpus() if gpus is None else int(gpus),
    )


def channel(layout: Layout, name: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The folder of an input channel; None: the job has none of that name."""
    told = environ.get(f"SM_CHANNEL_{name.upper()}")
    path = Path(told) if told else layout.root / "input" / "data" / name
    return path if path.is_dir() else None


def _config(layout: Layout, name: str, *, default: object) -> Any:
    path = layout.root / "input" / "config" / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read as JSON ({error})") from error


def _from_variable(name: str, environ: Mapping[str, str]) -> Any:
    try:
        return json.loads(environ[name])
    except ValueError as error:
        raise SettingsError(f"{name}: not JSON ({error})") from error


def _gpus() -> int:
    import torch  # noqa: PLC0415 - slow, and not needed where SM_NUM_GPUS is set

    return torch.cuda.device_count()
