"""The manifest: comes back as written, refuses what is none, and says which photos a split can use."""

import errno
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.small_dataset import make_dataset

from bintally.data import manifest as module
from bintally.data.manifest import (
    AUDIT_FLAGS,
    DEFAULT_EXCLUDED,
    FILE_NAME,
    INGEST_FLAGS,
    ITEM,
    SCHEMA,
    UNUSABLE,
    Flag,
    Header,
    Manifest,
    Split,
    manifest_bytes,
    parse_manifest,
    read_manifest,
    scan_manifest,
    write_manifest,
)
from bintally.data.rows import ITEM_MEANINGS, MEANINGS, parse_flag
from bintally.errors import ManifestError, SettingsError


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return make_dataset(tmp_path / "bins", [count % 6 for count in range(48)])


def change(manifest: Manifest, row: int, **values: object) -> pl.DataFrame:
    """The manifest's table with one row changed."""
    rows = manifest.frame.to_dicts()
    rows[row].update(values)
    return pl.DataFrame(rows, schema=SCHEMA)


def test_what_is_written_is_read(manifest: Manifest) -> None:
    header = Header(source="s3://bins", salt="mine", extra={"note": "ours", "origin": "s3://first"})
    changed = replace(manifest, header=header, frame=manifest.frame.reverse())
    assert write_manifest(changed) == manifest.root / FILE_NAME
    for read in (read_manifest(manifest.root), parse_manifest(manifest_bytes(changed), manifest.root, "there")):
        assert read.frame.equals(manifest.frame.sort("photo_id"))
        assert read.header == header
        assert (read.salt, read.header.origin) == ("mine", "s3://first")
    assert [path.name for path in manifest.root.glob(".*")] == []


def test_a_source_that_copied_nothing_is_the_origin() -> None:
    assert Header(source="s3://bins").origin == "s3://bins"


def test_rows_can_be_read_without_being_held(manifest: Manifest) -> None:
    rows, header = scan_manifest(manifest.root)
    assert header == manifest.header
    assert rows.filter(pl.col("count") == 3).collect().height == 8


def test_a_missing_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.parquet: no manifest there\. Make one: bintally ingest"):
        read_manifest(tmp_path)


def test_a_manifest_of_another_version_is_refused(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORMAT_VERSION", 1)
    write_manifest(manifest)
    monkeypatch.undo()
    said = r"manifest version 1, but this Bintally reads version 2\. .* ingest again from tests: photos that are there"
    with pytest.raises(ManifestError, match=said):
        read_manifest(manifest.root)


WHOLE = {"version": 2, "source": "s", "salt": "", "extra": {}}
FOREIGN = ["{", "[]", "3", '"version"', "{}"]
FOREIGN += [json.dumps({key: value for key, value in WHOLE.items() if key != left_out}) for left_out in WHOLE]
FOREIGN += [json.dumps(WHOLE | wrong) for wrong in ({"source": 1}, {"salt": None}, {"extra": []}, {"extra": {"a": 1}})]


@pytest.mark.parametrize("metadata", [{}, *({"bintally": text} for text in FOREIGN)], ids=str)
def test_another_parquet_file_is_refused(manifest: Manifest, metadata: dict[str, str]) -> None:
    manifest.frame.write_parquet(manifest.root / FILE_NAME, metadata=metadata)
    with pytest.raises(ManifestError, match="not one that Bintally wrote"):
        read_manifest(manifest.root)


@pytest.mark.parametrize("data", [b"", b"photo_id,count\n1,2\n", b"PAR1 but no more"])
def test_what_is_no_parquet_is_refused(manifest: Manifest, data: bytes) -> None:
    (manifest.root / FILE_NAME).write_bytes(data)
    with pytest.raises(ManifestError, match="not a readable Parquet file"):
        read_manifest(manifest.root)


def test_a_damaged_manifest_is_refused(manifest: Manifest) -> None:
    path = write_manifest(manifest)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ManifestError, match=r"manifest\.parquet: not a readable Parquet file"):
        read_manifest(manifest.root)


