"""Several checkpoints that answer as one."""

import copy
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from bintally.data.manifest import Manifest, Split, read_manifest
from bintally.data.prepare import prepare
from bintally.data.prepare_settings import PrepareSettings
from bintally.data.store import open_store
from bintally.errors import CheckpointError, ManifestError, ModelError
from bintally.export import HALF_TOLERANCE, export, halved, model_facts
from bintally.inference.engine import Engine
from bintally.models.calibration import Calibration, fit_calibration
from bintally.models.checkpoint import Checkpoint, build_network
from bintally.models.dataset import PhotoDataset
from bintally.models.ensemble import Ensemble


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    return torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def other(tiny_checkpoint: Checkpoint, photos: torch.Tensor) -> Checkpoint:
    """Another network for the same task: untrained, but sharp enough to tell photos apart."""
    torch.manual_seed(3)
    facts = tiny_checkpoint.facts.model_copy(update={"name": "other", "temperature": 0.02, "biases": ()})
    network = build_network(facts.settings, facts.classes).train()
    with torch.no_grad():
        for _ in range(20):  # gives its batch norms something to go by
            network(photos)
    return Checkpoint(network=network.eval(), facts=facts)


@torch.inference_mode()
def answers(model: Checkpoint, photos: torch.Tensor) -> torch.Tensor:
    return torch.softmax(model.facts.calibration(model.network(photos)), dim=1)


def changed(model: Checkpoint, **provenance: str) -> Checkpoint:
    made = model.facts.provenance.model_copy(update=provenance)
    return Checkpoint(network=model.network, facts=model.facts.model_copy(update={"name": "x", "provenance": made}))


@torch.inference_mode()
def test_one_alone_answers_as_it_did(tiny_checkpoint: Checkpoint, photos: torch.Tensor) -> None:
    alone = Ensemble([tiny_checkpoint])
    assert alone.is_plain
    torch.testing.assert_close(alone(photos), answers(tiny_checkpoint, photos))


@torch.inference_mode()
def test_two_answer_with_their_mean(tiny_checkpoint: Checkpoint, other: Checkpoint, photos: torch.Tensor) -> None:
    both = Ensemble([tiny_checkpoint, other])
    mean = (answers(tiny_checkpoint, photos) + answers(other, photos)) / 2
    torch.testing.assert_close(both(photos), mean)
    assert not torch.allclose(mean, answers(other, photos), atol=0.01)


@torch.inference_mode()
def test_a_photo_and_its_mirror_image_get_one_answer(other: Checkpoint, photos: torch.Tensor) -> None:
    mirrored = Ensemble([other], mirror=True)
    torch.testing.assert_close(mirrored(photos), mirrored(photos.flip(2)))
    assert not torch.allclose(answers(other, photos), answers(other, photos.flip(2)), atol=1e-3)


def test_the_mean_is_calibrated_on_the_calibration_split(
    tiny_checkpoint: Checkpoint, other: Checkpoint, drawn: Manifest
) -> None:
    both = Ensemble([tiny_checkpoint, other], mirror=True)
    steps: list[tuple[int, int]] = []
    assert both.calibrate(drawn, progress=lambda done, total: steps.append((done, total))) is both
    assert steps[-1][0] == steps[-1][1] == len(steps)
    settings = tiny_checkpoint.facts.settings
    data = PhotoDataset(
        drawn.usable(Split.CALIBRATION, settings.data.excluded_flags),
        drawn.root,
        classes=tiny_checkpoint.facts.classes,
        settings=settings,
        augment=None,
    )
    photos = torch.stack([data[0, index][0] for index in range(len(data))])

    with torch.inference_mode():
        logits = both.logits(photos)
    expected = fit_calibration(logits, data.labels)
    assert expected.temperature != 1
    assert both.calibration.temperature == pytest.approx(expected.temperature, rel=1e-3)
    assert both.calibration.biases == pytest.approx(expected.biases, abs=1e-3)


def test_another_split_does_not_calibrate(tiny_checkpoint: Checkpoint, drawn: Manifest) -> None:
    elsewhere = Ensemble([changed(tiny_checkpoint, split_hash="another")], mirror=True)
    with pytest.raises(CheckpointError, match="but x was trained on split another; pass the dataset"):
        elsewhere.calibrate(drawn)


