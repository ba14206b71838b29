"""Model files: equal to the checkpoint, with everything in them, whole or not there."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bintally import export as export_module
from bintally.data.manifest import Manifest, Split
from bintally.errors import ModelError
from bintally.export import TOLERANCE, ServedNetwork, export, model_facts, parity
from bintally.inference.engine import Engine
from bintally.inference.model_file import METADATA_KEY, ModelFacts
from bintally.models.checkpoint import Checkpoint, build_network
from bintally.models.preprocess import served


@pytest.fixture(scope="module")
def five(
    drawn: Manifest, tiny_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Checkpoint, Path]:
    """A checkpoint of closed counts 1-5 and its model file: untrained, but sharp enough to tell photos apart."""
    changes = {"low": 1, "high": 5, "open_ended": False, "temperature": 0.05, "biases": (0.3, 0.0, -0.2, 0.1, -0.1)}
    facts = tiny_checkpoint.facts.model_copy(update=changes)
    torch.manual_seed(0)
    network = build_network(facts.settings, facts.classes).train()
    with torch.no_grad():
        for _ in range(20):  # gives its batch norms something to go by
            network(pixels_of(drawn))
    checkpoint = Checkpoint(network=network.eval(), facts=facts)
    path = tmp_path_factory.mktemp("five") / "model.onnx"
    export(checkpoint, path)
    return checkpoint, path


def pixels_of(drawn: Manifest) -> torch.Tensor:
    return torch.from_numpy(np.stack([served(photo, 32) for photo in photos_of(drawn)]))


def photos_of(drawn: Manifest) -> list[bytes]:
    return [(drawn.root / key).read_bytes() for key in drawn.usable(Split.TEST)["photo_key"]]


def expected(checkpoint: Checkpoint, photos: list[bytes]) -> np.ndarray:
    """What the checkpoint itself says, calibrated and over 0..K: float32[N,K+1]."""
    facts = checkpoint.facts
    pixels = np.stack([served(photo, facts.settings.data.side_px) for photo in photos])
    with torch.inference_mode():
        logits = checkpoint.network(torch.from_numpy(pixels))
    return facts.classes.expand(torch.softmax(facts.calibration(logits), dim=1).numpy())


def test_it_names_no_source_file_of_the_machine_it_was_made_on(tiny_run: Path) -> None:
    data = (tiny_run / "model.onnx").read_bytes()
    assert b"site-packages" not in data
    assert b"stack_trace" not in data
    assert b"file:" not in data


def test_the_model_file_equals_the_checkpoint_on_real_photos(
    drawn: Manifest, tiny_checkpoint: Checkpoint, tiny_engine: Engine
) -> None:
    photos = photos_of(drawn)
    wanted = expected(tiny_checkpoint, photos)
    assert wanted.std(axis=0).max() > 0.01, "the photos must differ for this to show anything"
    np.testing.assert_allclose(tiny_engine.predict(photos), wanted, atol=1e-4)


def test_so_it_does_for_closed_counts(drawn: Manifest, five: tuple[Checkpoint, Path]) -> None:
    checkpoint, path = five
    photos = photos_of(drawn)
    engine = Engine(path)
    answers = engine.predict(photos)
    np.testing.assert_allclose(answers, expected(checkpoint, photos), atol=1e-4)
    assert answers.std(axis=0).max() > 0.01
    assert engine.last_count == 6
    assert engine.facts.known_counts == (1, 5)
    assert (answers[:, [0, 6]] == 0).all()
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)


def test_and_for_a_network_that_enlarges_its_photos(
    drawn: Manifest, tiny_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    model = tiny_checkpoint.facts.settings.model.model_copy(update={"enlarged_px": 48})
    settings = tiny_checkpoint.facts.settings.model_copy(update={"model": model})
    network = build_network(settings, tiny_checkpoint.facts.classes).eval()
    network.load_state_dict(tiny_checkpoint.network.state_dict())
    enlarging = Checkpoint(network=network, facts=tiny_checkpoint.facts.model_copy(update={"settings": settings}))
    export(enlarging, tmp_path / "model.onnx")
    photos = photos_of(drawn)
    wanted = expected(enlarging, photos)
    assert abs(wanted - expected(tiny_checkpoint, photos)).max() > 0.01, "or it would not matter"
    np.testing.assert_allclose(Engine(tmp_path / "model.onnx").predict(photos), wanted, atol=1e-4)


def test_the_calibration_is_in_the_graph(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    biases = (0.5, -0.5, 0.2, 0.0, 0.1, 0.3)
    changes = {"temperature": 7.5, "biases": biases}
    hotter = Checkpoint(network=tiny_checkpoint.network, facts=tiny_checkpoint.facts.model_copy(update=changes))
    network = ServedNetwork(hotter).eval()
    photos = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        warm, cold = network(photos), ServedNetwork(tiny_checkpoint).eval()(photos)
    assert not torch.allclose(warm, cold, atol=1e-3)
    logits = tiny_checkpoint.network(photos).detach()
    torch.testing.assert_close(warm, torch.softmax(logits / 7.5 + torch.tensor(biases), dim=1))


@pytest.mark.parametrize("number", [1, 2, 5])
def test_the_batch_size_is_free(number: int, tiny_run: Path) -> None:
    session = onnxruntime.InferenceSession(str(tiny_run / "model.onnx"), providers=["CPUExecutionProvider"])
    photos = np.random.default_rng(0).integers(0, 256, (number, 32, 32, 3), dtype=np.uint8)
    (answers,) = session.run(["probabilities"], {"photos": photos})
    assert answers.shape == (number, 6)
    assert answers.dtype == np.float32


def test_everything_travels_in_the_one_file(tiny_checkpoint: Checkpoint, tiny_run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere.onnx"
    alone.write_bytes((tiny_run / "model.onnx").read_bytes())
    facts = Engine(alone).facts
    settings, provenance = tiny_checkpoint.facts.settings, tiny_checkpoint.facts.provenance
    assert facts.name == tiny_checkpoint.facts.name == "tiny"
    assert facts.last_count == 5
    assert facts.known_counts == (0, None)
    assert facts.temperature == tiny_checkpoint.facts.temperature
    assert facts.biases == tiny_checkpoint.facts.biases != ()
    assert (facts.side_px, facts.mean, facts.std) == (32, settings.data.mean, settings.data.std)
    assert facts.resize == "squash-bicubic"
    assert facts.provenance.source.startswith(f"folder:{Path(provenance.source).name}-")
    assert facts.provenance == provenance.model_copy(update={"source": facts.provenance.source})
    assert facts.provenance.licence == provenance.licence
    assert "NC" in facts.provenance.licence
    assert facts.metrics == tiny_checkpoint.facts.metrics


def test_the_facts_are_plain_json_under_one_key(tiny_run: Path) -> None:
    model = onnx.load(tiny_run / "model.onnx")
    properties = {entry.key: entry.value for entry in model.metadata_props}
    values = json.loads(properties[METADATA_KEY])
    assert values["format_version"] == 1
    assert ModelFacts.model_validate(values).last_count == 5
    assert [value.name for value in model.graph.input] == ["photos"]
    assert [value.name for value in model.graph.output] == ["probabilities"]


def test_the_difference_found_is_given_back(tiny_checkpoint: Checkpoint, tiny_run: Path) -> None:
    difference = parity(ServedNetwork(tiny_checkpoint).eval(), tiny_run / "model.onnx", 32)
    assert 0 <= difference <= TOLERANCE == 1e-4


def test_parity_sees_another_network(five: tuple[Checkpoint, Path]) -> None:
    checkpoint, path = five
    warmer = Checkpoint(network=checkpoint.network, facts=checkpoint.facts.model_copy(update={"temperature": 0.06}))
    assert parity(ServedNetwork(checkpoint).eval(), path, 32) < TOLERANCE
    assert parity(ServedNetwork(warmer).eval(), path, 32) > TOLERANCE


@pytest.mark.parametrize("before", [None, b"an earlier model"], ids=["new file", "over an earlier one"])
def test_what_differs_is_not_written(
    before: bytes | None, tiny_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    if before is not None:
        path.write_bytes(before)
    monkeypatch.setattr(torch.onnx, "export", _quick_program)
    monkeypatch.setattr(export_module, "parity", lambda *_: 2e-4)
    with pytest.raises(ModelError, match=r"model\.onnx: .*differs from the checkpoint by 0\.0002.*not written"):
        export(tiny_checkpoint, path)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == (
        [] if before is None else [("model.onnx", before)]
    )


@pytest.mark.parametrize("difference", [0.0, 1e-4])
def test_what_is_equal_enough_is_written(
    difference: float, tiny_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.onnx, "export", _quick_program)
    monkeypatch.setattr(export_module, "parity", lambda *_: difference)
    assert export(tiny_checkpoint, tmp_path / "new" / "model.onnx") == difference
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.onnx"]


def test_not_even_a_crash_leaves_a_part(
    tiny_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> float:
        raise MemoryError

    monkeypatch.setattr(torch.onnx, "export", _quick_program)
    monkeypatch.setattr(export_module, "parity", crash)
    with pytest.raises(MemoryError):
        export(tiny_checkpoint, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_model_facts_are_the_checkpoints(five: tuple[Checkpoint, Path]) -> None:
    facts = model_facts(five[0])
    assert (facts.last_count, facts.known_low, facts.known_high) == (6, 1, 5)


class _Program:
    def __init__(self) -> None:
        graph = onnx.helper.make_graph([], "nothing", [], [])
        self.model_proto = onnx.load(BytesIO(onnx.helper.make_model(graph).SerializeToString()))


def _quick_program(*_: object, **__: object) -> _Program:
    """Instead of torch's exporter, which takes seconds."""
    return _Program()