def test_damaged_rows_are_refused(manifest: Manifest) -> None:
    data = manifest_bytes(manifest)
    spoilt = b"PAR1" + b"\xff" * 3000 + data[3004:]
    (manifest.root / FILE_NAME).write_bytes(spoilt)
    with pytest.raises(ManifestError, match=r"manifest\.parquet: not a readable Parquet file"):
        read_manifest(manifest.root)
    with pytest.raises(ManifestError, match="there: not a readable Parquet file"):
        parse_manifest(spoilt, manifest.root, "there")


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        pytest.param(lambda m: m.frame.drop("sha256"), r"missing columns \['sha256'\]", id="column missing"),
        pytest.param(lambda m: m.frame.with_columns(more=1), r"unknown \['more'\]", id="column unknown"),
        pytest.param(
            lambda m: m.frame.with_columns(pl.col("count").cast(pl.String)), r"another type \['count'\]", id="type"
        ),
        pytest.param(lambda m: pl.concat([m.frame, m.frame.head(1)]), "stand there twice", id="photo twice"),
        pytest.param(lambda m: change(m, 0, count=-1), r"counts of 0 or more, .* \['00000'\]", id="negative count"),
        pytest.param(lambda m: change(m, 0, split="dev"), r"expected split .*found \['dev'\]", id="split unknown"),
        pytest.param(lambda m: change(m, 3, flags=["dim"]), r"expected flags .*found \['dim'\]", id="flag unknown"),
        pytest.param(lambda m: change(m, 3, flags=None), r"an ID, a key and a list of flags.*00003", id="no flags"),
        pytest.param(lambda m: change(m, 3, photo_key=None), r"an ID, a key and a list of.*00003", id="no key"),
        pytest.param(lambda m: change(m, 3, photo_key="/etc/x"), r"below the dataset's folder", id="key absolute"),
        pytest.param(lambda m: change(m, 3, photo_key="a/../../x"), r"below the dataset's folder", id="key above"),
        pytest.param(lambda m: change(m, 3, sha256=None), r"a sha256 and a size for every.*00003", id="no sha256"),
        pytest.param(lambda m: change(m, 3, size_bytes=None), r"a sha256 and a size for every.*00003", id="no size"),
        pytest.param(
            lambda m: change(m, 3, flags=["not-fetched"]), r"but those flagged not-fetched, which have", id="fetched"
        ),
        pytest.param(lambda m: change(m, 3, group=None), r"a group and a split together", id="no group"),
        pytest.param(lambda m: change(m, 3, split=None), r"a group and a split together", id="no split"),
        pytest.param(
            lambda m: change(m, 3, duplicate_of="00003", flags=["exact-duplicate"]),
            r"duplicate_of to name another photo",
            id="duplicate of itself",
        ),
        pytest.param(
            lambda m: change(m, 3, duplicate_of="00001", flags=["dark"]),
            r"duplicate_of to name another photo, where flagged exact-duplicate or near-duplicate",
            id="duplicate, not flagged",
        ),
        pytest.param(
            lambda m: change(m, 0, group="g", split="train").with_columns(
                group=pl.lit("g"), split=pl.Series(["train", *["test"] * (m.frame.height - 1)])
            ),
            r"siblings lie in different splits: groups \['g'\]",
            id="group torn",
        ),
    ],
)
def test_a_table_that_is_no_manifest_is_refused(
    manifest: Manifest, spoil: Callable[[Manifest], pl.DataFrame], fault: str
) -> None:
    with pytest.raises(ManifestError, match=fault):
        replace(manifest, frame=spoil(manifest))


@pytest.mark.parametrize(
    "values",
    [
        {"sha256": None, "size_bytes": None, "flags": ["not-fetched"], "group": None, "split": None},
        {"sha256": None, "size_bytes": None, "flags": ["undecodable", "not-fetched"]},  # as prepare leaves it
        {"duplicate_of": "00001", "flags": ["near-duplicate", "sibling"]},
        {"duplicate_of": "gone", "flags": ["exact-duplicate"]},  # in a part of a dataset
        {"photo_key": "bin-images/00003..png"},
        {"count": None, "items": None, "width_px": None, "height_px": None},
    ],
    ids=["not fetched", "not prepared", "near duplicate", "duplicate of one left out", "dots", "nothing known"],
)
def test_what_may_be_is_not_refused(manifest: Manifest, values: dict[str, object]) -> None:
    assert replace(manifest, frame=change(manifest, 3, **values)).frame.height == 48


