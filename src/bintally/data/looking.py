"""Looks at a dataset's photos, some at a time: figures of those that have none, and whether files are what they were.

Memory holds one decoded photo for each worker, however many photos there are. Refuses to let one photo end the run:
whatever is wrong with it is a finding.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from bintally.data.findings import Finding
from bintally.data.images import decode
from bintally.data.manifest import SCHEMA, Flag, Manifest, has_any_flag
from bintally.data.photo_quality import PhotoFigures, ends_early, luma, measure
from bintally.data.transfer import OnProgress, Progress
from bintally.errors import PhotoError

Bar = Callable[[str], AbstractContextManager[OnProgress]]
"""Opens a progress bar, given what is being done."""
_Job = TypeVar("_Job")
_Result = TypeVar("_Result")
_AHEAD = 8  # jobs handed out ahead, for each worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What came of looking at a manifest's photos.

    Attributes:
        frame: the manifest's rows, with the figures of every photo that could be decoded.
        measured: how many were decoded.
        known: how many had their figures already, and still have the bytes these were taken from.
        damaged: photos that cannot be decoded.
        astray: photos that are not where, or not what, the manifest says.
    """

    frame: pl.DataFrame
    measured: int
    known: int
    damaged: tuple[Finding, ...]
    astray: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What one photo turned out to be."""

    size_bytes: int = 0
    figures: PhotoFigures | None = None
    is_known: bool = False
    fault: Finding | None = None


def no_bar(_doing: str) -> AbstractContextManager[OnProgress]:
    """Shows nothing."""
    return nullcontext(lambda _: None)


def in_threads(work: Callable[[_Job], _Result], jobs: Iterable[_Job], workers: int) -> Iterator[_Result]:
    """The results of `work` in the order of `jobs`, with few jobs under way; whoever stops listening ends it.

    >>> list(in_threads(abs, [3, -2, -1], workers=2))
    [3, 2, 1]
    """
    with ThreadPoolExecutor(max_workers=workers) as pool:
        under_way: deque[Future[_Result]] = deque()
        try:
            for job in jobs:
                under_way.append(pool.submit(work, job))
                if len(under_way) >= _AHEAD * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def look_at_all(manifest: Manifest, *, trust_figures: bool, workers: int, bar: Bar = no_bar) -> Looked:
    """Read every photo that was fetched, and decode those that have no figures.

    Args:
        manifest: its photos are read from below its root.
        trust_figures: whether the figures that stand in it are such as would be measured now.
        workers: threads.
        bar: opens a progress bar.
    """
    frame = manifest.frame if trust_figures else _without_figures(manifest.frame)
    fetched = frame.filter(~has_any_flag([Flag.NOT_FETCHED]))
    jobs = fetched.with_columns(is_readable=~has_any_flag([Flag.BAD_PHOTO])).select(
        "photo_id", "photo_key", "sha256", "brightness", "sharpness", "phash", "is_readable"
    )
    seen: dict[str, _Seen] = {}
    done_bytes = 0
    with bar("looking at photos") as tell:
        looks = in_threads(lambda job: _look(manifest, job), jobs.iter_rows(), workers)
        for done, (photo_id, each) in enumerate(zip(jobs["photo_id"], looks, strict=True), start=1):
            seen[photo_id] = each
            done_bytes += each.size_bytes
            tell(Progress(done=done, total=jobs.height, counted=True, done_bytes=done_bytes))
    faults = [each.fault for each in seen.values() if each.fault]
    return Looked(
        frame=_with_figures(frame, {photo_id: each.figures for photo_id, each in seen.items() if each.figures}),
        measured=sum(each.figures is not None and not each.is_known for each in seen.values()),
        known=sum(each.is_known for each in seen.values()),
        damaged=tuple(fault for fault in faults if fault.flag),
        astray=tuple(fault for fault in faults if not fault.flag),
    )


def _look(manifest: Manifest, row: tuple[str, str, str, float | None, float | None, int | None, bool]) -> _Seen:
    photo_id, photo_key, sha256, brightness, sharpness, phash, is_readable = row

    def astray(what: str) -> _Seen:
        return _Seen(fault=Finding(photo_id=photo_id, flag=None, text=what))

    try:
        data = (manifest.root / photo_key).read_bytes()
    except OSError as error:
        return astray(f"{photo_key}: in the manifest, but cannot be read ({error.strerror or error})")
    if hashlib.sha256(data).hexdigest() != sha256:
        return astray(f"{photo_key}: not the bytes that the manifest names")
    if brightness is not None:
        figures = PhotoFigures(brightness=brightness, sharpness=sharpness, phash=phash)
        return _Seen(size_bytes=len(data), figures=figures, is_known=True)
    if not is_readable:
        return _Seen(size_bytes=len(data))
    return _measured(photo_id, photo_key, data)


def _measured(photo_id: str, photo_key: str, data: bytes) -> _Seen:
    try:
        figures = measure(luma(decode(data, name=photo_key)))
    except PhotoError as error:
        early = ends_early(data)
        flag = Flag.TRUNCATED if early else Flag.UNDECODABLE
        text = f"{'ends early' if early else 'cannot be decoded'}: {error}"
        return _Seen(size_bytes=len(data), fault=Finding(photo_id=photo_id, flag=flag, text=text))
    return _Seen(size_bytes=len(data), figures=figures)


def _without_figures(frame: pl.DataFrame) -> pl.DataFrame:
    return _with_figures(frame, {})


def _with_figures(frame: pl.DataFrame, figures: dict[str, PhotoFigures]) -> pl.DataFrame:
    """The rows with these figures and no others."""
    found = [figures.get(photo_id) for photo_id in frame["photo_id"]]
    return frame.with_columns(
        pl.Series(name, [each and getattr(each, name) for each in found], dtype=SCHEMA[name])
        for name in ("brightness", "sharpness", "phash")
    )
