"""`bintally count`: a line per photo, an error in the place of a bad one."""

import errno
import os
import shutil
import struct
import zlib
from pathlib import Path

import pytest
from tests.cli.runner import Bintally
from tests.fixed_model import write_fixed_model
from tests.small_dataset import draw_photo

from bintally.cli.count import name_photos
from bintally.errors import EmptySourceError
from bintally.inference.engine import Engine


def huge_png() -> bytes:
    """The header of a PNG of 30,000 x 30,000 pixels, and hardly any pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 99)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


BAD = {
    "text": (b"this is text, whatever its name says", "expected a JPEG or PNG"),
    "empty": (b"", "no bytes at all"),
    "truncated": (draw_photo(5, side_px=96)[:-400], "damaged or end early"),
    "huge": (huge_png(), "30,000 x 30,000"),
}


@pytest.fixture
def model(tiny_run: Path) -> Path:
    return tiny_run / "model.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos 00.jpg to 05.jpg, one of them below another folder, and a text file."""
    root = tmp_path / "photos"
    (root / "below").mkdir(parents=True)
    for number in range(5):
        (root / f"{number:02}.jpg").write_bytes(draw_photo(number, number))
    (root / "below" / "05.PNG").write_bytes(draw_photo(5, kind="PNG"))
    (root / "notes.txt").write_text("no photo")
    return root


def test_a_line_of_json_has_exactly_these_fields(bintally: Bintally, model: Path, folder: Path) -> None:
    run = bintally("count", folder / "03.jpg", "--model", model, "--json")
    assert run.code == 0
    (line,) = run.lines
    assert list(line) == ["photo", "count", "probabilities", "interval"]
    believed = Engine(model).count((folder / "03.jpg").read_bytes())
    assert line["photo"] == "03.jpg"
    assert line["count"] == believed.mode
    assert line["probabilities"] == believed.probabilities.tolist(), "the very numbers of Python's API"
    assert line["interval"] == list(believed.interval(0.9))


def test_a_folder_is_counted_in_order(bintally: Bintally, model: Path, folder: Path) -> None:
    run = bintally("count", folder, "--model", model.parent, "--json")
    assert run.code == 0
    assert [line["photo"] for line in run.lines] == ["00.jpg", "01.jpg", "02.jpg", "03.jpg", "04.jpg", "below/05.PNG"]
    alone = bintally("count", folder / "04.jpg", "--model", model, "--json").lines[0]
    assert alone == run.lines[4], "alone or in a folder: the same"


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_photo_takes_its_place_and_the_others_are_counted(
    kind: str, bintally: Bintally, model: Path, folder: Path
) -> None:
    data, said = BAD[kind]
    (folder / "02.jpg").write_bytes(data)
    run = bintally("count", folder, "--model", model, "--json")
    assert run.code == 4
    lines = run.lines
    assert [line["photo"] for line in lines] == ["00.jpg", "01.jpg", "02.jpg", "03.jpg", "04.jpg", "below/05.PNG"]
    assert [list(line) for line in lines if "error" in line] == [["photo", "error"]]
    assert lines[2]["photo"] == "02.jpg"
    assert said in str(lines[2]["error"])
    assert said in run.err
    assert "1 of 6 photos could not be counted" in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_photo_is_one_sentence(kind: str, bintally: Bintally, model: Path, tmp_path: Path) -> None:
    data, said = BAD[kind]
    (tmp_path / "bad.jpg").write_bytes(data)
    run = bintally("count", tmp_path / "bad.jpg", "--model", model)
    assert (run.code, run.out) == (4, "")
    assert len(run.err.splitlines()) == 1
    assert run.err.startswith(f"bintally: {tmp_path / 'bad.jpg'}: ")
    assert said in run.err


def test_a_person_reads_a_sentence(bintally: Bintally, tmp_path: Path, photo_file: Path) -> None:
    model = write_fixed_model(tmp_path / "m.onnx", [0.0, 0.05, 0.7, 0.25])
    run = bintally("count", photo_file, "--model", model)
    assert run.out == f"{photo_file.name}: 2 items (70% sure; 90% interval: 2 to 3 or more)\n"
    half = bintally("count", photo_file, "--model", model, "--level", "0.5")
    assert "50% interval: 2 to 2" in half.out


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([0.0, 1.0, 0.0], "1 item ("),
        ([1.0, 0.0, 0.0], "0 items ("),
        ([0.0, 0.0, 1.0], "2 or more items ("),
        ([0.0, 1.0], "1 or more items ("),
    ],
)
def test_one_item_and_many(row: list[float], said: str, bintally: Bintally, tmp_path: Path, photo_file: Path) -> None:
    assert said in bintally("count", photo_file, "--model", write_fixed_model(tmp_path / "m.onnx", row)).out


