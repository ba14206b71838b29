"""Splits: siblings together, none that was placed moves, and every split holds every required count."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bintally.data import splits
from bintally.data.manifest import SCHEMA, Flag, Header, Manifest, Split, read_manifest, write_manifest
from bintally.data.splits import DEFAULT_SALT, SHARES, chains, fraction, name_groups, split, split_at, split_of
from bintally.domain.bins import PhotoId
from bintally.errors import SplitError

Bins = Mapping[str, str]  # photo_id -> its products, one letter each


def manifest(bins: Bins, *, counts: Mapping[str, int | None] | None = None, flags: Mapping[str, Flag] | None = None):
    """A manifest that was never split, of photos with these products."""
    rows = [
        {
            "photo_id": key,
            "photo_key": f"bin-images/{key}.jpg",
            "sha256": "0" * 64,
            "size_bytes": 1,
            "count": (counts or {}).get(key, 1),
            "items": [{"sku": sku, "quantity": 1} for sku in products],
            "flags": [flags[key].value] if flags and key in flags else [],
        }
        for key, products in bins.items()
    ]
    frame = pl.DataFrame(rows, schema=SCHEMA).sort("photo_id")
    return Manifest(frame=frame, root=Path("data"), header=Header(source="memory://bins"))


def grown(before: Manifest, bins: Bins) -> Manifest:
    """As ingest leaves it when photos are added: the new rows have neither group nor split."""
    more = manifest({key: products for key, products in bins.items() if key not in set(before.frame["photo_id"])})
    frame = pl.concat([before.frame, more.frame]).sort("photo_id")
    return replace(before, frame=frame)


def done(made: Manifest, salt: str | None = None) -> Manifest:
    return split(made, salt, required_counts=()).manifest


def column(made: Manifest, name: str) -> dict[str, str]:
    return dict(made.frame.select("photo_id", name).iter_rows())


def names_in(wanted: Split, salt: str = DEFAULT_SALT, start: int = 1) -> int:
    """The lowest number from `start` on whose padded key, as a group's name, lies in `wanted`."""
    return next(number for number in range(start, start + 10_000) if split_of(f"{number:05d}", salt) is wanted)


# --- the draw ----------------------------------------------------------------------------------------------------


def test_shares_are_the_datasets_own() -> None:
    assert {name.value: share for name, share in SHARES.items()} == {
        "train": 0.76,
        "val": 0.06,
        "calibration": 0.08,
        "test": 0.10,
    }
    assert sum(SHARES.values()) == pytest.approx(1)


def test_the_draw_is_sha256_and_the_same_everywhere() -> None:
    digest = hashlib.sha256(b"bintally-1/00001").hexdigest()
    assert fraction("00001", "bintally-1") == pytest.approx(int(digest, 16) / 2**256, abs=1e-12)


@pytest.mark.parametrize(
    ("position", "name"),
    [
        (0.0, "train"),
        (0.7599, "train"),
        (0.7601, "val"),
        (0.8199, "val"),
        (0.8201, "calibration"),
        (0.8999, "calibration"),
        (0.9001, "test"),
        (1.0, "test"),
    ],
)
def test_shares_lie_end_to_end(position: float, name: str) -> None:
    assert split_at(position).value == name


def test_shares_come_out_in_the_long_run() -> None:
    found = Counter(split_of(str(number), "any salt") for number in range(20_000))
    for name, share in SHARES.items():
        assert found[name] / 20_000 == pytest.approx(share, abs=0.01)


# --- siblings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bins", "expected"),
    [
        pytest.param({"00001": "A", "00002": "A"}, ["00001 00002"], id="neighbours"),
        pytest.param({"00001": "A", "00004": "A"}, ["00001 00004"], id="three apart"),
        pytest.param({"00001": "A", "00005": "A"}, ["00001", "00005"], id="four apart"),
        pytest.param({"00001": "A", "00002": "B"}, ["00001", "00002"], id="strangers"),
        pytest.param({"00001": "AB", "00002": "BC"}, ["00001 00002"], id="one product of two"),
        pytest.param({"00001": "A", "00004": "AB", "00007": "B"}, ["00001 00004 00007"], id="chain"),
        pytest.param({"00001": "A", "00002": "B", "00003": "A"}, ["00001 00003", "00002"], id="stranger between"),
        pytest.param({"00001": "", "00002": ""}, ["00001", "00002"], id="empty bins"),
        pytest.param({"00002": "A", "2": "A", "3": "B"}, ["00002", "2", "3"], id="two series"),
        pytest.param({"2": "A", "3": "A"}, ["2 3"], id="unpadded"),
        pytest.param({"99999": "A", "100000": "A"}, ["100000 99999"], id="across 100000, by number"),
        pytest.param({"a1": "A", "a2": "A"}, ["a1", "a2"], id="named"),
    ],
)
def test_siblings_are_near_and_share_a_product(bins: Bins, expected: list[str]) -> None:
    found = chains({PhotoId(key): frozenset(products) for key, products in bins.items()})
    assert sorted(" ".join(sorted(chain)) for chain in found) == sorted(expected)


