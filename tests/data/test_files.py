import errno
import os
from pathlib import Path

import pytest

from bintally.data.files import cannot_write, whole_file


def test_a_file_and_its_folder_appear_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with whole_file(path) as part:
        part.write_text("all")
        assert not path.exists()
    assert path.read_text() == "all"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_not_replaced(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "name"
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(OSError, match=rf"{os.strerror(errno.EISDIR)}|no file has this name"), whole_file(path):
        pytest.fail("must be refused before anything is written")
    assert path.is_dir() or path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_file_before_and_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")

    def stop_half_way() -> None:
        with whole_file(path) as part:
            part.write_text("ha")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        stop_half_way()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full. To do: free some space, then run the same command again: what is there"),
        (errno.EROFS, "the file system is read-only. To do: choose another folder"),
        (errno.EACCES, "no permission to write there. To do: choose another folder, or have writing allowed"),
        (errno.ENOTDIR, "a file is where a folder is needed. To do: choose another folder, or move the file away"),
        (errno.EISDIR, "a folder is where the file is to be. To do: choose another name"),
        (errno.EIO, f"{os.strerror(errno.EIO)}. To do: check the folder and its disk, then run the same command again"),
    ],
)
def test_what_the_system_refuses_is_one_sentence_with_a_remedy(number: int, words: str) -> None:
    error = cannot_write(Path("photos/1.jpg"), OSError(number, os.strerror(number)))
    assert str(error).startswith(f"photos/1.jpg: cannot write: {words}")


def test_an_error_without_a_number_is_told_in_its_own_words() -> None:
    assert "cannot write: so it was. To do: " in str(cannot_write(Path("x"), OSError("so it was")))


def test_a_full_disk_leaves_the_file_before_and_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")

    def fill() -> None:
        with whole_file(path) as part:
            part.write_text("ha")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fill()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
