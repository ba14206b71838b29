"""The models that are here: brought by packages, or added."""

import base64
import hashlib
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path

import onnx
import pytest
from tests.tiny_model import tiny_facts, write_tiny_model

from bintally.errors import CannotWriteError, ModelError
from bintally.inference import library
from bintally.inference.find import find_model
from bintally.inference.library import (
    CARD_NAME,
    ENTRY_POINT_GROUP,
    Origin,
    add_model,
    added_names,
    installed_names,
    known_model,
)
from bintally.inference.model_file import METADATA_KEY, OUTPUT_NAME
from bintally.inference.probe import made_photos
from bintally.inference.verify import verify_file, verify_model

UNSURE = (0.25, 0.25, 0.25, 0.25)


pytestmark = pytest.mark.usefixtures("no_models")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "run" / "model.onnx")


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as pip leaves it: with a RECORD of its files."""
    path = write_tiny_model(folder / "bins" / "model.onnx")
    (path.parent / CARD_NAME).write_text("# Bins\n")
    info = folder / "bins-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bins\nVersion: 1.2\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
    (info / "RECORD").write_text(f"bins/model.onnx,sha256={digest},{path.stat().st_size}\n")
    monkeypatch.setattr(library, "_test_bins", lambda: path, raising=False)
    entry = EntryPoint("bins", "bintally.inference.library:_test_bins", ENTRY_POINT_GROUP)._for(PathDistribution(info))
    monkeypatch.setattr(library, "entry_points", lambda group: [entry] if group == ENTRY_POINT_GROUP else [])
    return path


def with_probe(path: Path, probe: tuple[float, ...]) -> Path:
    model = onnx.load(path)
    facts = tiny_facts().model_copy(update={"probe": probe})
    onnx.helper.set_model_props(model, {METADATA_KEY: facts.model_dump_json()})
    onnx.save(model, path)
    return path


def test_a_package_brings_one_with_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = install(tmp_path, monkeypatch)
    assert installed_names() == ["bins"]
    found = known_model("bins")
    assert (found.name, found.path, found.origin, found.package) == ("bins", path, Origin.PACKAGE, "bins 1.2")
    assert found.card == "# Bins\n"
    assert verify_model(found).sha256 == found.sha256
    assert find_model(None) == path


def test_a_damaged_file_of_a_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = install(tmp_path, monkeypatch)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ModelError, match=r"sha256 is .* but .* was installed; pip install --force-reinstall bins"):
        verify_model(known_model("bins"))


def test_added_under_the_name_it_calls_itself(model: Path, no_models: Path) -> None:
    (model.parent / CARD_NAME).write_text("# Tiny\n")
    added = add_model(model)
    assert added.path == no_models / "tiny.onnx"
    assert added.path.read_bytes() == model.read_bytes()
    assert added_names() == ["tiny"]
    assert known_model("tiny") == added
    assert added.card == "# Tiny\n"
    assert verify_model(added).facts.name == "tiny"
    assert find_model("tiny") == find_model(None) == added.path


def test_what_a_package_brings_stays_the_default(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = install(tmp_path, monkeypatch)
    add_model(model, "a.mine")
    assert (installed_names(), added_names()) == (["bins"], ["a.mine"])
    assert find_model(None) == path


def test_another_of_that_name_is_replaced_only_when_asked(model: Path) -> None:
    add_model(model)
    with pytest.raises(ModelError, match=r"tiny: a model of that name is here already; .*--name, or pass --replace"):
        add_model(model)
    with_probe(model, verify_answer(model))
    add_model(model, replace=True)
    assert find_model("tiny").read_bytes() == model.read_bytes()


def test_the_card_of_the_one_replaced_goes_with_it(model: Path) -> None:
    (model.parent / CARD_NAME).write_text("# Tiny\n")
    assert add_model(model).card == "# Tiny\n"
    (model.parent / CARD_NAME).unlink()
    assert add_model(model, replace=True).card == ""


def test_a_package_that_comes_later_does_not_hide_what_was_added(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = add_model(model, "bins")
    install(tmp_path, monkeypatch)
    with pytest.raises(ModelError, match=f"bins: a package brings .* and one was added: rename {added.path}"):
        find_model("bins")


def test_a_packages_name_is_not_taken(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    with pytest.raises(ModelError, match=r"choose another with --name$"):
        add_model(model, "bins", replace=True)


@pytest.mark.parametrize("name", ["Tiny", "a/b", "..", " ", "-x", "x" * 65])
def test_a_name_that_is_none(name: str, model: Path, no_models: Path) -> None:
    with pytest.raises(ModelError, match="expected a name of lower-case letters"):
        add_model(model, name)
    assert not no_models.exists()


def test_what_is_no_model_is_not_added(tmp_path: Path, no_models: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not a readable ONNX model"):
        add_model(other, "other")
    assert not no_models.exists()


def test_a_folder_that_cannot_be_written(model: Path, no_models: Path) -> None:
    no_models.parent.mkdir(parents=True)
    no_models.write_text("a file")
    with pytest.raises(CannotWriteError, match="a file is where a folder is needed"):
        add_model(model)


def verify_answer(path: Path) -> tuple[float, ...]:
    from bintally.inference.engine import Engine

    return tuple(Engine(path, threads=1).predict_ready(made_photos(1, 8))[0].tolist())


def test_it_answers_as_where_it_was_exported(model: Path) -> None:
    assert verify_file(model).difference is None
    assert verify_file(with_probe(model, verify_answer(model))).difference == pytest.approx(0, abs=1e-6)


def test_it_answers_otherwise(model: Path) -> None:
    with pytest.raises(ModelError, match=r"answers otherwise than where it was exported, by 0\.\d+"):
        verify_file(with_probe(model, UNSURE))


def test_probabilities_that_are_none(model: Path) -> None:
    graph = onnx.load(model)
    softmax = next(node for node in graph.graph.node if OUTPUT_NAME in node.output)
    softmax.op_type = "Identity"
    softmax.ClearField("attribute")
    onnx.save(graph, model)
    with pytest.raises(ModelError, match="its probabilities add up to"):
        verify_file(model)


def test_a_package_that_does_not_load_stands_in_nobodys_way(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "no_such_module_here:path", ENTRY_POINT_GROUP)
    monkeypatch.setattr(library, "entry_points", lambda group: [broken])
    add_model(model)
    assert find_model("tiny").name == "tiny.onnx"
    with pytest.raises(ModelError, match=r"'broken': its package does not load \(No module named"):
        find_model("broken")
