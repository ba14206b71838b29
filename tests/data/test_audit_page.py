"""The audit's page: what must stand on it, and that it loads nothing."""

import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from tests.audited import clean_bins, damaged, edited, make_dataset

from bintally.data.audit import AuditReport, Thresholds, audit
from bintally.data.audit_page import write_page
from bintally.data.audit_pictures import sections_of
from bintally.data.audit_plots import plots_of
from bintally.data.manifest import SCHEMA, Flag, Manifest


def flawed(root: Path) -> AuditReport:
    bins = dict(clean_bins())
    first = bins["00001"][0]
    bins["00004"] = (edited(bins["00004"][0], kind="dark"), bins["00004"][1])
    bins["00007"] = (edited(bins["00007"][0], kind="blurred"), bins["00007"][1])
    bins["00008"] = (damaged(bins["00008"][0]), bins["00008"][1])
    bins["013"] = (bins["00021"][0][:5000], None)
    bins["30001"] = (first, bins["00004"][1])
    bins["30005"] = (edited(first, kind="copied"), bins["00004"][1])
    splits = dict.fromkeys(bins, "train") | {"30005": "test", "00011": "val", "00012": "calibration"}
    manifest = make_dataset(root / "<i>bins", bins, splits=splits)
    (manifest.root / "bin-images" / "00015.jpg").unlink()
    return audit(manifest)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> AuditReport:
    return flawed(tmp_path_factory.mktemp("audited"))


@pytest.fixture(scope="module")
def page(report: AuditReport, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "sub" / "audit.html"
    assert write_page(path, report) == path
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


class Parts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.loads, self.tags, self.ids, self.photos = [], [], [], []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "srcset", "data", "action", "poster"}:
                self.loads.append(value)
            if name == "id":
                self.ids.append(value)
            if tag == "img" and name == "alt":
                self.photos.append(value)


@pytest.fixture(scope="module")
def parts(page: str) -> Parts:
    parser = Parts()
    parser.feed(page)
    return parser


def test_the_page_loads_nothing(page: str, parts: Parts) -> None:
    assert parts.loads
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in parts.loads)
    assert not {"script", "link", "iframe", "object"} & set(parts.tags)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_ids_of_different_plots_do_not_collide(parts: Parts) -> None:
    assert len(parts.ids) == len(set(parts.ids))
    assert {link.removeprefix("#") for link in parts.loads if link.startswith("#")} <= set(parts.ids)


def test_every_flag_stands_in_the_table_with_its_photos(text: str, report: AuditReport) -> None:
    for flag in Flag:
        assert re.search(rf"{flag.value} {report.flagged(flag).height}\b", text)
    assert "near-duplicate 1 7.7% 1 0 0 0 kept" in text  # the copy in train is flagged, the one in test is kept
    assert "truncated 1 7.7% 1 0 0 0 never used" in text


def test_leaks_and_files_that_went_astray_are_told_loudly(page: str, text: str, report: AuditReport) -> None:
    assert len(report.leaks) == 1
    assert "1 pairs of duplicates lie in two splits." in text
    assert page.count('class="card several leak"') == 1
    assert "1 photo is not what the manifest says." in text
    assert "bin-images/00015.jpg: in the manifest, but cannot be read (No such file or directory)" in text
    assert "Run bintally ingest or prepare again" in text


def test_what_is_flagged_is_shown_and_what_cannot_be_decoded_is_named(parts: Parts, text: str) -> None:
    for photo_id in ("00001", "30001", "30005", "00004", "00007", "00013"):
        assert f"photo {photo_id}" in parts.photos
    assert "photo 00008" not in parts.photos
    assert "no picture 00008 count" in text
    assert "brightness" in text


def test_thresholds_hashes_and_licence_stand_on_the_page(text: str, report: AuditReport) -> None:
    manifest = report.manifest
    for fact in (manifest.split_hash, manifest.content_hash, "memory://bins", "bintally-1", "CC BY-NC-SA"):
        assert fact in text
    assert "Blurred: sharpness below 0.03" in text
    assert "at most 10 of 64 bits" in text


