"""What a processing job runs: ingest, split, audit, reduce where asked, push; the same calls as those of the verbs.

A job that was interrupted and is asked for again fetches anew what lay on the lost instance's disk, and sends nothing
twice. Refuses to push what could not be fetched whole: training would learn from an accident.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bintally.cloud.contract import PREPARE_REPORT, PREPARE_WORK
from bintally.cloud.prepare_arguments import PrepareSettings, parse_arguments
from bintally.data.abid import parse_file_list, parse_range
from bintally.data.audit import audit
from bintally.data.audit_page import write_page
from bintally.data.ingest import AllPhotos, NamedPhotos, Selection, ingest
from bintally.data.manifest import Manifest, read_manifest, write_manifest
from bintally.data.prepare import prepare
from bintally.data.prepare_settings import PrepareSettings as Reduction
from bintally.data.push import push
from bintally.data.splits import split
from bintally.data.store import Store, open_store
from bintally.data.transfer import OnProgress, Progress
from bintally.errors import BintallyError, SettingsError, StoreUnavailableError

_MESSAGE = Path("/opt/ml/output/message")  # becomes the job's ExitMessage
_MOST_CHARACTERS = 1024
_LINES = 20  # of progress, for each part of the work


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a processing job works: SageMaker's folders, or others in a test."""

    work: Path = Path(PREPARE_WORK)
    report: Path = Path(PREPARE_REPORT)
    message: Path = _MESSAGE


def main(arguments: Sequence[str], places: Places | None = None) -> int:
    """Do it.

    Returns:
        0, or 1 where it failed; then the message says why.
    """
    places = places or Places()
    try:
        make_dataset(parse_arguments(arguments), places)
    except BintallyError as error:
        _say(f"failed: {error}")
        places.message.parent.mkdir(parents=True, exist_ok=True)
        places.message.write_text(" ".join(str(error).split())[:_MOST_CHARACTERS], encoding="utf-8")
        return 1
    return 0


def make_dataset(settings: PrepareSettings, places: Places) -> None:
    """From one bucket to a dataset in another.

    Raises:
        BintallyError: what ingest, split, prepare and push raise.
        StoreUnavailableError: if some photos or records could not be had, or made.
    """
    fetched = ingest(
        open_store(settings.source, region=settings.region or None, anonymous=settings.anonymous),
        places.work,
        _selection(settings),
        limit=settings.limit or None,
        on_progress=_lines("fetched"),
    )
    _whole("fetched", fetched.refused.count, fetched.refused.first)
    placed = split(read_manifest(places.work), settings.salt or None, required_counts=settings.required_counts)
    write_manifest(placed.manifest)
    looked = audit(placed.manifest)
    write_manifest(looked.manifest)
    places.report.mkdir(parents=True, exist_ok=True)
    page = write_page(places.report / "audit.html", looked)
    _say(f"{fetched.photos} photos; {page.name} lies beside the job")
    _send(read_manifest(places.work), open_store(settings.dest, create=True), settings)


def _selection(settings: PrepareSettings) -> Selection:
    """A list and a range select together, as `bintally ingest` has it; neither: everything."""
    named = [*parse_range(settings.keys)] if settings.keys else []
    if settings.file_list:
        path = Path(settings.file_list)
        try:
            named = [*parse_file_list(path.read_bytes(), path.name), *named]
        except OSError as error:
            raise SettingsError(f"{path}: the list of photos cannot be read ({error.strerror})") from error
    return NamedPhotos(photo_ids=named) if named else AllPhotos()


def _send(manifest: Manifest, store: Store, settings: PrepareSettings) -> None:
    if settings.side_px:
        made = prepare(manifest, store, Reduction(side_px=settings.side_px), on_progress=_lines("prepared"))
        _whole("prepared", made.refused.count, made.refused.first)
        _say(f"{store.url}: {made.photos} photos at {settings.side_px} px")
        return
    sent = push(manifest, store, replace=settings.replace, on_progress=_lines("sent"))
    _say(f"{sent.url}: {sent.files} files, {sent.sent} of them sent now")


def _whole(what: str, refused: int, first: Sequence[str]) -> None:
    if refused:
        raise StoreUnavailableError(
            f"{refused} photos or records could not be {what}; ask for the same job again. The first: "
            f"{'; '.join(first)}"
        )


def _lines(what: str) -> OnProgress:
    """Says how far it is, twenty times: a log has no bar."""
    said = 0

    def told(progress: Progress) -> None:
        nonlocal said
        more = progress.done - said
        if progress.counted and more and (more >= progress.total / _LINES or progress.done == progress.total):
            _say(f"{progress.done} of {progress.total} {what}")
            said = progress.done

    return told


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
