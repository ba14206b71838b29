"""Which photos of a dataset are duplicates, exact or near, and which of each pair is kept.

Kept is the photo of the split that is measured on: test before calibration, val, train and those without a split; in
one split a labelled photo, then the lower key. A photo is flagged if it is like one that is kept, so that a duplicate
of a test photo is flagged in train, not the other way round.
Refuses to call flat photos alike: they have no hash.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import polars as pl

from bintally.data.duplicates import LARGEST_RADIUS, Agreement, Texture, compare, pairs_within, texture
from bintally.data.findings import Finding
from bintally.data.images import decode
from bintally.data.looking import Bar, in_threads, no_bar
from bintally.data.manifest import Flag, Manifest, Split
from bintally.data.photo_quality import luma
from bintally.data.transfer import Progress
from bintally.errors import SettingsError

_KEPT_FIRST = (Split.TEST, Split.CALIBRATION, Split.VAL, Split.TRAIN)
_TEXTURES_HELD = 1024  # 32 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """From where on two photos are near duplicates: all three must hold.

    Attributes:
        bits: their hashes differ in at most so many of 64.
        overall: their textures correlate at least so much, over the whole picture.
        least: and are at least so similar in the block where they agree least.
    """

    bits: int = 10
    overall: float = 0.65
    least: float = 0.3

    def __post_init__(self) -> None:
        """Refuse what no two photos can be measured by."""
        if not 0 <= self.bits <= LARGEST_RADIUS:
            raise SettingsError(f"near duplicates: expected 0 to {LARGEST_RADIUS} bits, got {self.bits}")
        for what, value in (("overall", self.overall), ("least", self.least)):
            if not -1 <= value <= 1:
                raise SettingsError(f"near duplicates: expected an agreement of -1 to 1 ({what}), got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedPhoto:
    """What is told of a photo beside its duplicate."""

    photo_id: str
    photo_key: str
    count: int | None
    split: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two photos that are alike.

    Attributes:
        kept: the one that comes first.
        other: the other one.
        bits: how many bits of their hashes differ.
        agreement: how alike they are; None: they are the same bytes.
        are_siblings: whether the records already say that they are one bin.
    """

    kept: PairedPhoto
    other: PairedPhoto
    bits: int
    agreement: Agreement | None
    are_siblings: bool

    @property
    def is_exact(self) -> bool:
        """Whether they are the same bytes."""
        return self.agreement is None

    @property
    def across_splits(self) -> bool:
        """Whether they lie in two splits; then what is learned from one is measured on the other."""
        return None not in (self.kept.split, self.other.split) and self.kept.split != self.other.split

    @property
    def counts_differ(self) -> bool:
        """Whether both are labelled, and not alike."""
        return None not in (self.kept.count, self.other.count) and self.kept.count != self.other.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """What is alike in a dataset.

    Attributes:
        pairs: all pairs that are alike; of the same bytes, those with the photo that is kept.
        kept_instead: the photo that is kept, by the photo that is flagged.
        compared: how many pairs of pictures were compared.
    """

    pairs: tuple[Pair, ...]
    kept_instead: Mapping[str, str]
    compared: int

    def findings(self) -> Iterator[Finding]:
        """A finding for every photo that is a duplicate of one that is kept."""
        for pair in self.pairs:
            if self.kept_instead.get(pair.other.photo_id) == pair.kept.photo_id:
                flag = Flag.EXACT_DUPLICATE if pair.is_exact else Flag.NEAR_DUPLICATE
                yield Finding(photo_id=pair.other.photo_id, flag=flag, text=_words(pair))