def test_names_are_escaped(page: str) -> None:
    assert "<i>bins" not in page
    assert "Audit of &lt;i&gt;bins" in page


def test_all_plots_are_there(page: str, text: str) -> None:
    drawn = re.findall('aria-label="([^"]*)"', page)
    assert drawn[:4] == ["Counts", "Products", "Photo sizes", "File sizes"]
    assert drawn[4:] == ["Item volumes", "Bin volumes", "Item weights", "Brightness", "Sharpness"]
    assert "240 x 210" in text


def test_the_same_audit_gives_the_same_page(report: AuditReport, page: str, tmp_path: Path) -> None:
    assert write_page(tmp_path / "again.html", report).read_text(encoding="utf-8") == page


def test_without_splits_the_page_says_what_to_do(tmp_path: Path) -> None:
    page = write_page(tmp_path / "p.html", audit(make_dataset(tmp_path, clean_bins()))).read_text(encoding="utf-8")
    assert "10 photos are in no split." in page
    assert "bintally split" in page
    assert "Nothing is flagged." in page
    cells = re.search(r'name">dark<.*?</tr>', page, re.DOTALL)
    assert "in none" in page
    assert cells is not None
    assert re.findall(r">(\d+)<", cells[0]) == ["0"] * 6  # in all, in the four splits, and in none


def test_a_sample_is_shown_however_many_are_flagged(tmp_path: Path) -> None:
    bins = {f"{n:05d}": clean_bins()["00001"] for n in range(1, 200, 5)}
    report = audit(make_dataset(tmp_path, bins), Thresholds(dark_below=255))
    sections = {section.title: section for section in sections_of(report)}
    assert sections["Dark"].shown == "10 of 40 photos"
    assert sections["Exact duplicates"].shown == "6 of 39 pairs"
    assert len(sections["Exact duplicates"].cards) == 6


def test_an_empty_dataset_has_a_page(tmp_path: Path) -> None:
    assert "0 photos" in write_page(tmp_path / "p.html", audit(make_dataset(tmp_path, {}))).read_text(encoding="utf-8")


def rows(**columns: list[object]) -> pl.DataFrame:
    return pl.DataFrame(columns, schema_overrides=SCHEMA).pipe(
        lambda frame: frame.with_columns(pl.lit(None, kind).alias(n) for n, kind in SCHEMA.items() if n not in columns)
    )


@pytest.mark.parametrize(
    ("columns", "titles"),
    [
        ({"count": [None]}, []),
        ({"count": [0]}, ["Counts"]),
        ({"count": [3, 209]}, ["Counts"]),
        ({"size_bytes": [0, 1]}, ["File sizes"]),
        ({"brightness": [0.0]}, ["Brightness"]),
        ({"sharpness": [0.0]}, []),  # an axis of powers has no place for it
        ({"width_px": list(range(1, 20)), "height_px": [5] * 19}, ["Photo sizes"]),
    ],
)
def test_plots_bear_whatever_is_there(columns: dict[str, list[object]], titles: list[str]) -> None:
    photo_id: list[object] = ["x"] * len(next(iter(columns.values())))
    plots = plots_of(rows(photo_id=photo_id, **columns), dark_below=60, blurred_below=0.03)
    assert [plot.title for plot in plots] == titles


def test_a_photo_that_is_gone_from_the_manifest_folder_has_no_picture(report: AuditReport) -> None:
    moved = Manifest(frame=report.manifest.frame, root=report.manifest.root / "nowhere", header=report.manifest.header)
    gone = AuditReport(
        manifest=moved, thresholds=report.thresholds, measured=0, known=0, astray=(), duplicates=report.duplicates
    )
    assert all(picture.source is None for s in sections_of(gone) for card in s.cards for picture in card.pictures)