def test_a_chain_is_by_number_and_named_after_the_lowest() -> None:
    made = done(manifest({"100000": "A", "99999": "A"}))
    assert column(made, "group") == {"100000": "99999", "99999": "99999"}


BINS = st.dictionaries(
    keys=st.integers(1, 25).map(lambda n: f"{n:05d}") | st.integers(1, 6).map(str) | st.sampled_from(["a", "b-1"]),
    values=st.text("ABC", max_size=2),
    min_size=1,
    max_size=20,
)


@settings(deadline=None)
@given(bins=BINS)
def test_every_photo_is_in_one_chain_with_all_its_siblings(bins: Bins) -> None:
    found = chains({PhotoId(key): frozenset(products) for key, products in bins.items()})
    assert sorted(key for chain in found for key in chain) == sorted(bins)
    chain_of = {key: chain for chain in found for key in chain}
    for one, other in combinations(map(PhotoId, bins), 2):
        near = one.series == other.series != "named" and abs(one.number - other.number) <= 3
        if near and set(bins[one]) & set(bins[other]):
            assert chain_of[one] is chain_of[other]


@settings(deadline=None)
@given(bins=BINS, seed=st.randoms())
def test_chains_do_not_depend_on_the_order_of_photos(bins: Bins, seed) -> None:
    shuffled = list(bins)
    seed.shuffle(shuffled)
    made = [chains({PhotoId(key): frozenset(bins[key]) for key in keys}) for keys in (bins, shuffled)]
    assert made[0] == made[1]


@settings(deadline=None)
@given(bins=BINS, salt=st.text(min_size=1, max_size=5))
def test_a_first_split_leaves_siblings_together(bins: Bins, salt: str) -> None:
    report = split(manifest(bins), salt, required_counts=())
    group, where = column(report.manifest, "group"), column(report.manifest, "split")
    assert report.torn_chains == 0
    for chain in chains({PhotoId(key): frozenset(products) for key, products in bins.items()}):
        assert {group[key] for key in chain} == {chain[0]}
        assert {where[key] for key in chain} == {split_of(chain[0], salt).value}


# --- growing -----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(bins=BINS, data=st.data())
def test_adding_photos_moves_none(bins: Bins, data: st.DataObject) -> None:
    order = data.draw(st.permutations(list(bins)))
    first, second = sorted(data.draw(st.tuples(st.integers(1, len(order)), st.integers(1, len(order)))))
    made = done(manifest({key: bins[key] for key in order[:first]}))
    for keys in (order[:second], order):
        before_group, before_split = column(made, "group"), column(made, "split")
        made = done(grown(made, {key: bins[key] for key in keys}))
        assert before_group.items() <= column(made, "group").items()
        assert before_split.items() <= column(made, "split").items()
    assert all(
        column(made, "split")[key] == split_of(name, DEFAULT_SALT) for key, name in column(made, "group").items()
    )


@settings(deadline=None)
@given(bins=BINS)
def test_splitting_twice_changes_nothing(bins: Bins) -> None:
    once = done(manifest(bins))
    assert done(once).frame.equals(once.frame)


def test_a_newcomer_below_the_founder_takes_the_founders_group() -> None:
    made = done(grown(done(manifest({"00005": "A"})), {"00003": "A"}))
    assert column(made, "group") == {"00003": "00005", "00005": "00005"}


@pytest.mark.parametrize(("newcomer", "nearest"), [(1, "first"), (2, "second")])
def test_a_newcomer_between_two_groups_joins_the_nearest_and_is_reported(newcomer: int, nearest: str) -> None:
    first = next(
        n for n in range(1, 9999) if split_of(f"{n:05d}", DEFAULT_SALT) != split_of(f"{n + 3:05d}", DEFAULT_SALT)
    )
    ends = {"first": f"{first:05d}", "second": f"{first + 3:05d}"}
    before = done(manifest({ends["first"]: "A", ends["second"]: "B"}))
    bridge = f"{first + newcomer:05d}"
    report = split(grown(before, {bridge: "AB"}), required_counts=())
    group = column(report.manifest, "group")
    assert group == {ends["first"]: ends["first"], ends["second"]: ends["second"], bridge: ends[nearest]}
    assert report.torn_chains == 1
    assert split(report.manifest, "a new salt", required_counts=()).torn_chains == 0


