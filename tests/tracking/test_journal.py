"""What is noted is there after a crash, once."""

from pathlib import Path

import pytest

from bintally.tracking.journal import FILE_NAME, Journal, Point, format_points, parse_points

ONE, TWO = Point(1000, 1, "loss", 0.5), Point(2000, 2, "loss", float("inf"))


def test_what_was_written_is_read_and_noted_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    journal.add([ONE, TWO])
    journal.add([Point(9000, 1, "loss", 0.4), Point(9000, 1, "lr", 0.1)])
    again = Journal(tmp_path / "run")
    assert again.points == journal.points == [ONE, TWO, Point(9000, 1, "lr", 0.1)]
    again.add([TWO])
    assert len((tmp_path / "run" / FILE_NAME).read_text().splitlines()) == 3


def test_half_a_line_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(format_points([ONE]) + "2000,2,lo")
    journal = Journal(tmp_path)
    journal.add([TWO])
    assert Journal(tmp_path).points == [ONE, TWO]


def test_steps_go_on_after_the_last(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.next_step("system/") == 0
    journal.add([Point(1, 4, "system/cpu", 1.0), Point(1, 9, "loss", 1.0)])
    assert journal.next_step("system/") == 5
    journal.clear()
    assert journal.points == []
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize("value", [0.1, float("inf"), -float("inf"), 1e-30, 3.0])
def test_values_come_back_as_they_were(value: float) -> None:
    point = Point(1, 1, "a/b c", value)
    assert parse_points(format_points([point])) == [point]
