"""The pictures of an audit's page: a sample of the photos with each flag, those that belong together side by side.

Refuses to pick by chance: a sample is spread evenly over everything that is flagged, so that the same audit gives the
same page.
"""

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from bintally.data.audit import MEANINGS, AuditReport
from bintally.data.findings import missing_fields, sibling_chains
from bintally.data.images import decode
from bintally.data.likeness import Pair
from bintally.data.manifest import INGEST_FLAGS, Flag, Manifest
from bintally.domain.bins import PhotoId
from bintally.errors import ManifestError, PhotoError
from bintally.pages.pictures import thumbnail

_SINGLES, _SETS, _LEAKS = 10, 6, 24  # how many of each are shown
_SIDE_PX = 260
_LONGEST_WORDS = 200
_BY_FIGURE = {Flag.DARK: "brightness", Flag.BLURRED: "sharpness"}
_SINGLE_FLAGS = (
    Flag.TRUNCATED,
    Flag.UNDECODABLE,
    Flag.BAD_PHOTO,
    Flag.DARK,
    Flag.BLURRED,
    Flag.TOTAL_MISMATCH,
    Flag.BAD_RECORD,
    Flag.NO_RECORD,
    Flag.MISSING_FIELDS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A photo and what is told of it; without a `source` it cannot be shown."""

    photo_id: str
    source: str | None
    facts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One photo, or some side by side, and the words below."""

    pictures: tuple[Picture, ...]
    words: str
    is_leak: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Cards under one heading; `shown`: how many of how many."""

    title: str
    shown: str
    note: str
    cards: tuple[Card, ...]


def sections_of(report: AuditReport) -> tuple[Section, ...]:
    """Everything that is shown, duplicates first; nothing that was not found."""
    album = _Album(report.manifest)
    found = [
        *_duplicates(report.duplicates.pairs, album),
        *(_singles(report, flag, album) for flag in _SINGLE_FLAGS),
        _collisions(report, album),
        _siblings(report, album),
    ]
    return tuple(section for section in found if section.cards)


class _Album:
    """Makes pictures of a manifest's photos; each photo is read when it is shown."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def picture(self, photo_id: str) -> Picture:
        row = self._manifest.frame.row(by_predicate=pl.col("photo_id") == photo_id, named=True)
        count = "no count" if row["count"] is None else f"count {row['count']}"
        facts = f"{count}, {row['split']}" if row["split"] else count
        try:
            pixels = decode(self._manifest.read_photo(row["photo_key"]), name=photo_id)
        except (PhotoError, ManifestError):
            return Picture(photo_id=photo_id, source=None, facts=facts)
        return Picture(photo_id=photo_id, source=thumbnail(pixels, _SIDE_PX), facts=facts)

    def pictures(self, photo_ids: Iterable[str]) -> tuple[Picture, ...]:
        return tuple(self.picture(photo_id) for photo_id in photo_ids)


def spread(things: int, most: int) -> list[int]:
    """At most so many places among `things`, from the first to the last, evenly.

    >>> spread(100, 4), spread(2, 4)
    ([0, 33, 66, 99], [0, 1])
    """
    if things <= most:
        return list(range(things))
    return [place * (things - 1) // (most - 1) for place in range(most)]


def _duplicates(pairs: Sequence[Pair], album: _Album) -> Iterator[Section]:
    leaks = [pair for pair in pairs if pair.across_splits]
    within = [pair for pair in pairs if not pair.across_splits]
    chosen = (
        ("Duplicates across splits", "What is learned from one is measured on the other.", leaks, _LEAKS),
        ("Exact duplicates", "The very same bytes.", [pair for pair in within if pair.is_exact], _SETS),
        (
            "Near duplicates, no siblings",
            "Nearly the same picture, but nothing in keys and records says so: a copy, or siblings that were missed.",
            [pair for pair in within if not pair.is_exact and not pair.are_siblings],
            _SETS,
        ),
        (
            "Near duplicates among siblings",
            "From the most alike to the least. Where counts differ but nothing else does, a record is hard to learn.",
            [pair for pair in within if not pair.is_exact and pair.are_siblings],
            _SETS,
        ),
    )
    for title, note, group, most in chosen:
        ordered = sorted(group, key=_alikeness)
        cards = [_pair(ordered[place], album) for place in spread(len(ordered), most)]
        yield _section(title, note, cards, len(group), "pairs")


def _alikeness(pair: Pair) -> tuple[float, str]:
    return -(pair.agreement.least if pair.agreement else 1), pair.other.photo_id


def _pair(pair: Pair, album: _Album) -> Card:
    words = "the same bytes"
    if pair.agreement:
        words = f"{pair.bits} of 64 bits differ, agreement {pair.agreement.overall:.2f}"
        words += f", where least {pair.agreement.least:.2f}"
    pictures = album.pictures((pair.kept.photo_id, pair.other.photo_id))
    return Card(pictures=pictures, words=words, is_leak=pair.across_splits)


def _singles(report: AuditReport, flag: Flag, album: _Album) -> Section:
    figure = _BY_FIGURE.get(flag)
    rows = report.flagged(flag).sort([*([figure] if figure else []), "photo_id"])
    shown = rows[spread(rows.height, _SINGLES)]
    words = _words(shown, flag)
    cards = [Card(pictures=(album.picture(photo_id),), words=words[photo_id]) for photo_id in shown["photo_id"]]
    order = f" From the lowest {figure} to the highest that is flagged." if figure else ""
    return _section(_name(flag), f"{_sentence(MEANINGS[flag])}{order}", cards, rows.height, "photos")


def _words(rows: pl.DataFrame, flag: Flag) -> dict[str, str]:
    """What is said of each photo below its picture: about this flag, as far as the manifest keeps it apart."""
    if figure := _BY_FIGURE.get(flag):
        return {photo_id: f"{figure} {value:.3g}" for photo_id, value in rows.select("photo_id", figure).rows()}
    if flag is Flag.MISSING_FIELDS:
        return {found.photo_id: found.text for found in missing_fields(rows)}
    texts = rows.select("photo_id", "problem" if flag in INGEST_FLAGS else "finding").rows()
    return {photo_id: textwrap.shorten(text or "", _LONGEST_WORDS, placeholder=" ...") for photo_id, text in texts}


def _collisions(report: AuditReport, album: _Album) -> Section:
    by_number: dict[int | None, list[str]] = defaultdict(list)
    for photo_id in report.flagged(Flag.KEY_COLLISION)["photo_id"]:
        by_number[PhotoId(photo_id).number].append(photo_id)
    together = list(by_number.values())
    cards = [Card(pictures=album.pictures(together[place]), words="") for place in spread(len(together), _SETS)]
    note = _sentence(MEANINGS[Flag.KEY_COLLISION]) + " Read as numbers, their counts would be mixed up."
    return _section(_name(Flag.KEY_COLLISION), note, cards, len(together), "numbers")


def _siblings(report: AuditReport, album: _Album) -> Section:
    chains = sibling_chains(report.manifest.frame)
    cards = [Card(pictures=album.pictures(chains[place]), words="") for place in spread(len(chains), _SETS)]
    return _section(_name(Flag.SIBLING), _sentence(MEANINGS[Flag.SIBLING]), cards, len(chains), "chains")


def _section(title: str, note: str, cards: Sequence[Card], found: int, unit: str) -> Section:
    shown = f"{len(cards)} of {found:,} {unit}" if found > len(cards) else f"{found:,} {unit}"
    return Section(title=title, shown=shown, note=note, cards=tuple(cards))


def _name(flag: Flag) -> str:
    return flag.value.replace("-", " ").capitalize()


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