def test_of_two_groups_equally_near_the_lower_is_joined() -> None:
    chain = tuple(map(PhotoId, ("00001", "00002", "00003")))
    placed = {chain[0]: "00001", chain[2]: "00003"}
    assert name_groups(chain, placed) == {"00001": "00001", "00002": "00001", "00003": "00003"}


def test_two_groups_of_one_split_that_become_siblings_are_not_torn() -> None:
    first = next(
        n for n in range(1, 9999) if split_of(f"{n:05d}", DEFAULT_SALT) == split_of(f"{n + 2:05d}", DEFAULT_SALT)
    )
    before = done(manifest({f"{first:05d}": "A", f"{first + 2:05d}": "B"}))
    assert split(grown(before, {f"{first + 1:05d}": "AB"}), required_counts=()).torn_chains == 0


# --- salt --------------------------------------------------------------------------------------------------------

MANY = {f"{number:05d}": "" for number in range(1, 401)}


def test_the_first_salt_is_the_projects() -> None:
    report = split(manifest(MANY), required_counts=())
    assert (report.manifest.salt, report.salt_before) == ("bintally-1", None)


def test_the_manifests_own_salt_is_kept() -> None:
    before = done(manifest(MANY), "mine")
    report = split(before, required_counts=())
    assert (report.manifest.salt, report.salt_before) == ("mine", None)
    assert report.manifest.split_hash == before.split_hash


def test_another_salt_places_all_anew_and_says_so() -> None:
    before = done(grown(done(manifest({"00005": "A"})), MANY | {"00003": "A"}))
    report = split(before, "other", required_counts=())
    assert (report.manifest.salt, report.salt_before) == ("other", "bintally-1")
    assert report.manifest.split_hash != before.split_hash
    assert column(report.manifest, "group")["00005"] == "00003"


def test_an_empty_salt_is_refused() -> None:
    with pytest.raises(SplitError, match="salt"):
        split(manifest(MANY), "")


def test_splits_outlive_the_disk(tmp_path: Path) -> None:
    made = done(manifest(MANY))
    write_manifest(replace(made, root=tmp_path))
    assert read_manifest(tmp_path).split_hash == made.split_hash


# --- counts ------------------------------------------------------------------------------------------------------


def one_of_each(count: int) -> dict[str, int]:
    """Four lone photos of `count`, one in each split; far from each other, and from those of other counts."""
    return {
        f"{names_in(wanted, start=1000 * (4 * count + place) + 1):05d}": count for place, wanted in enumerate(Split)
    }


def split_counts(counts: dict[str, int | None], required: tuple[int, ...] | None = None, **flags: Flag):
    by_key = {key.removeprefix("n"): flag for key, flag in flags.items()}
    return split(manifest(dict.fromkeys(counts, ""), counts=counts, flags=by_key), required_counts=required)


def test_the_table_counts_photos() -> None:
    counts = one_of_each(2) | one_of_each(0)
    extra = f"{names_in(Split.VAL, start=90_000):05d}"
    report = split_counts(counts | {extra: None})
    assert report.table == {0: dict.fromkeys(Split, 1), 2: dict.fromkeys(Split, 1)}
    assert report.unlabelled == dict.fromkeys(Split, 0) | {Split.VAL: 1}
    assert report.groups == 9


@pytest.mark.parametrize("missing", list(Split))
def test_a_split_without_a_required_count_is_refused(missing: Split) -> None:
    fours = [key for key in one_of_each(4) if split_of(key, DEFAULT_SALT) is not missing]
    counts = one_of_each(3) | dict.fromkeys(fours, 4)
    said = f"too few photos of count 4 to split: 3 groups, none in {missing}. Ingest more"
    with pytest.raises(SplitError, match=re.escape(said)):
        split_counts(counts)
    assert split_counts(counts, (3,)).table[4][missing] == 0
    assert split_counts(counts, ()).table[4][missing] == 0


@pytest.mark.parametrize("flag", [Flag.BAD_PHOTO, Flag.TRUNCATED, Flag.TOTAL_MISMATCH, Flag.EXACT_DUPLICATE])
def test_a_photo_that_is_not_used_is_not_enough(flag: Flag) -> None:
    counts = one_of_each(1)
    in_val = next(key for key in counts if split_of(key, DEFAULT_SALT) is Split.VAL)
    with pytest.raises(SplitError, match="count 1 to split: 3 groups, none in val"):
        split_counts(counts, None, **{f"n{in_val}": flag})


