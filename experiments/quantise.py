"""A model's weights and activations in 8 bits: what it loses, and what it is faster.

    python experiments/quantise.py MODEL DATA OUT.onnx [--photos 64] [--keep Conv_0 ...] [--method Entropy]

Static quantisation by ONNX Runtime (QDQ, weights by channel), ranges from photos of the train split, batch norms folded
into convolutions first. Figures are of val and calibration, never test; differences photo by photo, with 95 % intervals
by sibling group. Both models are asked in turns, a photo a run, on all cores.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import polars as pl
import torch
from compare import per_photo
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from bintally.data.manifest import Split, read_manifest
from bintally.evaluation.bootstrap import GroupBootstrap, ratio
from bintally.inference.engine import Engine
from bintally.inference.find import find_model
from bintally.inference.model_file import INPUT_NAME
from bintally.models.preprocess import served

_TYPES = ["Conv", "Add", "Clip", "Gemm", "MatMul"]
_BLOCK = 100  # photos that one model is asked before the other


class Photos(CalibrationDataReader):
    """Photos one after the other, as the graph takes them."""

    def __init__(self, photos: list[npt.NDArray[np.uint8]]) -> None:
        self._photos: Iterator[npt.NDArray[np.uint8]] = iter(photos)

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """The next, or nothing."""
        photo = next(self._photos, None)
        return None if photo is None else {INPUT_NAME: photo[None]}


def in_32_bits(path: Path, out: Path) -> None:
    """The same model with its 16-bit weights cast once and for all, for the quantiser looks for plain ones."""
    model = onnx.load(path)
    graph = model.graph
    halves = {each.name: each for each in graph.initializer if each.data_type == onnx.TensorProto.FLOAT16}
    kept = []
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in halves:
            half = halves[node.input[0]]
            whole = onnx.numpy_helper.to_array(half).astype(np.float32)
            graph.initializer.append(onnx.numpy_helper.from_array(whole, node.output[0]))
            graph.initializer.remove(half)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    onnx.save(model, out)


def quantise(path: Path, out: Path, photos: list[npt.NDArray[np.uint8]], *, method: str, keep: list[str]) -> None:
    """Write the model in 8 bits, its facts kept."""
    with tempfile.TemporaryDirectory() as scratch:
        whole, ready = Path(scratch) / "whole.onnx", Path(scratch) / "ready.onnx"
        in_32_bits(path, whole)
        quant_pre_process(str(whole), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(out),
            Photos(photos),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=_TYPES,
            nodes_to_exclude=keep,
            calibrate_method=CalibrationMethod[method],
        )
    model = onnx.load(out)
    onnx.helper.set_model_props(model, {each.key: each.value for each in onnx.load(path).metadata_props})
    onnx.save(model, out)


def ask(engines: list[Engine], photos: list[bytes]) -> tuple[list[npt.NDArray[np.float32]], list[float]]:
    """Each engine's probabilities, and photos a second."""
    found: list[list[npt.NDArray[np.float32]]] = [[] for _ in engines]
    seconds = [0.0 for _ in engines]
    for at in range(0, len(photos), _BLOCK):
        for number, engine in enumerate(engines):
            begun = time.perf_counter()
            found[number].append(engine.predict(photos[at : at + _BLOCK]))
            seconds[number] += time.perf_counter() - begun
    return [np.concatenate(each) for each in found], [len(photos) / each for each in seconds]


def main() -> None:
    """Quantise, and print what changed."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", help="a model's name, file or run")
    arguments.add_argument("data", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--photos", type=int, default=64, help="of the train split, to find ranges by")
    arguments.add_argument("--limit", type=int, help="judge by so many photos only")
    arguments.add_argument("--method", default="MinMax", choices=[each.name for each in CalibrationMethod])
    arguments.add_argument("--keep", nargs="*", default=[], help="nodes that stay in 32 bits")
    options = arguments.parse_args()
    path = find_model(options.model)
    plain = Engine(path)
    manifest = read_manifest(options.data)
    train = manifest.usable(Split.TRAIN)["photo_key"].sample(options.photos, seed=0)
    ranges = [served((options.data / key).read_bytes(), plain.facts.side_px, name=key) for key in train]
    quantise(path, options.out, ranges, method=options.method, keep=options.keep)

    rows = pl.concat([manifest.usable(split) for split in (Split.VAL, Split.CALIBRATION)])
    if options.limit:
        rows = rows.sample(min(options.limit, len(rows)), seed=0)
    (before, after), speeds = ask(
        [plain, Engine(options.out)], [(options.data / key).read_bytes() for key in rows["photo_key"]]
    )
    counts = np.minimum(rows["count"].to_numpy().astype(np.int64), plain.last_count)
    figures = [per_photo(torch.from_numpy(each), counts) for each in (before, after)]
    for name in figures[0]:
        was, now = (each[name] for each in figures)
        inside = ~np.isnan(was)
        off = np.stack([(now - was)[inside], np.ones(inside.sum())], axis=1)
        change = GroupBootstrap([str(group) for group in rows["group"].filter(pl.Series(inside))]).figure(off, ratio)
        print(
            f"{name}: {np.nanmean(was):.4f} -> {np.nanmean(now):.4f} "
            f"({change.value:+.4f}, {change.low:+.4f} to {change.high:+.4f})"
        )
    print(
        f"total variation {np.abs(before - after).sum(axis=1).mean() / 2:.4f}, most {np.abs(before - after).max():.4f}"
    )
    sizes = [each.stat().st_size / 1e6 for each in (path, options.out)]
    print(f"{sizes[0]:.1f} -> {sizes[1]:.1f} MB; {speeds[0]:.1f} -> {speeds[1]:.1f} photos/s")


if __name__ == "__main__":
    main()