@pytest.mark.parametrize("what", ["manifest_hash", "split_hash", "licence"])
def test_members_of_other_photos_splits_or_licences_are_refused(what: str, tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match=r"tiny and x cannot answer as one: their (photos|split|licence) differ"):
        Ensemble([tiny_checkpoint, changed(tiny_checkpoint, **{what: "another"})])


def test_photos_prepared_at_another_side_do_not_calibrate(
    tiny_checkpoint: Checkpoint, other: Checkpoint, drawn: Manifest, tmp_path: Path
) -> None:
    prepare(drawn, open_store(str(tmp_path / "small"), create=True), PrepareSettings(side_px=48))
    with pytest.raises(ManifestError, match="prepared at 48 px, but tiny sees 32 px"):
        Ensemble([tiny_checkpoint, other]).calibrate(read_manifest(tmp_path / "small"))


def test_members_of_another_side_are_refused(tiny_checkpoint: Checkpoint) -> None:
    seen = tiny_checkpoint.facts.settings.data.model_copy(update={"side_px": 64})
    settings = tiny_checkpoint.facts.settings.model_copy(update={"data": seen})
    facts = tiny_checkpoint.facts.model_copy(update={"settings": settings})
    with pytest.raises(CheckpointError, match="their photos' side differ"):
        Ensemble([tiny_checkpoint, Checkpoint(network=tiny_checkpoint.network, facts=facts)])


def test_members_of_other_counts_are_refused(tiny_checkpoint: Checkpoint) -> None:
    facts = tiny_checkpoint.facts.model_copy(update={"low": 1})
    with pytest.raises(CheckpointError, match="their counts differ"):
        Ensemble([tiny_checkpoint, Checkpoint(network=tiny_checkpoint.network, facts=facts)])


@pytest.mark.parametrize("half", [False, True])
def test_as_a_model_file(
    half: bool, tiny_checkpoint: Checkpoint, other: Checkpoint, photos: torch.Tensor, tmp_path: Path
) -> None:
    both = Ensemble([tiny_checkpoint, other], mirror=True)
    both.calibration = Calibration(0.7, (0.1, -0.2, 0.3, 0.0, 0.05, -0.4))
    difference = export(both, tmp_path / "both.onnx", name="both", half=half)
    engine = Engine(tmp_path / "both.onnx")
    with torch.inference_mode():
        wanted = both(photos).numpy()
    np.testing.assert_allclose(engine.predict_ready(photos.numpy()), wanted, atol=HALF_TOLERANCE if half else 1e-4)
    assert difference <= (HALF_TOLERANCE if half else 1e-4)
    facts = engine.facts
    assert (facts.name, facts.mirror) == ("both", True)
    assert Calibration(facts.temperature, facts.biases) == both.calibration
    settings = tiny_checkpoint.facts.provenance.settings_hash
    assert facts.members == (f"tiny (settings {settings})", f"other (settings {settings})")
    assert facts.metrics == {}
    whole = model_facts(both)
    assert whole.name == "tiny"
    stored = onnx.load(tmp_path / "both.onnx").graph.initializer
    kinds = {each.data_type for each in stored if math.prod(each.dims) >= 4_096}
    assert kinds == {onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT}


def test_what_16_bits_cannot_hold_is_not_written(other: Checkpoint, tmp_path: Path) -> None:
    network = copy.deepcopy(other.network)
    with torch.no_grad():
        next(weights for weights in network.parameters() if weights.numel() > 4_096).mul_(1e6)
    with pytest.raises(ModelError, match=r"more than 0\.001; not written"):
        export(Checkpoint(network=network, facts=other.facts), tmp_path / "m.onnx", half=True)
    assert not list(tmp_path.iterdir())


def test_halving_leaves_the_graph_it_was_given(tiny_run: Path) -> None:
    graph = onnx.load(tiny_run / "model.onnx")
    before = graph.SerializeToString()
    assert len(halved(graph).SerializeToString()) < 0.6 * len(before)
    assert graph.SerializeToString() == before
