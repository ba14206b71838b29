"""A checkpoint: the network's weights, and everything needed to rebuild and to judge it.

`checkpoint.safetensors` holds tensors and no code; `checkpoint.json` holds settings, classes, calibration,
provenance and metrics. Refuses a checkpoint of another version and one whose weights are not its settings'.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, FiniteFloat, PositiveFloat, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bintally.data.files import whole_file
from bintally.domain.classes import CountClasses
from bintally.errors import CheckpointError
from bintally.models.calibration import Calibration
from bintally.models.network import CountNetwork
from bintally.models.provenance import Provenance
from bintally.settings import RunSettings

FORMAT_VERSION = 1
WEIGHTS_NAME = "checkpoint.safetensors"
FACTS_NAME = "checkpoint.json"


class CheckpointFacts(BaseModel):
    """`checkpoint.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = FORMAT_VERSION
    name: str
    settings: RunSettings
    low: int
    high: int
    open_ended: bool
    temperature: PositiveFloat
    biases: tuple[FiniteFloat, ...] = ()  # one for each class; none: calibrated by temperature alone, as at first
    provenance: Provenance
    epochs_run: int
    best_epoch: int
    seconds: float
    sittings: int = 1
    metrics: dict[str, float]

    @property
    def classes(self) -> CountClasses:
        """The counts that the network tells apart."""
        return CountClasses(low=self.low, high=self.high, open_ended=self.open_ended)

    @property
    def calibration(self) -> Calibration:
        """What the network's logits go through."""
        return Calibration(self.temperature, self.biases)

    @model_validator(mode="after")
    def _classes_are_a_range(self) -> Self:
        if len(self.biases) not in {0, self.classes.size}:
            raise ValueError(f"biases: expected one for each of {self.classes.size} classes, got {len(self.biases)}")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A network in inference mode, with its facts."""

    network: CountNetwork
    facts: CheckpointFacts


def build_network(settings: RunSettings, classes: CountClasses, *, hub: bool = False) -> CountNetwork:
    """The network that `settings` describe; see `CountNetwork` for errors."""
    return CountNetwork(settings.model, classes=classes.size, mean=settings.data.mean, std=settings.data.std, hub=hub)


def save_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    """Write both files into `run`; the facts last, so that a checkpoint with facts is whole."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.network.state_dict().items()}
    with whole_file(run / WEIGHTS_NAME) as part:
        save_file(state, part)
    with whole_file(run / FACTS_NAME) as part:
        part.write_text(checkpoint.facts.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_facts(run: Path) -> CheckpointFacts:
    """Read a run's `checkpoint.json`.

    Raises:
        CheckpointError: if it is missing, damaged or of another version.
    """
    path = run / FACTS_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: no finished run there. Train one: bintally train DATA --recipe NAME --out {run}"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path}: checkpoint version {version}, but this Bintally reads {FORMAT_VERSION}")
    try:
        return CheckpointFacts.model_validate(values)
    except ValidationError as error:
        raise CheckpointError(f"{path}: not a checkpoint's facts: {error}") from error


def load_checkpoint(run: Path) -> Checkpoint:
    """Rebuild a run's network with its weights, in inference mode.

    Raises:
        CheckpointError: if the run is missing, damaged, or its weights do not fit its settings.
    """
    facts = read_facts(run)
    path = run / WEIGHTS_NAME
    network = build_network(facts.settings, facts.classes)
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). Train the run again") from error
    load_state(network, state, path)
    return Checkpoint(network=network.eval(), facts=facts)


def load_state(network: CountNetwork, state: dict[str, torch.Tensor], path: Path) -> None:
    """Put `state` into `network`.

    Raises:
        CheckpointError: naming `path` and what does not fit.
    """
    wanted = network.state_dict()
    missing = sorted(k for k in wanted if k not in state)
    unknown = sorted(k for k in state if k not in wanted)
    other = [f"{k} {tuple(state[k].shape)} for {tuple(wanted[k].shape)}" for k in sorted(wanted) if k in state
             and state[k].shape != wanted[k].shape]  # fmt: skip
    if missing or unknown or other:
        raise CheckpointError(
            f"{path}: the checkpoint does not fit the recipe: {len(missing)} tensors missing {missing[:2]}, "
            f"{len(unknown)} unknown {unknown[:2]}, of another shape {other[:2]}. "
            "Use the recipe and --counts it was trained with"
        )
    network.load_state_dict(state)
