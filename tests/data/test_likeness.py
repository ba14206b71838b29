"""Which photos are duplicates, and which of them is kept."""

from pathlib import Path

import pytest
from tests.audited import Bins, clean_bins, edited, flat, make_dataset

from bintally.data.findings import sibling_chains
from bintally.data.likeness import Duplicates, Likeness, find_duplicates
from bintally.data.looking import look_at_all
from bintally.data.manifest import Flag, Manifest
from bintally.errors import SettingsError


def find(root: Path, bins: Bins, *, likeness: Likeness | None = None, **splits: str) -> Duplicates:
    """Duplicates among `bins`; `splits`: of those not in train, as `p00001="test"`."""
    by_photo = dict.fromkeys(bins, "train") | {name.removeprefix("p"): split for name, split in splits.items()}
    manifest = make_dataset(root, bins, splits=by_photo)
    looked = look_at_all(manifest, trust_figures=False, workers=1)
    measured = Manifest(frame=looked.frame, root=root, header=manifest.header)
    return find_duplicates(measured, sibling_chains(looked.frame), likeness or Likeness(), workers=2)


def with_copies(**copies: str) -> dict[str, tuple[bytes, bytes | None]]:
    """The clean bins and copies of 00001, as `p30001="exact"`; they have the record of 00004."""
    bins = dict(clean_bins())
    original, record = bins["00001"][0], bins["00004"][1]
    for name, kind in copies.items():
        bins[name.removeprefix("p")] = (original if kind == "exact" else edited(original, kind=kind), record)
    return bins


def found(duplicates: Duplicates) -> dict[str, Flag | None]:
    return {finding.photo_id: finding.flag for finding in duplicates.findings()}


def test_clean_bins_are_no_duplicates(tmp_path: Path) -> None:
    assert find(tmp_path, clean_bins()).pairs == ()


def test_a_copy_is_flagged_and_names_what_is_kept(tmp_path: Path) -> None:
    duplicates = find(tmp_path, with_copies(p30001="exact", p30009="copied"))
    assert found(duplicates) == {"30001": Flag.EXACT_DUPLICATE, "30009": Flag.NEAR_DUPLICATE}
    assert dict(duplicates.kept_instead) == {"30001": "00001", "30009": "00001"}
    assert [pair.is_exact for pair in duplicates.pairs] == [True, False]  # copies are not compared with copies
    assert not any(pair.are_siblings or pair.across_splits for pair in duplicates.pairs)


def test_the_words_say_what_a_person_must_know(tmp_path: Path) -> None:
    bins = with_copies(p30001="exact", p30009="copied")
    bins["30001"] = (bins["30001"][0], clean_bins()["00007"][1])
    exact, near = find(tmp_path, bins, p00001="test").findings()
    assert exact.text == "exact duplicate: the bytes of 00001; counts 5 and 4; in another split: train and test"
    assert near.text.startswith("near duplicate: nearly the picture of 00001 (")
    assert near.text.endswith(" where least); in another split: train and test")


@pytest.mark.parametrize("kind", ["exact", "copied"])
@pytest.mark.parametrize(
    ("original", "copy", "flagged"),
    [
        ("train", "train", "30001"),
        ("train", "test", "00001"),
        ("train", "val", "00001"),
        ("val", "calibration", "00001"),
        ("calibration", "test", "00001"),
        ("test", "train", "30001"),
    ],
)
def test_kept_is_what_is_measured_on(tmp_path: Path, kind: str, original: str, copy: str, flagged: str) -> None:
    duplicates = find(tmp_path, with_copies(p30001=kind), p00001=original, p30001=copy)
    assert list(found(duplicates)) == [flagged]
    (pair,) = duplicates.pairs
    assert pair.across_splits == (original != copy)


def test_a_labelled_photo_is_kept_before_an_unlabelled_one(tmp_path: Path) -> None:
    bins = with_copies(p30001="exact")
    bins["00001"] = (bins["00001"][0], None)
    duplicates = find(tmp_path, bins)
    assert list(found(duplicates)) == ["00001"]
    assert not duplicates.pairs[0].counts_differ


def test_siblings_are_known_as_such(tmp_path: Path) -> None:
    bins = dict(clean_bins())
    bins["00002"] = (edited(bins["00001"][0], kind="copied"), bins["00001"][1])
    (pair,) = find(tmp_path, bins).pairs
    assert pair.are_siblings
    assert not pair.counts_differ


def test_a_chain_is_flagged_as_far_as_it_is_like_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a - b - c, where a and c are not alike, b goes; c is like no photo that is kept."""
    bins = dict(list(clean_bins().items())[:3])
    hashes = iter([0b0, 0b11, 0b1111])
    monkeypatch.setattr("bintally.data.photo_quality.perceptual_hash", lambda _grey: next(hashes))
    likeness = Likeness(bits=2, overall=-1, least=-1)
    duplicates = find(tmp_path, bins, likeness=likeness)
    first, second, third = bins
    pairs = {(pair.kept.photo_id, pair.other.photo_id) for pair in duplicates.pairs}
    assert pairs == {(first, second), (second, third)}
    assert dict(duplicates.kept_instead) == {second: first}
    assert found(duplicates) == {second: Flag.NEAR_DUPLICATE}


def test_the_nearest_of_several_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bins = dict(list(clean_bins().items())[:3])
    hashes = iter([0b0, 0b1111111, 0b1111])
    monkeypatch.setattr("bintally.data.photo_quality.perceptual_hash", lambda _grey: next(hashes))
    duplicates = find(tmp_path, bins, likeness=Likeness(bits=4, overall=-1, least=-1))
    first, second, third = bins
    assert dict(duplicates.kept_instead) == {third: second}
    (finding,) = duplicates.findings()
    assert finding.text.startswith(f"near duplicate: nearly the picture of {second} (3 of 64 bits differ")
    assert {pair.kept.photo_id for pair in duplicates.pairs} == {first, second}


def test_flat_photos_are_not_alike_unless_they_are_the_same_bytes(tmp_path: Path) -> None:
    bins = dict(clean_bins())
    bins |= {f"4000{n}": (flat(n, (240 + n, 200)), None) for n in range(4)}
    bins["40009"] = (flat(0, (240, 200)), None)
    duplicates = find(tmp_path, bins)
    assert found(duplicates) == {"40009": Flag.EXACT_DUPLICATE}


@pytest.mark.parametrize("values", [{"overall": 1.0}, {"least": 1.0}])
def test_both_agreements_count(tmp_path: Path, values: dict[str, float]) -> None:
    bins = dict(clean_bins())
    bins["30001"] = (edited(bins["00001"][0], kind="blurred"), None)
    assert len(find(tmp_path / "a", bins).pairs) == 1
    assert not find(tmp_path / "b", bins, likeness=Likeness(**values)).pairs


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"bits": -1}, "0 to 19 bits, got -1"),
        ({"bits": 20}, "got 20"),
        ({"overall": 1.1}, "overall"),
        ({"least": -2}, "least"),
    ],
)
def test_thresholds_that_cannot_be_meant_are_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Likeness(**values)


def test_photos_that_cannot_be_decoded_are_no_duplicates(tmp_path: Path) -> None:
    bins = dict(clean_bins())
    bins["40001"] = bins["40009"] = (bins["00001"][0][:3000], None)
    assert not find(tmp_path, bins).pairs
