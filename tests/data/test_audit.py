"""The whole audit: each flag on what was made so and on no other, again and again, as the dataset grows."""

import json
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from tests.audited import Bins, clean_bins, damaged, edited, make_dataset

from bintally.data import looking
from bintally.data.audit import MEANINGS, NOTE, AuditReport, Thresholds, audit, consequence
from bintally.data.describe import describe
from bintally.data.manifest import AUDIT_FLAGS, SCHEMA, Flag, Manifest, Split, read_manifest, write_manifest
from bintally.domain.bins import PhotoId
from bintally.errors import SettingsError


def without(record: bytes | None, field: str) -> bytes:
    """The record, its first item without `field`."""
    parsed = json.loads(record or b"")
    next(iter(parsed["BIN_FCSKU_DATA"].values()))[field] = None
    return json.dumps(parsed).encode()


@pytest.fixture(scope="module")
def flawed() -> Bins:
    """One photo for each flag that the audit sets."""
    bins = dict(clean_bins())
    first, record = bins["00001"]
    bins["00004"] = (edited(bins["00004"][0], kind="dark"), bins["00004"][1])
    bins["00007"] = (edited(bins["00007"][0], kind="blurred"), bins["00007"][1])
    bins["00008"] = (bins["00008"][0][:4000], bins["00008"][1])
    bins["00011"] = (damaged(bins["00011"][0]), bins["00011"][1])
    bins["00020"] = (bins["00020"][0], without(bins["00020"][1], "weight"))
    bins["30001"] = (first, None)
    bins["30005"] = (edited(first, kind="copied"), None)
    bins["013"] = (bins.pop("00021")[0], None)  # collides with 00013
    bins["00016"] = (bins.pop("00012")[0], bins["00015"][1])  # of another bin, but by its record a sibling of 00015
    assert record is not None
    return bins


EXPECTED = {
    "00004": ["dark"],
    "00007": ["blurred"],
    "00008": ["truncated"],
    "00011": ["undecodable"],
    "00013": ["key-collision"],
    "00015": ["sibling"],
    "00016": ["sibling"],
    "00020": ["missing-fields"],
    "013": ["no-record", "key-collision"],
    "30001": ["no-record", "exact-duplicate"],
    "30005": ["no-record", "near-duplicate"],
}


def flags_of(report: AuditReport) -> dict[str, list[str]]:
    rows = report.manifest.frame.select("photo_id", "flags").rows()
    return {photo_id: flags for photo_id, flags in rows if flags}


def test_clean_bins_are_clean(tmp_path: Path) -> None:
    report = audit(make_dataset(tmp_path, clean_bins()))
    assert flags_of(report) == {}
    assert report.manifest.frame["finding"].null_count() == 10


def test_each_flag_is_set_on_what_was_made_so_and_on_no_other(flawed: Bins, tmp_path: Path) -> None:
    report = audit(make_dataset(tmp_path, flawed), workers=2)
    assert flags_of(report) == EXPECTED
    assert {flag for flags in EXPECTED.values() for flag in flags} >= {flag.value for flag in AUDIT_FLAGS}
    kept = dict(report.manifest.frame.select("photo_id", "duplicate_of").drop_nulls().rows())
    assert kept == {"30001": "00001", "30005": "00001"}
    has_finding = report.manifest.frame.filter(pl.col("finding").is_not_null())["photo_id"].to_list()
    assert has_finding == sorted(EXPECTED)


def test_nothing_is_written_by_auditing(flawed: Bins, tmp_path: Path) -> None:
    manifest = make_dataset(tmp_path, flawed)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    audit(manifest)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_again_it_finds_the_same_and_decodes_only_what_has_no_figures(flawed: Bins, tmp_path: Path) -> None:
    first = audit(make_dataset(tmp_path, flawed))
    write_manifest(first.manifest)
    second = audit(read_manifest(tmp_path))
    assert second.manifest.frame.equals(first.manifest.frame)
    assert (first.measured, first.known) == (10, 0)
    assert (second.measured, second.known) == (0, 10)
    notes = [json.loads(each.manifest.header.extra[NOTE]) for each in (first, second)]
    for note in notes:
        datetime.fromisoformat(note.pop("when"))
    assert notes[0] == notes[1]