def test_a_photo_with_another_flag_is_enough() -> None:
    counts = one_of_each(1)
    assert split_counts(counts, None, **{f"n{key}": Flag.DARK for key in counts}).groups == 4


def test_only_counts_of_one_to_five_that_occur_are_required_by_default() -> None:
    assert split_counts(one_of_each(5) | {"00001": 0, "00009": 6}).groups == 6


def test_a_count_that_is_asked_for_must_occur() -> None:
    with pytest.raises(SplitError, match="count 7 to split: 0 groups, none in train, val, calibration, test"):
        split_counts(one_of_each(5), (5, 7))


# --- photos that could not be had --------------------------------------------------------------------------------


def without_photos(made: Manifest, *keys: str) -> Manifest:
    """As ingest leaves it when the source refused those photos."""
    gone = pl.col("photo_id").is_in(keys)
    frame = made.frame.with_columns(
        sha256=pl.when(~gone).then("sha256"),
        size_bytes=pl.when(~gone).then("size_bytes"),
        flags=pl.when(gone).then(pl.lit([Flag.NOT_FETCHED.value])).otherwise("flags"),
    )
    return replace(made, frame=frame)


def with_photos(made: Manifest, bins: Bins) -> Manifest:
    """As ingest leaves it when they could be had after all."""
    places = made.frame.select("photo_id", "group", "split")
    fetched = manifest(bins).frame.drop("group", "split")
    return replace(made, frame=fetched.join(places, on="photo_id", maintain_order="left").select(*SCHEMA))


def test_a_photo_that_was_not_fetched_is_in_no_split_and_joins_nobody() -> None:
    bins = {"00001": "A", "00003": "AB", "00006": "B", "00009": ""}
    report = split(without_photos(manifest(bins), "00003"), required_counts=())
    group, where = column(report.manifest, "group"), column(report.manifest, "split")
    assert (group["00003"], where["00003"]) == (None, None)
    assert group == {"00001": "00001", "00003": None, "00006": "00006", "00009": "00009"}
    assert (report.not_fetched, report.groups, report.photos_with_sibling) == (1, 3, 0)
    assert sum(sum(row.values()) for row in [*report.table.values(), report.unlabelled]) == 3
    assert report.random_test <= 3
    assert split(manifest(bins), required_counts=()).not_fetched == 0


def test_a_photo_that_comes_later_is_placed_and_moves_none() -> None:
    bins = {"00001": "A", "00002": "A", "00005": ""}
    before = done(without_photos(manifest(bins), "00001"))
    after = done(with_photos(before, bins))
    assert column(after, "group") == {"00001": "00002", "00002": "00002", "00005": "00005"}
    assert column(before, "split").items() - {("00001", None)} <= column(after, "split").items()


@pytest.mark.parametrize(("salt", "stays"), [(None, True), ("another", False)])
def test_a_photo_that_was_placed_and_is_gone_stays_until_all_are_placed_anew(salt: str | None, stays: bool) -> None:
    """As in a dataset prepared from this one, where a photo could not be read: its split hash is the same."""
    before = done(manifest({"00001": "A", "00002": "A", "00005": ""}))
    report = split(without_photos(before, "00001"), salt, required_counts=())
    assert (column(report.manifest, "group")["00001"] == "00001") == stays
    assert (report.manifest.split_hash == before.split_hash) == stays
    assert report.not_fetched == (not stays)
    assert column(report.manifest, "group")["00002"] == ("00001" if stays else "00002")


# --- what it spares ----------------------------------------------------------------------------------------------


def test_siblings_and_the_leak_of_a_random_split_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = {
        "photo/00001": Split.TEST,  # beside 00002 in train
        "photo/00002": Split.TRAIN,
        "photo/00011": Split.TEST,  # beside 00012, which is in val
        "photo/00012": Split.VAL,
        "photo/00021": Split.TEST,  # alone
        "photo/00031": Split.TEST,  # both in test, beside 00033 in train
        "photo/00032": Split.TEST,
        "photo/00033": Split.TRAIN,
    }
    monkeypatch.setattr(splits, "split_of", lambda name, _: draw.get(name, Split.TRAIN))
    bins = {key.removeprefix("photo/"): "A" for key in draw}
    report = split(manifest(bins), required_counts=())
    assert (report.photos_with_sibling, report.groups) == (7, 4)
    assert (report.random_test, report.random_test_beside_train, report.random_leak) == (5, 3, 0.6)


def test_without_test_photos_there_is_no_leak() -> None:
    key = f"{next(n for n in range(1, 999) if split_of(f'photo/{n:05d}', DEFAULT_SALT) is Split.TRAIN):05d}"
    assert split(manifest({key: "A"}), required_counts=()).random_leak == 0