def find_duplicates(
    manifest: Manifest,
    chains: Iterable[Collection[str]],
    likeness: Likeness,
    *,
    workers: int = 1,
    bar: Bar = no_bar,
) -> Duplicates:
    """Find them among the photos of `manifest` that have figures.

    Args:
        manifest: with figures; photos whose hashes are near are read again to be compared.
        chains: siblings.
        likeness: from where on photos are near duplicates.
        workers: threads that compare.
        bar: opens a progress bar.
    """
    chain_of = {photo_id: place for place, chain in enumerate(chains) for photo_id in chain}
    rows = _in_keeping_order(manifest.frame)
    exact = list(_same_bytes(rows, chain_of))
    copies = {pair.other.photo_id for pair in exact}
    hashed = rows.filter(pl.col("phash").is_not_null(), ~pl.col("photo_id").is_in(copies))
    near = pairs_within(hashed["phash"].to_numpy(), likeness.bits)
    photos = _photos(hashed)
    alike: dict[tuple[int, int], Pair] = {}
    agreements = _agreements(manifest, photos, near[:, :2].tolist(), workers, bar)
    for (first, second, bits), agreement in zip(near.tolist(), agreements, strict=True):
        if agreement.overall >= likeness.overall and agreement.least >= likeness.least:
            alike[first, second] = _pair(photos[first], photos[second], chain_of, bits, agreement)
    kept_instead = {pair.other.photo_id: pair.kept.photo_id for pair in (*exact, *_flagging(alike))}
    return Duplicates(pairs=(*exact, *alike.values()), kept_instead=kept_instead, compared=len(near))


def _in_keeping_order(frame: pl.DataFrame) -> pl.DataFrame:
    rank = {split.value: place for place, split in enumerate(_KEPT_FIRST)}
    return frame.filter(pl.col("brightness").is_not_null()).sort(
        pl.col("split").replace_strict(rank, default=len(rank), return_dtype=pl.Int32),
        pl.col("count").is_null(),
        "photo_id",
    )


def _photos(rows: pl.DataFrame) -> list[PairedPhoto]:
    named = rows.select("photo_id", "photo_key", "count", "split").iter_rows(named=True)
    return [PairedPhoto(**row) for row in named]


def _same_bytes(rows: pl.DataFrame, chain_of: Mapping[str, int]) -> Iterator[Pair]:
    twice = rows.filter(pl.col("sha256").is_duplicated())
    kept: dict[str, PairedPhoto] = {}
    for sha256, photo in zip(twice["sha256"], _photos(twice), strict=True):
        first = kept.setdefault(sha256, photo)
        if first is not photo:
            yield _pair(first, photo, chain_of, 0, None)


def _pair(
    kept: PairedPhoto, other: PairedPhoto, chain_of: Mapping[str, int], bits: int, agreement: Agreement | None
) -> Pair:
    chain = chain_of.get(kept.photo_id)
    siblings = chain is not None and chain == chain_of.get(other.photo_id)
    return Pair(kept=kept, other=other, bits=bits, agreement=agreement, are_siblings=siblings)


def _agreements(
    manifest: Manifest, photos: list[PairedPhoto], near: list[list[int]], workers: int, bar: Bar
) -> list[Agreement]:
    """Of each pair; photos are decoded as they are needed, and few are held."""

    @lru_cache(maxsize=_TEXTURES_HELD)
    def texture_of(place: int) -> Texture:
        photo_key = photos[place].photo_key
        return texture(luma(decode(manifest.read_photo(photo_key), name=photo_key)))

    found = []
    with bar("comparing pictures") as tell:
        for agreement in in_threads(lambda pair: compare(texture_of(pair[0]), texture_of(pair[1])), near, workers):
            found.append(agreement)
            tell(Progress(done=len(found), total=len(near), counted=True))
    return found


def _flagging(alike: Mapping[tuple[int, int], Pair]) -> Iterator[Pair]:
    """For each photo that is like an earlier one that is kept, the pair with the one whose hash is nearest.

    Args:
        alike: pairs by the places of their photos in keeping order.
    """
    earlier: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for (first, second), pair in alike.items():
        earlier[second].append((pair.bits, first))
    flagged: set[int] = set()
    for second in sorted(earlier):
        kept = [(bits, first) for bits, first in earlier[second] if first not in flagged]
        if kept:
            flagged.add(second)
            yield alike[min(kept)[1], second]


def _words(pair: Pair) -> str:
    """The finding about the photo that is not kept."""
    if pair.agreement is None:
        said = f"exact duplicate: the bytes of {pair.kept.photo_id}"
    else:
        said = (
            f"near duplicate: nearly the picture of {pair.kept.photo_id} ({pair.bits} of 64 bits differ, "
            f"agreement {pair.agreement.overall:.2f}, {pair.agreement.least:.2f} where least)"
        )
    if pair.counts_differ:
        said += f"; counts {pair.other.count} and {pair.kept.count}"
    if pair.across_splits:
        said += f"; in another split: {pair.other.split} and {pair.kept.split}"
    return said
