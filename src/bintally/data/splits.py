"""Which photo is used for what: siblings stay together, and photos that come later move none.

Neighbouring keys of ABID are often one bin before and after a pick or stow. Photos of one series whose numbers differ
by at most 3 and whose records share a product are joined in chains to one *group*. A group's split is a function of
its name and a salt alone; its name is the key of its lowest-numbered photo when it was made, and it keeps that name.
Refuses splits in which a required count is missing.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import polars as pl

from bintally.data.manifest import SCHEMA, Flag, Manifest, Split
from bintally.domain.bins import PhotoId
from bintally.errors import SplitError

DEFAULT_SALT = "bintally-1"
SHARES: Mapping[Split, float] = {Split.TRAIN: 0.76, Split.VAL: 0.06, Split.CALIBRATION: 0.08, Split.TEST: 0.10}
REQUIRED_COUNTS = (1, 2, 3, 4, 5)
_REACH = 3  # siblings' numbers differ by at most this; measured on ABID, where chains have 1-3 photos


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """A split dataset, and what the split spares it.

    Attributes:
        manifest: with group and split of every photo; not yet on disk.
        table: count -> split -> labelled photos; counts in order.
        unlabelled: split -> photos without a count.
        groups: how many groups there are.
        photos_with_sibling: how many photos have at least one.
        torn_chains: sibling chains that lie in more than one split, because a photo that came later joined two
            groups that had been placed already; moving either would have leaked.
        random_test: how many photos a split by photo, with the same shares and salt, would have put in test.
        random_test_beside_train: how many of those would have had a sibling in train.
        salt_before: the salt that this one replaced; None if there was none or it is the same.
    """

    manifest: Manifest
    table: Mapping[int, Mapping[Split, int]]
    unlabelled: Mapping[Split, int]
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
            for other_number, other in series[place + 1 :]:
                if other_number - number > _REACH:
                    break
                if products[photo_id] & products[other]:
                    parent[root(other)] = root(photo_id)
    members = defaultdict(list)
    for photo_id in sorted(products, key=_by_number):
        members[root(photo_id)].append(photo_id)
    return sorted((tuple(chain) for chain in members.values()), key=lambda chain: chain[0])


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
    """Place every photo of `manifest` in a group and a split.

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
    joined = chains(_products(manifest.frame))
    placed = _placed(manifest.frame) if manifest.salt == salt else {}
    groups = {photo_id: group for chain in joined for photo_id, group in name_groups(chain, placed).items()}
    splits = {photo_id: split_of(group, salt) for photo_id, group in groups.items()}
    ids = manifest.frame["photo_id"].to_list()
    frame = manifest.frame.with_columns(
        pl.Series("group", [groups[i] for i in ids], dtype=pl.String),
        pl.Series("split", [splits[i].value for i in ids], dtype=pl.String),
    ).select(SCHEMA.names())
    _check_counts(frame, required_counts)
    random_test, beside = _random_leak(joined, salt)
    return SplitReport(
        manifest=replace(manifest, frame=frame, salt=salt),
        table=_table(frame),
        unlabelled=_by_split(frame.filter(pl.col("count").is_null())),
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


def _by_split(frame: pl.DataFrame) -> dict[Split, int]:
    found = Counter(frame["split"].to_list())
    return {split: found[split.value] for split in Split}


def _table(frame: pl.DataFrame) -> dict[int, dict[Split, int]]:
    labelled = frame.drop_nulls("count")
    return {count: _by_split(labelled.filter(pl.col("count") == count)) for count in sorted(labelled["count"].unique())}


def _check_counts(frame: pl.DataFrame, required: Iterable[int] | None) -> None:
    """Refuse splits of which one has no usable photo of a required count."""
    flagged = pl.any_horizontal(
        [pl.col("flags").list.contains(flag.value) for flag in (Flag.BAD_PHOTO, Flag.TOTAL_MISMATCH)]
    )
    usable = frame.drop_nulls("count").filter(~flagged)
    present = set(usable["count"].to_list())
    for count in sorted(present.intersection(REQUIRED_COUNTS) if required is None else set(required)):
        rows = usable.filter(pl.col("count") == count)
        lacking = [split.value for split, photos in _by_split(rows).items() if photos == 0]
        if lacking:
            raise SplitError(
                f"too few photos of count {count} to split: {rows['group'].n_unique()} groups, none in "
                f"{', '.join(lacking)}. Ingest more photos, or say which counts matter: --require-counts 1-3 "
                "(or none)"
            )
