"""Checkpoints: back as they were saved, and refused with a clear word where they cannot be."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny_run import tiny_settings

from bintally.domain.classes import CountClasses
from bintally.errors import CheckpointError, SettingsError
from bintally.models.checkpoint import (
    FACTS_NAME,
    WEIGHTS_NAME,
    Checkpoint,
    build_network,
    load_checkpoint,
    load_state,
    read_facts,
    save_checkpoint,
)


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run, to be spoilt."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def edit(run: Path, **changes: object) -> None:
    path = run / FACTS_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_checkpoint_comes_back_equal(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "new" / "run", tiny_checkpoint)
    again = load_checkpoint(tmp_path / "new" / "run")
    assert again.facts == tiny_checkpoint.facts
    assert again.facts.classes == tiny_checkpoint.facts.classes
    state, wanted = again.network.state_dict(), tiny_checkpoint.network.state_dict()
    assert list(state) == list(wanted)
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)
    assert not again.network.training
    photos = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(again.network(photos), tiny_checkpoint.network(photos))
    assert sorted(path.name for path in (tmp_path / "new" / "run").iterdir()) == [FACTS_NAME, WEIGHTS_NAME]


def test_normalising_comes_back_from_the_settings(tiny_checkpoint: Checkpoint) -> None:
    settings = tiny_checkpoint.facts.settings
    mean, std = tiny_checkpoint.network.mean.flatten(), tiny_checkpoint.network.std.flatten()
    assert mean.tolist() == pytest.approx([255 * value for value in settings.data.mean])
    assert std.tolist() == pytest.approx([255 * value for value in settings.data.std])


def test_no_run_says_how_to_train_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no finished run there.*bintally train DATA"):
        load_checkpoint(tmp_path / "nothing")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_refused(run: Path, version: object) -> None:
    edit(run, format_version=version)
    with pytest.raises(CheckpointError, match=f"checkpoint version {version}, but this Bintally reads 1"):
        load_checkpoint(run)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "version None"),
        ("3", "version None"),
        ('{"format_version": 1}', "not a checkpoint's facts"),
        ("\udcff", "cannot be read"),
    ],
)
def test_damaged_facts_are_refused(run: Path, text: str, said: str) -> None:
    (run / FACTS_NAME).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=f"{FACTS_NAME}: .*{said}"):
        read_facts(run)


@pytest.mark.parametrize(
    "changes",
    [
        {"low": 9, "high": 2},
        {"temperature": 0},
        {"temperature": None},
        {"biases": [0.1]},
        {"colour": "red"},
        {"settings": {"epoch": 1}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_facts_that_cannot_be_are_refused(run: Path, changes: dict[str, object]) -> None:
    edit(run, **changes)
    with pytest.raises(CheckpointError, match="not a checkpoint's facts"):
        load_checkpoint(run)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    "spoil", [Path.unlink, cut, lambda path: path.write_text("text")], ids=["gone", "cut short", "text"]
)
def test_weights_that_cannot_be_read_are_named(run: Path, spoil: Callable[[Path], object]) -> None:
    spoil(run / WEIGHTS_NAME)
    with pytest.raises(CheckpointError, match=f"{WEIGHTS_NAME}: cannot be read .*Train the run again"):
        load_checkpoint(run)


def test_weights_of_another_recipe_do_not_fit(run: Path) -> None:
    other = build_network(tiny_settings(recipe="mobilenetv2"), CountClasses(low=0, high=5, open_ended=True))
    save_file({name: tensor.contiguous() for name, tensor in other.state_dict().items()}, run / WEIGHTS_NAME)
    with pytest.raises(CheckpointError, match=r"the checkpoint does not fit the recipe: \d+ tensors missing .*unknown"):
        load_checkpoint(run)


def test_weights_of_other_counts_do_not_fit(run: Path) -> None:
    edit(run, high=4, biases=[])
    with pytest.raises(CheckpointError, match=r"does not fit the recipe: 0 .*head\.weight \(6, 256\) for \(5, 256\)"):
        load_checkpoint(run)


def test_a_missing_tensor_is_named(run: Path) -> None:
    state = load_file(run / WEIGHTS_NAME)
    del state["head.bias"]
    save_file(state, run / WEIGHTS_NAME)
    with pytest.raises(CheckpointError, match=r"1 tensors missing \['head\.bias'\]"):
        load_checkpoint(run)


def test_state_that_does_not_fit_changes_nothing(tiny_checkpoint: Checkpoint) -> None:
    network = build_network(tiny_checkpoint.facts.settings, tiny_checkpoint.facts.classes)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = {**tiny_checkpoint.network.state_dict(), "more": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"here: .*'more'"):
        load_state(network, state, Path("here"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_backbone_that_is_unknown_here_is_an_error_of_ours(run: Path) -> None:
    facts = json.loads((run / FACTS_NAME).read_text())
    edit(run, settings={**facts["settings"], "model": {"backbone": "net_of_tomorrow"}})
    with pytest.raises(SettingsError, match="net_of_tomorrow"):
        load_checkpoint(run)