def test_a_dataset_that_grew_is_audited_where_it_grew(
    flawed: Bins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = {photo_id: bins for photo_id, bins in flawed.items() if photo_id < "2"}
    before = audit(make_dataset(tmp_path, fewer)).manifest
    assert before.frame["duplicate_of"].null_count() == before.frame.height
    grown = make_dataset(tmp_path, flawed)
    new = grown.frame.filter(~pl.col("photo_id").is_in(before.frame["photo_id"].to_list()))
    joined = Manifest(frame=pl.concat([before.frame, new]).sort("photo_id"), root=tmp_path, header=before.header)
    decoded: list[str] = []
    decode = looking.decode
    monkeypatch.setattr(looking, "decode", lambda data, *, name: decoded.append(name) or decode(data, name=name))
    after = audit(joined)
    broken = ["bin-images/00008.jpg", "bin-images/00011.jpg"]
    assert sorted(decoded) == sorted([*broken, "bin-images/30001.jpg", "bin-images/30005.jpg"])
    assert flags_of(after) == EXPECTED


def test_what_was_mended_loses_its_flags(flawed: Bins, tmp_path: Path) -> None:
    before = audit(make_dataset(tmp_path, flawed)).manifest
    photo, record = clean_bins()["00008"]
    (tmp_path / "bin-images" / "00008.jpg").write_bytes(photo)
    row, _ = describe(PhotoId("00008"), photo, record)
    rows = [row if each["photo_id"] == "00008" else each for each in before.frame.to_dicts()]
    mended = Manifest(frame=pl.DataFrame(rows, schema=before.frame.schema), root=tmp_path, header=before.header)
    after = audit(mended)
    assert flags_of(after) == {photo_id: flags for photo_id, flags in EXPECTED.items() if photo_id != "00008"}
    assert after.measured == 1


@pytest.mark.parametrize(
    "note", [None, "{", "[]", "null", '{"version": 0, "prepared": null}', '{"version": 1, "prepared": "another way"}']
)
def test_figures_of_unknown_origin_are_measured_again(tmp_path: Path, note: str | None) -> None:
    before = audit(make_dataset(tmp_path, clean_bins())).manifest
    extra = {} if note is None else {NOTE: note}
    frame = before.frame.with_columns(brightness=pl.lit(1.0, pl.Float32))
    after = audit(Manifest(frame=frame, root=tmp_path, header=type(before.header)(source="x", extra=extra)))
    assert after.measured == 10
    assert after.manifest.frame.equals(before.frame)


def test_a_prepared_dataset_is_measured_on_its_own(tmp_path: Path) -> None:
    before = audit(make_dataset(tmp_path, clean_bins())).manifest
    header = type(before.header)(source="x", extra={**before.header.extra, "prepared": "somehow"})
    prepared = Manifest(frame=before.frame, root=tmp_path, header=header)
    first = audit(prepared)
    assert first.measured == 10
    assert audit(first.manifest).known == 10


def test_notes_of_others_stay(tmp_path: Path) -> None:
    manifest = make_dataset(tmp_path, clean_bins(), extra={"origin": "s3://bins"})
    header = audit(manifest).manifest.header
    assert header.extra["origin"] == "s3://bins"
    assert header.source == "memory://bins"


def test_thresholds_decide_and_are_noted(tmp_path: Path) -> None:
    thresholds = Thresholds(dark_below=255.0, blurred_below=100.0)
    report = audit(make_dataset(tmp_path, clean_bins()), thresholds)
    assert all(flags == ["dark", "blurred"] for flags in flags_of(report).values())
    assert len(flags_of(report)) == 10
    note = json.loads(report.manifest.header.extra[NOTE])
    assert note["thresholds"]["dark_below"] == 255.0
    assert note["thresholds"]["likeness"] == {"bits": 10, "overall": 0.65, "least": 0.3}


@pytest.mark.parametrize(
    ("values", "said"),
    [({"dark_below": -1}, "dark below"), ({"dark_below": 256}, "256"), ({"blurred_below": -0.1}, "blurred")],
)
def test_thresholds_that_cannot_be_meant_are_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Thresholds(**values)


def test_leaks_are_duplicates_in_two_splits(flawed: Bins, tmp_path: Path) -> None:
    splits = dict.fromkeys(flawed, "train") | {"30005": "test"}
    report = audit(make_dataset(tmp_path, flawed, splits=splits))
    (leak,) = report.leaks
    assert (leak.kept.photo_id, leak.other.photo_id) == ("30005", "00001")
    assert report.by_split(Flag.NEAR_DUPLICATE) == {
        Split.TRAIN: 1, Split.VAL: 0, Split.CALIBRATION: 0, Split.TEST: 0, None: 0
    }  # fmt: skip
    unsplit = audit(make_dataset(tmp_path, flawed))
    assert not unsplit.leaks
    assert unsplit.by_split(Flag.NEAR_DUPLICATE)[None] == 1


def test_what_went_astray_is_told_in_its_row(tmp_path: Path) -> None:
    manifest = make_dataset(tmp_path, clean_bins())
    (tmp_path / "bin-images" / "00007.jpg").write_bytes(b"another")
    report = audit(manifest)
    assert [finding.photo_id for finding in report.astray] == ["00007"]
    told = dict(report.manifest.frame.select("photo_id", "finding").drop_nulls().rows())
    assert told == {"00007": "bin-images/00007.jpg: not the bytes that the manifest names"}
    assert flags_of(report) == {}


def test_a_photo_that_was_not_fetched_needs_no_split(tmp_path: Path) -> None:
    manifest = make_dataset(tmp_path, clean_bins(), splits=dict.fromkeys(clean_bins(), "train"))
    absent = {"sha256": None, "size_bytes": None, "group": None, "split": None, "flags": ["not-fetched"]}
    rows = [{**row, **absent} if row["photo_id"] == "00001" else row for row in manifest.frame.to_dicts()]
    report = audit(Manifest(frame=pl.DataFrame(rows, schema=SCHEMA), root=tmp_path, header=manifest.header))
    assert report.unplaced == 0
    assert report.measured == 9
    assert audit(make_dataset(tmp_path, clean_bins())).unplaced == 10


def test_an_empty_dataset_has_nothing(tmp_path: Path) -> None:
    report = audit(make_dataset(tmp_path, {}))
    assert report.manifest.frame.is_empty()
    assert report.share(0) == "0.0%"


def test_every_flag_has_a_meaning_and_a_consequence() -> None:
    assert set(MEANINGS) == set(Flag)
    assert {consequence(flag) for flag in Flag} == {"never used", "not learned from", "left out", "kept"}
    assert consequence(Flag.EXACT_DUPLICATE) == "left out"
