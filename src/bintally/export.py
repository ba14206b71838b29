"""Checkpoints to model file: networks, normalising, calibration and facts in one ONNX file, checked for parity."""

import logging
import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from bintally.data.files import cannot_write, whole_file
from bintally.data.published import shareable
from bintally.errors import ModelError
from bintally.inference.model_file import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelFacts
from bintally.inference.probe import made_photos
from bintally.models.checkpoint import Checkpoint, CheckpointFacts
from bintally.models.ensemble import Ensemble

TOLERANCE = 1e-4
HALF_TOLERANCE = 1e-3
_LARGE = 4_096  # smaller weights stay in 32 bits: few bytes, and rounding them changes most (results/experiments.csv)
_OPSET = 18


class ServedNetwork(nn.Module):
    """What is exported: photos uint8[N,S,S,3] to probabilities float32[N,K+1] over 0..K."""

    def __init__(self, model: Checkpoint | Ensemble) -> None:
        super().__init__()
        self.ensemble = Ensemble.of(model)
        classes = self.ensemble.facts[0].classes
        self.padding = (classes.low, classes.last_count - classes.high)

    def forward(self, photos: Tensor) -> Tensor:
        """Calibrated probabilities."""
        return nn.functional.pad(self.ensemble(photos), self.padding)


def export(model: Checkpoint | Ensemble, path: Path, *, name: str = "", half: bool = False) -> float:
    """Write a model file: whole and equal to what was trained, or not at all.

    Args:
        model: one checkpoint, or several that answer as one.
        path: the file.
        name: what it calls itself; empty: the first checkpoint's name.
        half: keep weights in 16 bits: half the bytes. ONNX Runtime computes in 32 all the same.

    Returns:
        The largest difference in probability between what was trained and the file, on photos made for the check.

    Raises:
        CannotWriteError: if the file cannot be written.
        ModelError: if that difference is above 1e-4, or 1e-3 where weights are kept in 16 bits.
    """
    network = ServedNetwork(model).eval()
    try:
        with whole_file(path) as part:
            return _write(network, part, path, name=name, half=half)
    except OSError as error:
        raise cannot_write(path, error) from error


def _write(network: ServedNetwork, part: Path, path: Path, *, name: str, half: bool) -> float:
    side = network.ensemble.facts[0].settings.data.side_px
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
    graph = lean(halved(program.model_proto) if half else program.model_proto)
    facts = model_facts(network.ensemble, name=name).model_copy(update={"probe": _probe(network, side)})
    onnx.helper.set_model_props(graph, {METADATA_KEY: facts.model_dump_json()})
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    onnx.save(graph, part)
    difference = parity(network, part, side)
    if not difference <= tolerance:  # nan is no parity either
        raise ModelError(
            f"{path}: the model file differs from the checkpoint by {difference:.2g} in probability, "
            f"more than {tolerance}; not written"
        )
    return difference


def model_facts(model: Checkpoint | Ensemble, *, name: str = "") -> ModelFacts:
    """What of checkpoints' facts travels in the model file; of several, the first one's stand for all."""
    ensemble = Ensemble.of(model)
    facts = ensemble.facts[0]
    low, high = facts.classes.known_counts
    calibration = facts.calibration if ensemble.is_plain else ensemble.calibration
    return ModelFacts(
        name=name or facts.name,
        last_count=facts.classes.last_count,
        known_low=low,
        known_high=high,
        side_px=facts.settings.data.side_px,
        mean=facts.settings.data.mean,
        std=facts.settings.data.std,
        temperature=calibration.temperature,
        biases=calibration.biases,
        provenance=facts.provenance.model_copy(update={"source": shareable(facts.provenance.source)}),
        metrics=facts.metrics if ensemble.is_plain else {},
        members=() if len(ensemble.facts) == 1 else tuple(_member(each) for each in ensemble.facts),
        mirror=ensemble.mirror,
    )


def lean(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph without the exporter's notes: where in which source file each node came from, and shapes between.

    They are a sixth of a file of several networks, and name folders of the machine it was made on.
    """
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.initializer):
        del value.metadata_props[:]
    del graph.graph.value_info[:]
    del graph.graph.metadata_props[:]
    return graph


def halved(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with its large weights in 16 bits, cast to 32 as the file is opened."""
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    casts = []
    for tensor in result.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and math.prod(tensor.dims) >= _LARGE:
            name = tensor.name
            small = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(small, f"{name}.half"))
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *result.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def _member(facts: CheckpointFacts) -> str:
    return f"{facts.name} (settings {facts.provenance.settings_hash})"


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