def test_flags_are_ingests_or_the_audits_and_each_column_has_a_meaning() -> None:
    assert {*INGEST_FLAGS, *AUDIT_FLAGS} == set(Flag)
    assert not {*INGEST_FLAGS} & {*AUDIT_FLAGS}
    assert not {*UNUSABLE} & {*DEFAULT_EXCLUDED}
    assert list(MEANINGS) == SCHEMA.names()
    assert list(ITEM_MEANINGS) == [field.name for field in ITEM.fields]
    assert all([*MEANINGS.values(), *ITEM_MEANINGS.values()])


def test_a_flag_that_does_not_exist_lists_those_that_do(manifest: Manifest) -> None:
    with pytest.raises(SettingsError, match=r"'dim': there is no such flag; there are not-fetched, .*, sibling"):
        parse_flag("dim")
    for split in (Split.TRAIN, Split.TEST):
        with pytest.raises(SettingsError, match="'dim'"):
            manifest.usable(split, ["dark", "dim"])
    with pytest.raises(SettingsError, match="'dim'"):
        manifest.kept_out(["dim"])


def flagged(manifest: Manifest, **flags: Flag) -> Manifest:
    """The manifest with photos flagged: `p00003=Flag.DARK`."""
    of_photo = {name.removeprefix("p"): [flag.value] for name, flag in flags.items()}
    rows = [{**row, "flags": of_photo.get(row["photo_id"], row["flags"])} for row in manifest.frame.to_dicts()]
    nothing = {"sha256": None, "size_bytes": None}
    rows = [{**row, **nothing} if Flag.NOT_FETCHED in row["flags"] else row for row in rows]
    return replace(manifest, frame=pl.DataFrame(rows, schema=SCHEMA))


@pytest.mark.parametrize("split", list(Split))
@pytest.mark.parametrize("flag", list(Flag))
def test_each_flag_keeps_out_what_it_should(manifest: Manifest, split: Split, flag: Flag) -> None:
    """Nothing can be counted: never used. Else kept out of all but test, where a recipe or the default says so."""
    photo_id = manifest.usable(split)["photo_id"][0]
    changed = flagged(manifest, **{f"p{photo_id}": flag})

    def is_used(*excluded: str) -> bool:
        return photo_id in changed.usable(split, excluded)["photo_id"]

    assert is_used() == (flag not in UNUSABLE)
    assert is_used(flag.value) == (split is Split.TEST and flag not in UNUSABLE)
    by_default = split is not Split.TEST and flag in (Flag.TOTAL_MISMATCH, Flag.EXACT_DUPLICATE)
    assert (photo_id in changed.usable(split)["photo_id"]) == (flag not in UNUSABLE and not by_default)


def test_usable_photos_are_labelled_and_of_that_split(manifest: Manifest) -> None:
    rows = manifest.usable(Split.TRAIN)
    unlabelled = replace(manifest, frame=change(manifest, int(rows["photo_id"][0]), count=None))
    assert unlabelled.usable(Split.TRAIN)["photo_id"].to_list() == rows["photo_id"].to_list()[1:]
    assert set(rows["split"]) == {"train"}


def test_a_split_of_which_nothing_is_left_says_which_flags_did_it(manifest: Manifest) -> None:
    dark = replace(manifest, frame=manifest.frame.with_columns(flags=pl.lit([Flag.DARK.value])))
    assert dark.usable(Split.TEST, ["dark"]).height == manifest.usable(Split.TEST).height > 0
    for split in (Split.TRAIN, Split.VAL, Split.CALIBRATION):
        said = f"the {split.value} split has no labelled photo without the flags .*truncated, dark; ingest more"
        with pytest.raises(ManifestError, match=said):
            dark.usable(split, ["dark"])


