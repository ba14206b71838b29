"""Which photo is used for what: siblings stay together, and photos that come later move none.

Neighbouring keys of ABID are often one bin before and after a pick or stow. Photos of one series whose numbers differ
by at most 3 and whose records share a product are joined in chains to one *group*. A group's split is a function of
its name and a salt alone; its name is the key of its lowest-numbered photo when it was made, and it keeps that name.
Refuses splits in which a required count is missing.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import polars as pl

from bintally.data.manifest import DEFAULT_EXCLUDED, SCHEMA, UNUSABLE, Flag, Manifest, Split, has_any_flag
from bintally.domain.bins import PhotoId
from bintally.errors import SplitError

DEFAULT_SALT = "bintally-1"
SHARES: Mapping[Split, float] = {Split.TRAIN: 0.76, Split.VAL: 0.06, Split.CALIBRATION: 0.08, Split.TEST: 0.10}
REQUIRED_COUNTS = (1, 2, 3, 4, 5)
NO_SPLIT = "none"
"""Where a photo is that was not placed yet, or could not be fetched."""
PLACES = (*(split.value for split in Split), NO_SPLIT)
"""Where a photo can be: the splits, and none of them."""
_REACH = 3  # siblings' numbers differ by at most this; measured on ABID, where chains have 1-3 photos


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """A split dataset, and what the split spares it.

    Attributes:
        manifest: with group and split of every photo; not yet on disk.
        table: count -> split -> labelled photos; counts in order.
        unlabelled: split -> photos without a count.
        not_fetched: photos that could not be had and were never placed: they are in no split.
        groups: how many groups there are.
        photos_with_sibling: how many photos have at least one.
        torn_chains: sibling chains that lie in more than one split, because a photo that came later joined two
            groups that had been placed already; moving either would have leaked.
        random_test: how many photos a split by photo, with the same shares and salt, would have put in test.
        random_test_beside_train: how many of those would have had a sibling in train.
        salt_before: the salt that this one replaced; None if there was none or it is the same.
    """

    manifest: Manifest
    table: Mapping[int, Mapping[str, int]]
    unlabelled: Mapping[str, int]
    not_fetched: int
    groups: int
    photos_with_sibling: int
    torn_chains: int
    random_test: int
    random_test_beside_train: int
    salt_before: str | None = None

    @property
    def random_leak(self) -> float:
        """The share of test photos, split at random by photo, that have a sibling in train; 0 without test photos."""
        return self.random_test_beside_train / self.random_test if self.random_test else 0.0


def split_of(name: str, salt: str) -> Split:
    """The split of the group `name`: a pure function of both.

    >>> split_of("00001", "bintally-1") == split_of("00001", "bintally-1")
    True
    """
    return split_at(fraction(name, salt))


def fraction(name: str, salt: str) -> float:
    """Where between 0 and 1 (exclusive) sha256 puts `name`: uniform, and the same on every machine.

    >>> round(fraction("00001", "bintally-1"), 6)
    0.664713
    """
    digest = hashlib.sha256(f"{salt}/{name}".encode()).digest()
    return (int.from_bytes(digest[:6]) + 0.5) / 2**48  # 48 bits and a half: exact in a float64


def split_at(position: float) -> Split:
    """The split that lies at `position` (0 to 1) when their shares are laid end to end.

    >>> [split_at(u).value for u in (0.0, 0.75, 0.77, 0.83, 0.99)]
    ['train', 'train', 'val', 'calibration', 'test']
    """
    end = 0.0
    for split, share in SHARES.items():
        end += share
        if position < end:
            return split
    return Split.TEST


def chains(products: Mapping[PhotoId, frozenset[str]]) -> list[tuple[PhotoId, ...]]:
    """Join siblings: photos of one series, at most 3 apart, that share a product; chains of such are one.

    Args:
        products: the SKUs in each photo's record; empty for an empty bin or an unlabelled photo.

    Returns:
        Every photo in exactly one chain, by number within it, in the order of their first photos.

    >>> a, b = frozenset({"A"}), frozenset({"B"})
    >>> chains({PhotoId("00001"): a, PhotoId("00004"): a, PhotoId("00005"): b, PhotoId("2"): a})
    [('00001', '00004'), ('00005',), ('2',)]
    """
    parent = {photo_id: photo_id for photo_id in products}

    def root(photo_id: PhotoId) -> PhotoId:
        while parent[photo_id] != photo_id:
            parent[photo_id] = photo_id = parent[parent[photo_id]]
        return photo_id

    for series in _by_series(products).values():
        for place, (number, photo_id) in enumerate(series):
            for other_number, other in _following(series, place):
                if other_number - number > _REACH:
                    break
                if products[photo_id] & products[other]:
                    parent[root(other)] = root(photo_id)
    members = defaultdict(list)
    for photo_id in sorted(products, key=_by_number):
        members[root(photo_id)].append(photo_id)
    return sorted((tuple(chain) for chain in members.values()), key=lambda chain: chain[0])


def _following(series: list[tuple[int, PhotoId]], place: int) -> Iterator[tuple[int, PhotoId]]:
    """What comes after `place`, without a copy of it all: a series may be half a million photos long."""
    return (series[later] for later in range(place + 1, len(series)))


def _by_series(photo_ids: Iterable[PhotoId]) -> Mapping[str, list[tuple[int, PhotoId]]]:
    series = defaultdict(list)
    for photo_id in photo_ids:
        if photo_id.number is not None:
            series[photo_id.series].append((photo_id.number, photo_id))
    return {name: sorted(entries) for name, entries in series.items()}


def _by_number(photo_id: PhotoId) -> tuple[int, str]:
    return (-1 if photo_id.number is None else photo_id.number, photo_id)


def name_groups(chain: tuple[PhotoId, ...], placed: Mapping[PhotoId, str]) -> dict[PhotoId, str]:
    """The group of each photo in `chain`: the placed ones keep theirs, newcomers take that of the nearest placed one.

    Args:
        chain: siblings, by number.
        placed: the groups that photos have already.

    >>> one, two, three = PhotoId("00001"), PhotoId("00002"), PhotoId("00003")
    >>> name_groups((one, two, three), {three: "00003"})
    {'00001': '00003', '00002': '00003', '00003': '00003'}
    """
    settled = [photo_id for photo_id in chain if photo_id in placed]
    if not settled:
        return dict.fromkeys(chain, str(chain[0]))
    return {photo_id: placed[min(settled, key=lambda other: _distance(photo_id, other))] for photo_id in chain}


def _distance(photo_id: PhotoId, other: PhotoId) -> tuple[int, bool, str]:
    """Nearest first; a photo is nearest to itself; of two equally near the lower number."""
    return abs((photo_id.number or 0) - (other.number or 0)), photo_id != other, other


def split(manifest: Manifest, salt: str | None = None, *, required_counts: Iterable[int] | None = None) -> SplitReport:
    """Place every photo of `manifest` in a group and a split, but for those that were not fetched and have none yet.

    Args:
        manifest: as ingested, or split before: then photos that were placed stay where they are.
        salt: None: the manifest's own, or `DEFAULT_SALT`. Another than the manifest's places every photo anew.
        required_counts: every split must hold a usable photo of each; by default of those of 1-5 that occur.

    Raises:
        SplitError: if `salt` is empty, or a split lacks a required count.
    """
    salt = (manifest.salt or DEFAULT_SALT) if salt is None else salt
    if not salt:
        raise SplitError(f"salt: expected a text that is not empty, such as {DEFAULT_SALT!r}")
    placed = _placed(manifest.frame) if manifest.salt == salt else {}
    here = manifest.frame.filter(~has_any_flag([Flag.NOT_FETCHED]) | pl.col("photo_id").is_in(list(placed)))
    joined = chains(_products(here))
    groups = {photo_id: group for chain in joined for photo_id, group in name_groups(chain, placed).items()}
    splits = {photo_id: split_of(group, salt) for photo_id, group in groups.items()}
    frame = _with_places(manifest.frame, groups, splits)
    _check_counts(frame, required_counts)
    photos = tabulate(frame.drop_nulls("split"))
    random_test, beside = _random_leak(joined, salt)
    unlabelled = photos.pop(None, {})
    return SplitReport(
        manifest=replace(manifest, frame=frame, header=replace(manifest.header, salt=salt)),
        table={count or 0: {split.value: row[split] for split in Split} for count, row in photos.items()},
        unlabelled={split.value: unlabelled.get(split, 0) for split in Split},
        not_fetched=frame.height - here.height,
        groups=len(set(groups.values())),
        photos_with_sibling=sum(len(chain) for chain in joined if len(chain) > 1),
        torn_chains=sum(len({splits[photo_id] for photo_id in chain}) > 1 for chain in joined),
        random_test=random_test,
        random_test_beside_train=beside,
        salt_before=manifest.salt if manifest.salt not in ("", salt) else None,
    )


def _products(frame: pl.DataFrame) -> dict[PhotoId, frozenset[str]]:
    skus = frame.select("photo_id", pl.col("items").list.eval(pl.element().struct.field("sku")))
    return {PhotoId(photo_id): frozenset(names or ()) for photo_id, names in skus.iter_rows()}


def _placed(frame: pl.DataFrame) -> dict[PhotoId, str]:
    rows = frame.select("photo_id", "group").drop_nulls().iter_rows()
    return {PhotoId(photo_id): group for photo_id, group in rows}


def _random_leak(joined: list[tuple[PhotoId, ...]], salt: str) -> tuple[int, int]:
    """What splitting by photo would do: (test photos, those of them with a sibling in train)."""
    test = beside = 0
    for chain in joined:
        here = Counter(split_of(f"photo/{photo_id}", salt) for photo_id in chain)
        test += here[Split.TEST]
        beside += here[Split.TEST] if here[Split.TRAIN] else 0
    return test, beside


def _with_places(frame: pl.DataFrame, groups: Mapping[PhotoId, str], splits: Mapping[PhotoId, Split]) -> pl.DataFrame:
    """The table with these groups and splits in place of its own; null for photos that have none."""
    places = pl.DataFrame(
        {"photo_id": list(groups), "group": list(groups.values()), "split": [splits[i].value for i in groups]},
        schema={name: SCHEMA[name] for name in ("photo_id", "group", "split")},
    )
    return frame.drop("group", "split").join(places, on="photo_id", how="left", maintain_order="left").select(*SCHEMA)


def tabulate(frame: pl.DataFrame) -> dict[int | None, dict[str, int]]:
    """How many photos of each count lie in each split, and in none: counts in order, None (unlabelled) last.

    >>> rows = pl.DataFrame({"count": [2, 2, None], "split": ["val", None, "train"]})
    >>> tabulate(rows)[2]
    {'train': 0, 'val': 1, 'calibration': 0, 'test': 0, 'none': 1}
    >>> list(tabulate(rows))
    [2, None]
    """
    found: dict[int | None, dict[str, int]] = {}
    for count, split, photos in frame.group_by("count", "split").len().sort("count", nulls_last=True).iter_rows():
        found.setdefault(count, dict.fromkeys(PLACES, 0))[split or NO_SPLIT] = photos
    return found


def _check_counts(frame: pl.DataFrame, required: Iterable[int] | None) -> None:
    """Refuse splits of which one has no usable photo of a required count."""
    kept_out = has_any_flag([*UNUSABLE, *DEFAULT_EXCLUDED])
    usable = frame.drop_nulls(["count", "split"]).filter(~kept_out)
    by_count = tabulate(usable)
    occurring = [count for count in REQUIRED_COUNTS if count in by_count]
    for count in occurring if required is None else sorted(set(required)):
        lacking = [split.value for split in Split if not by_count.get(count, {}).get(split)]
        if lacking:
            groups = usable.filter(pl.col("count") == count)["group"].n_unique()
            raise SplitError(
                f"too few photos of count {count} to split: {groups} groups, none in "
                f"{', '.join(lacking)}. Ingest more photos, or say which counts matter: --require-counts 1-3 "
                "(or none)"
            )