@pytest.mark.parametrize(
    "arguments", [["count", "PHOTO"], ["verify", "PHOTO", "--expect", "2"]], ids=["count", "verify"]
)
@pytest.mark.usefixtures("no_models")
def test_without_a_model_the_error_says_how_to_get_one(
    arguments: list[str], bintally: Bintally, photo_file: Path
) -> None:
    run = bintally(*[photo_file if argument == "PHOTO" else argument for argument in arguments])
    assert (run.code, run.out) == (6, "")
    assert all(word in run.err for word in ("bintally train", "bintally export", "--model", "BINTALLY_MODEL"))


def test_a_model_that_is_none_is_6(bintally: Bintally, photo_file: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("text")
    for model in (tmp_path / "m.onnx", tmp_path / "gone.onnx", tmp_path):
        run = bintally("count", photo_file, "--model", model)
        assert run.code == 6
        assert str(model) in run.err


def test_the_environment_names_the_model(
    bintally: Bintally, photo_file: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINTALLY_MODEL", str(model))
    assert bintally("count", photo_file).code == 0


@pytest.mark.parametrize("what", ["missing", "empty folder"])
def test_nothing_to_count_is_3(what: str, bintally: Bintally, model: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    if what == "empty folder":
        place.mkdir()
        (place / "notes.txt").write_text("no photo")
    run = bintally("count", place, "--model", model)
    assert run.code == 3
    assert str(place) in run.err


def test_what_is_left_out_of_a_folder_is_said(bintally: Bintally, model: Path, folder: Path) -> None:
    shutil.copy(folder / "00.jpg", folder / "06.jfif")
    for name in (".DS_Store", "._00.jpg"):
        (folder / name).write_bytes(b"the system's")
    run = bintally("count", folder, "--model", model, "--json")
    assert run.code == 0
    assert len(run.lines) == 7
    assert run.err == f"bintally: {folder}: left out, as their names are not a photo's: 1\n"


@pytest.mark.parametrize("verb", [["count"], ["verify", "--expect", "2"]], ids=["count", "verify"])
def test_a_name_that_cannot_be_one_is_3(verb: list[str], bintally: Bintally, model: Path) -> None:
    run = bintally(*verb, "x" * 300, "--model", model)
    assert (run.code, run.out) == (3, "")
    assert "cannot be read (File name too long)" in run.err


def test_a_folder_below_that_cannot_be_read_is_3(
    bintally: Bintally, model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def locked(path: str) -> object:
        if str(path).endswith("below"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    run = bintally("count", folder, "--model", model)
    assert (run.code, run.out) == (3, "")
    assert f"{folder / 'below'}: cannot be read (Permission denied)" in run.err


def test_of_a_file_that_is_too_large_no_more_is_read_than_tells_so(
    bintally: Bintally, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def counted(_engine: Engine, photo: bytes, *, name: str) -> object:
        read.append(len(photo))
        return count(_engine, photo, name=name)

    count = Engine.count
    monkeypatch.setattr(Engine, "count", counted)
    with (tmp_path / "big.jpg").open("wb") as file:
        file.truncate(1 << 30)
    run = bintally("count", tmp_path / "big.jpg", "--model", model)
    assert run.code == 4
    assert "expected at most 33,554,432 bytes, got more" in run.err
    assert read == [33_554_433]


def test_a_name_that_is_no_text_can_be_printed(
    bintally: Bintally, model: Path, photo_file: Path, tmp_path: Path
) -> None:
    shutil.copy(photo_file, tmp_path / "\udcff.jpg")
    assert '"photo": "\\udcff.jpg"' in bintally("count", tmp_path / "\udcff.jpg", "--model", model, "--json").out


class TestNames:
    def test_photos_are_named_by_what_tells_them_apart(self, tmp_path: Path) -> None:
        for name in ("a/1.jpg", "b/1.jpg", "b/2.jpg"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        a, b = tmp_path / "a", tmp_path / "b"
        assert list(name_photos([b]).values()) == ["1.jpg", "2.jpg"]
        assert list(name_photos([tmp_path]).values()) == ["a/1.jpg", "b/1.jpg", "b/2.jpg"]
        assert list(name_photos([a, b]).values()) == [str(a / "1.jpg"), str(b / "1.jpg"), "2.jpg"]

    def test_a_file_given_is_taken_whatever_it_is_called(self, tmp_path: Path) -> None:
        (tmp_path / "photo").write_bytes(b"")
        assert name_photos([tmp_path / "photo"]) == {tmp_path / "photo": "photo"}

    def test_what_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(EmptySourceError, match="nowhere: no such photo or folder"):
            name_photos([tmp_path / "nowhere"])


def test_other_alphabets_stay_readable(bintally: Bintally, model: Path, photo_file: Path, tmp_path: Path) -> None:
    shutil.copy(photo_file, tmp_path / "Fach-Ä.jpg")
    assert '"photo": "Fach-Ä.jpg"' in bintally("count", tmp_path / "Fach-Ä.jpg", "--model", model, "--json").out