def test_what_is_kept_out_is_counted_by_flag(manifest: Manifest) -> None:
    train, other = manifest.usable(Split.TRAIN)["photo_id"].to_list()[:2]
    test, val = (manifest.usable(split)["photo_id"][0] for split in (Split.TEST, Split.VAL))
    changed = flagged(
        manifest, **{f"p{train}": Flag.DARK, f"p{other}": Flag.TRUNCATED, f"p{test}": Flag.DARK, f"p{val}": Flag.DARK}
    )
    assert changed.kept_out(["dark", "blurred"]) == {
        **dict.fromkeys(UNUSABLE, 0),
        Flag.TRUNCATED: 1,
        Flag.DARK: 2,
        Flag.BLURRED: 0,
    }
    assert Flag.DARK not in changed.kept_out()
    unlabelled = replace(changed, frame=change(changed, int(train), count=None, flags=["dark"]))
    assert unlabelled.kept_out(["dark"])[Flag.DARK] == 1
    unplaced = replace(changed, frame=change(changed, int(train), group=None, split=None, flags=["dark"]))
    assert unplaced.kept_out(["dark"])[Flag.DARK] == 1


def test_without_splits_nothing_is_usable(manifest: Manifest) -> None:
    unsplit = replace(manifest, header=replace(manifest.header, salt=""))
    with pytest.raises(ManifestError, match=r"no splits yet\. Make them: bintally split"):
        unsplit.usable(Split.TRAIN)
    with pytest.raises(ManifestError, match="no splits yet"):
        _ = unsplit.split_hash


def test_hashes_say_what_changed(manifest: Manifest) -> None:
    shuffled = replace(manifest, frame=manifest.frame.sample(fraction=1.0, shuffle=True, seed=1))
    assert (shuffled.split_hash, shuffled.content_hash) == (manifest.split_hash, manifest.content_hash)
    relabelled = replace(manifest, frame=change(manifest, 0, count=5 if manifest.frame["count"][0] != 5 else 4))
    assert relabelled.split_hash == manifest.split_hash
    assert relabelled.content_hash != manifest.content_hash
    everywhere = replace(manifest, frame=manifest.frame.with_columns(split=pl.lit("train")))
    assert everywhere.split_hash != manifest.split_hash
    assert everywhere.content_hash == manifest.content_hash


def test_a_photo_in_no_split_is_not_in_the_split_hash(manifest: Manifest) -> None:
    fewer = replace(manifest, frame=manifest.frame.slice(1))
    unplaced = replace(manifest, frame=change(manifest, 0, group=None, split=None))
    assert unplaced.split_hash == fewer.split_hash != manifest.split_hash
    assert unplaced.content_hash == manifest.content_hash


@given(ids=st.lists(st.text("ab1", min_size=1, max_size=3), unique=True, min_size=1), data=st.data())
def test_hashes_are_of_the_rows_as_text(ids: list[str], data: st.DataObject) -> None:
    """Tabs between cells, newlines between rows, in order of the IDs: as every split hash so far was made."""
    texts = data.draw(st.lists(st.none() | st.text("xyz", max_size=3), min_size=len(ids), max_size=len(ids)))
    numbers = data.draw(st.lists(st.none() | st.integers(-5, 10**6), min_size=len(ids), max_size=len(ids)))
    rows = sorted(zip(ids, texts, numbers, strict=True))
    text = "\n".join("\t".join("" if cell is None else str(cell) for cell in row) for row in rows)
    frame = pl.DataFrame({"photo_id": ids, "b": texts, "c": numbers}, schema={"photo_id": str, "b": str, "c": int})
    assert module._digest(frame) == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_no_rows_have_a_hash_too() -> None:
    assert module._digest(pl.DataFrame(schema={"photo_id": str})) == hashlib.sha256(b"").hexdigest()[:12]


def test_a_full_disk_leaves_the_manifest_before_it(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_manifest(manifest)
    before = path.read_bytes()

    def half(_rows: pl.LazyFrame, part: Path, **_: object) -> None:
        part.write_bytes(b"PAR1")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pl.LazyFrame, "sink_parquet", half)
    with pytest.raises(ManifestError, match=r"cannot be written .*No space left.* the manifest before it still stands"):
        write_manifest(replace(manifest, header=Header(source="elsewhere")))
    assert path.read_bytes() == before
    assert [found.name for found in manifest.root.glob(".*")] == []


def test_a_photo_is_read_or_its_place_is_named(manifest: Manifest) -> None:
    key = manifest.frame["photo_key"][0]
    assert manifest.read_photo(key) == (manifest.root / key).read_bytes()
    with pytest.raises(ManifestError, match=r"gone\.jpg: in the manifest, but cannot be read .* Ingest again"):
        manifest.read_photo("bin-images/gone.jpg")
