"""A model file of a few hundred bytes, made without torch: for tests of what happens around a model."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from bintally.inference.model_file import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelFacts
from bintally.models.provenance import Provenance

LAST_COUNT = 3
SIDE_PX = 8


def write_tiny_model(path: Path) -> Path:
    """A model that believes 2 of every photo, a little more firmly the brighter the photo is."""
    photos = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["n", SIDE_PX, SIDE_PX, 3])
    answer = helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["n", LAST_COUNT + 1])
    axes = helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 1])
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [1, LAST_COUNT + 1], [0.0, 0.0, 1 / 255, 0.0])
    bias = helper.make_tensor("bias", TensorProto.FLOAT, [1, LAST_COUNT + 1], [0.0, 1.0, 2.0, 1.0])
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["column"]),
        helper.make_node("MatMul", ["column", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT_NAME], axis=1),
    ]
    graph = helper.make_graph(nodes, "tiny", [photos], [answer], [axes, shape, scale, bias])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: tiny_facts().model_dump_json()})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def tiny_facts() -> ModelFacts:
    """What the tiny model says of itself."""
    provenance = Provenance(
        bintally_version="0",
        created="2025-01-01T00:00:00+00:00",
        source="made for tests",
        manifest_hash="0" * 12,
        split_hash="0" * 12,
        settings_hash="0" * 12,
        weights="none",
        licence="Apache-2.0",
    )
    return ModelFacts(
        name="tiny",
        last_count=LAST_COUNT,
        known_low=0,
        known_high=None,
        side_px=SIDE_PX,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        temperature=1.0,
        provenance=provenance,
        metrics={},
    )
