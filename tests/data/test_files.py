from pathlib import Path

import pytest

from bintally.data.files import whole_file


def test_a_file_and_its_folder_appear_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with whole_file(path) as part:
        part.write_text("all")
        assert not path.exists()
    assert path.read_text() == "all"
    assert list(path.parent.iterdir()) == [path]


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
