"""Which model file is meant."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bintally.errors import ModelError
from bintally.inference import library
from bintally.inference.find import ENVIRONMENT_VARIABLE, FILE_NAME, find_model
from bintally.inference.library import ENTRY_POINT_GROUP

HOW = r"Get one .*bintally\[abid\]'.* Make one: bintally train DATA .*bintally export RUN.*--model"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "run" / FILE_NAME
    path.parent.mkdir()
    path.write_bytes(b"a model")
    return path


def install(monkeypatch: pytest.MonkeyPatch, **models: Path) -> None:
    """As if packages were installed that bring these models."""
    for name, path in models.items():
        monkeypatch.setattr(library, f"_test_{name}", lambda path=path: str(path), raising=False)
    entries = [EntryPoint(name, f"bintally.inference.library:_test_{name}", ENTRY_POINT_GROUP) for name in models]
    monkeypatch.setattr(library, "entry_points", lambda group: entries if group == ENTRY_POINT_GROUP else [])


pytestmark = pytest.mark.usefixtures("no_models")


def test_a_file(model: Path) -> None:
    assert find_model(str(model)) == model


def test_a_runs_folder(model: Path) -> None:
    assert find_model(str(model.parent)) == model


def test_a_run_that_was_not_exported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"without {FILE_NAME}. Make it: bintally export {tmp_path}"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("environment", [None, ""], ids=["unset", "empty"])
def test_none_at_all_says_how_to_get_one(environment: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if environment is not None:
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, environment)
    with pytest.raises(ModelError, match=f"no model was named and none is installed. {HOW}"):
        find_model(None)


def test_neither_file_nor_name_says_so(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    install(monkeypatch, zebra=model, ant=model)
    with pytest.raises(ModelError, match=rf"nowhere: neither a file nor an installed model \(.*ant, zebra\). {HOW}"):
        find_model("nowhere")


def test_the_environment_names_one(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(model))
    assert find_model(None) == model


def test_what_is_said_goes_before_the_environment(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"another")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(model))
    assert find_model(str(other)) == other


def test_the_only_installed_one(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ant=model)
    assert find_model(None) == model


def test_an_installed_one_by_name(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ant=model, zebra=tmp_path / "zebra.onnx")
    assert find_model("ant") == model


def test_a_folder_of_that_name_does_not_hide_it(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ant=model)
    (tmp_path / "ant").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_model("ant") == model


def test_what_the_environment_says_wrongly_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "nowhere")
    with pytest.raises(ModelError, match=rf"^\${ENVIRONMENT_VARIABLE}: nowhere: neither a file"):
        find_model(None)


def test_a_name_that_cannot_be_one() -> None:
    with pytest.raises(ModelError, match=r"cannot be read \(File name too long\)"):
        find_model("x" * 300)


def test_several_installed_ones_are_a_question(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, zebra=model, ant=model)
    with pytest.raises(ModelError, match=r"--model ant \| zebra"):
        find_model(None)


def test_an_installed_one_whose_file_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ant=tmp_path / "gone.onnx")
    with pytest.raises(ModelError, match=r"'ant' names .*gone\.onnx, which is not there"):
        find_model(None)
