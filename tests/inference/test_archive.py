"""`model.tar.gz`: the same model gives the same bytes, and comes out as it went in."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from tests.tiny_model import tiny_facts, write_tiny_model

from bintally.errors import CannotWriteError, ModelError
from bintally.inference.archive import pack_model, unpack_model
from bintally.inference.model_file import ModelFacts


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "run" / "model.onnx").parent


def tar_of(path: Path, **files: bytes) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name.replace("__", "/").replace("_onnx", ".onnx"))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_what_it_holds(run: Path, tmp_path: Path) -> None:
    archive = pack_model(run, tmp_path / "out" / "model.tar.gz")
    with tarfile.open(archive) as tar:
        assert tar.getnames() == ["facts.json", "model.onnx"]
        facts = tar.extractfile("facts.json")
        assert facts is not None
        assert ModelFacts.model_validate(json.load(facts)) == tiny_facts()
        assert all((each.mtime, each.uid, each.gid, each.uname) == (0, 0, 0, "") for each in tar)


def test_the_same_model_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "model.onnx"
    copy.parent.mkdir()
    copy.write_bytes((run / "model.onnx").read_bytes())
    first, second = pack_model(run, tmp_path / "a.tar.gz"), pack_model(copy, tmp_path / "b" / "model.tar.gz")
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[4:8] == bytes(4), "gzip's own time (RFC 1952, 2.3.1)"


def test_it_comes_out_as_it_went_in(run: Path, tmp_path: Path) -> None:
    model = unpack_model(pack_model(run, tmp_path / "model.tar.gz"), tmp_path / "new" / "folder")
    assert model == tmp_path / "new" / "folder" / "model.onnx"
    assert model.read_bytes() == (run / "model.onnx").read_bytes()


def test_what_is_no_model_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="bintally export"):
        pack_model(tmp_path, tmp_path / "model.tar.gz")
    (tmp_path / "model.onnx").write_text("text")
    with pytest.raises(ModelError, match="not a readable ONNX model"):
        pack_model(tmp_path, tmp_path / "model.tar.gz")
    assert not (tmp_path / "model.tar.gz").exists()


def test_a_place_that_cannot_be_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWriteError):
        pack_model(run, tmp_path / "file" / "model.tar.gz")
    archive = pack_model(run, tmp_path / "model.tar.gz")
    with pytest.raises(CannotWriteError):
        unpack_model(archive, tmp_path / "file")


def test_a_model_deeper_down_is_found_and_nothing_else_is_written(run: Path, tmp_path: Path) -> None:
    data = (run / "model.onnx").read_bytes()
    archive = tar_of(tmp_path / "a.tar.gz", run__model_onnx=data, **{"../evil": b"x", "run__checkpoint": b"y"})
    assert unpack_model(archive, tmp_path / "out" / "in").read_bytes() == data
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["in", "model.onnx"]


@pytest.mark.parametrize(
    ("files", "said"),
    [({}, "got 0"), ({"notes": b"x"}, "got 0"), ({"a__model_onnx": b"x", "b__model_onnx": b"x"}, "got 2")],
)
def test_archives_without_a_model(files: dict[str, bytes], said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=said):
        unpack_model(tar_of(tmp_path / "a.tar.gz", **files), tmp_path / "out")


def test_what_is_no_archive(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such archive"):
        unpack_model(tmp_path / "gone.tar.gz", tmp_path / "out")
    whole = pack_model(run, tmp_path / "model.tar.gz").read_bytes()
    for spoiled in (b"text", b"", whole[: len(whole) // 2], whole[:200] + b"\0" * 50 + whole[250:]):
        (tmp_path / "bad.tar.gz").write_bytes(spoiled)
        with pytest.raises(ModelError, match="Pack the run again"):
            unpack_model(tmp_path / "bad.tar.gz", tmp_path / "out")
    assert not (tmp_path / "out" / "model.onnx").exists()
