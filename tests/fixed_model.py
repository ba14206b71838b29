"""A model file that says the same of every photo: for tests of what is made of an answer."""

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper
from tests.tiny_model import SIDE_PX, tiny_facts

from bintally.inference.model_file import INPUT_NAME, METADATA_KEY, OUTPUT_NAME


def write_fixed_model(
    path: Path,
    probabilities: Sequence[float],
    *,
    metadata: dict[str, str] | None = None,
    known_low: int = 0,
    known_high: int | None = None,
) -> Path:
    """A model with these probabilities over 0..K; `metadata` instead of its facts, where given."""
    size = len(probabilities)
    photos = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["n", SIDE_PX, SIDE_PX, 3])
    answer = helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["n", size])
    constants = [
        helper.make_tensor("first", TensorProto.INT64, [1], [0]),
        helper.make_tensor("second", TensorProto.INT64, [1], [1]),
        helper.make_tensor("size", TensorProto.INT64, [1], [size]),
        helper.make_tensor("row", TensorProto.FLOAT, [1, size], list(probabilities)),
    ]
    nodes = [
        helper.make_node("Shape", [INPUT_NAME], ["shape"]),
        helper.make_node("Slice", ["shape", "first", "second"], ["n"]),
        helper.make_node("Concat", ["n", "size"], ["wanted"], axis=0),
        helper.make_node("Expand", ["row", "wanted"], [OUTPUT_NAME]),
    ]
    graph = helper.make_graph(nodes, "fixed", [photos], [answer], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    facts = tiny_facts().model_copy(
        update={"name": "fixed", "last_count": size - 1, "known_low": known_low, "known_high": known_high}
    )
    helper.set_model_props(model, {METADATA_KEY: facts.model_dump_json()} if metadata is None else metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
