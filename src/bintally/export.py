"""Checkpoint to model file: network, normalising, temperature and facts in one ONNX file, checked for parity."""

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from bintally.data.files import whole_file
from bintally.errors import ModelError
from bintally.inference.model_file import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelFacts
from bintally.inference.probe import made_photos
from bintally.models.checkpoint import Checkpoint, CheckpointFacts

TOLERANCE = 1e-4
_OPSET = 18


class ServedNetwork(nn.Module):
    """What is exported: photos uint8[N,S,S,3] to probabilities float32[N,K+1] over 0..K."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.network = checkpoint.network
        self.temperature = checkpoint.facts.temperature
        classes = checkpoint.facts.classes
        self.padding = (classes.low, classes.last_count - classes.high)

    def forward(self, photos: Tensor) -> Tensor:
        """Calibrated probabilities."""
        probabilities = torch.softmax(self.network(photos) / self.temperature, dim=1)
        return nn.functional.pad(probabilities, self.padding)


def export(checkpoint: Checkpoint, path: Path) -> float:
    """Write `checkpoint` as a model file: whole and equal to the checkpoint, or not at all.

    Returns:
        The largest difference in probability between network and model file on photos made for the check.

    Raises:
        ModelError: if that difference is above 1e-4.
    """
    network = ServedNetwork(checkpoint).eval()
    side = checkpoint.facts.settings.data.side_px
    example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes={"photos": {0: torch.export.Dim("n")}},
            opset_version=_OPSET,
        )
    if program is None:  # only where it writes the file itself, which is not asked for here
        raise ModelError(f"{path}: torch gave no ONNX program")
    model = program.model_proto
    facts = model_facts(checkpoint.facts).model_copy(update={"probe": _probe(network, side)})
    onnx.helper.set_model_props(model, {METADATA_KEY: facts.model_dump_json()})
    with whole_file(path) as part:
        onnx.save(model, part)
        difference = parity(network, part, side)
        if difference > TOLERANCE:
            raise ModelError(
                f"{path}: the model file differs from the checkpoint by {difference:.2g} in probability, "
                f"more than {TOLERANCE}; not written"
            )
    return difference


def model_facts(facts: CheckpointFacts) -> ModelFacts:
    """What of a checkpoint's facts travels in the model file."""
    low, high = facts.classes.known_counts
    return ModelFacts(
        name=facts.name,
        last_count=facts.classes.last_count,
        known_low=low,
        known_high=high,
        side_px=facts.settings.data.side_px,
        mean=facts.settings.data.mean,
        std=facts.settings.data.std,
        temperature=facts.temperature,
        provenance=facts.provenance,
        metrics=facts.metrics,
    )


def parity(network: ServedNetwork, path: Path, side_px: int) -> float:
    """The largest difference in probability between `network` and the model file at `path`, on 8 made photos."""
    photos = made_photos(8, side_px)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (served,) = session.run([OUTPUT_NAME], {INPUT_NAME: photos})
    with torch.inference_mode():
        trained = network(torch.from_numpy(photos)).numpy()
    return float(np.abs(served - trained).max())


def _probe(network: ServedNetwork, side_px: int) -> tuple[float, ...]:
    with torch.inference_mode():
        probabilities: list[float] = network(torch.from_numpy(made_photos(1, side_px)))[0].tolist()
    return tuple(round(each, 6) for each in probabilities)
