"""The figures of a run as they came, in its folder: what a store that was down is told later.

A line for each: when (UTC, milliseconds), at which step, what, how much. A name has one figure for each step, the
first: what a run that goes on passes for the second time is not written twice. Refuses half a line, as a killed process
leaves it.
"""

import csv
import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

FILE_NAME = "tracking.csv"


@dataclass(frozen=True, slots=True)
class Point:
    """One figure.

    Attributes:
        time_ms: when, UTC, since 1970.
        step: an epoch from 1, an optimiser step, or the how-manieth look at the machine.
        key: what.
        value: how much; may be infinite or no number.
    """

    time_ms: int
    step: int
    key: str
    value: float


class Journal:
    """The file and what stands in it; may be added to from several threads."""

    def __init__(self, run: Path) -> None:
        """Read what is there; half a line at its end is cut off.

        Raises:
            OSError: if the file cannot be read or mended.
        """
        self._path = run / FILE_NAME
        self._lock = threading.Lock()
        self._points: list[Point] = []
        self._seen: set[tuple[str, int]] = set()
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        self._take(parse_points(whole))
        if whole != text:
            self._path.write_text(whole, encoding="utf-8")

    @property
    def points(self) -> list[Point]:
        """All, in the order in which they came."""
        with self._lock:
            return list(self._points)

    def add(self, points: Iterable[Point]) -> None:
        """Write those that are new.

        Raises:
            OSError: if the disk refuses.
        """
        with self._lock:
            fresh = self._take(points)
            if not fresh:
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8", newline="") as file:
                file.write(format_points(fresh))

    def next_step(self, prefix: str) -> int:
        """The step after the last one of the names that begin so."""
        with self._lock:
            return max((point.step for point in self._points if point.key.startswith(prefix)), default=-1) + 1

    def clear(self) -> None:
        """Begin anew."""
        with self._lock:
            self._points.clear()
            self._seen.clear()
            self._path.unlink(missing_ok=True)

    def _take(self, points: Iterable[Point]) -> list[Point]:
        fresh = []
        for point in points:
            if (point.key, point.step) not in self._seen:
                self._seen.add((point.key, point.step))
                fresh.append(point)
        self._points += fresh
        return fresh


def format_points(points: Iterable[Point]) -> str:
    r"""As lines.

    >>> format_points([Point(1000, 1, "val_loss", 0.5)])
    '1000,1,val_loss,0.5\n'
    """
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows((p.time_ms, p.step, p.key, repr(p.value)) for p in points)
    return text.getvalue()


def parse_points(text: str) -> list[Point]:
    r"""From lines; what is none, as after a power cut, is left out.

    >>> parse_points("1000,1,val_loss,0.5\n\0\0\n2000,2")
    [Point(time_ms=1000, step=1, key='val_loss', value=0.5)]
    """
    points = []
    for row in csv.reader(text.replace("\0", "").splitlines()):
        try:
            time_ms, step, key, value = row
            points.append(Point(int(time_ms), int(step), key, float(value)))
        except ValueError:
            continue
    return points


def is_same(one: float, two: float) -> bool:
    """Whether two figures are one and the same, no number included.

    >>> is_same(float("nan"), float("nan")), is_same(0.1, 0.2)
    (True, False)
    """
    return one == two or (math.isnan(one) and math.isnan(two))
