"""`bintally audit`, from its options to its table, its page and its exit codes."""

import re
import sys
from pathlib import Path

import pytest
from tests.audited import clean_bins, edited, make_dataset
from tests.cli.runner import Bintally

from bintally.data import looking
from bintally.data.manifest import Flag, has_any_flag, read_manifest, write_manifest


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten clean bins and a copy of one; the copy lies in test."""
    bins = dict(clean_bins())
    bins["30001"] = (edited(bins["00001"][0], kind="shifted"), bins["00004"][1])
    splits = dict.fromkeys(bins, "train") | {"30001": "test"}
    return make_dataset(tmp_path / "data", bins, splits=splits).root


def row(out: str, flag: str) -> list[str]:
    """The cells of a flag's row."""
    line = next(line for line in out.splitlines() if f" {flag} " in line)
    return [cell.strip() for cell in re.split("[│|]", line)[1:-1]]


def test_flags_are_written_told_and_shown_and_are_no_failure(bintally: Bintally, data: Path) -> None:
    done = bintally("audit", data)
    assert (done.code, done.err) == (0, "")
    assert row(done.out, "near-duplicate")[1:4] == ["1", "9.1%", "kept"]
    assert "blurred" not in done.out
    assert "11 photos measured, 0 known from before." in done.out
    assert "LEAK: 1 of 1 pairs of duplicates lie in two splits: 30001 and 00001." in done.out
    assert f"Page: {data / 'audit.html'}" in done.out
    assert "photo 30001" in (data / "audit.html").read_text(encoding="utf-8")
    flagged = read_manifest(data).frame.filter(has_any_flag([Flag.NEAR_DUPLICATE]))
    assert flagged.select("photo_id", "duplicate_of").rows() == [("00001", "30001")]


def test_again_nothing_is_measured_and_all_is_the_same(bintally: Bintally, data: Path) -> None:
    bintally("audit", data)
    before = read_manifest(data).frame
    done = bintally("audit", data)
    assert "0 photos measured, 11 known from before." in done.out
    assert read_manifest(data).frame.equals(before)


def test_options_reach_the_audit(bintally: Bintally, data: Path, tmp_path: Path) -> None:
    page = tmp_path / "elsewhere" / "page.html"
    done = bintally("audit", data, "--dark-below", 255, "--blurred-below", 100, "--near-least", 1, "--out", page)
    assert row(done.out, "dark")[1] == "11"
    assert row(done.out, "blurred")[1] == "11"
    assert "near-duplicate" not in done.out
    assert page.is_file()
    assert not (data / "audit.html").exists()
    assert "near-duplicate" in bintally("audit", data).out
    assert "near-duplicate" not in bintally("audit", data, "--near-bits", 0).out
    assert "near-duplicate" not in bintally("audit", data, "--near-overall", 1).out


def test_without_findings_it_says_so(bintally: Bintally, tmp_path: Path) -> None:
    splits = dict.fromkeys(clean_bins(), "train")
    done = bintally("audit", make_dataset(tmp_path / "clean", clean_bins(), splits=splits).root)
    assert done.code == 0
    assert "pairs" not in done.out
    assert "No photo is flagged." in done.out


def test_without_splits_it_says_that_leaks_are_not_known(bintally: Bintally, tmp_path: Path) -> None:
    done = bintally("audit", make_dataset(tmp_path / "unsplit", clean_bins()).root, "--no-page")
    assert "duplicates across splits are not known" in done.out
    assert "bintally split" in done.out


def test_a_photo_that_is_gone_is_told_last_and_the_rest_is_done(bintally: Bintally, data: Path) -> None:
    (data / "bin-images" / "00004.jpg").unlink()
    done = bintally("audit", data)
    assert done.code == 5
    assert "1 of 11 photos are not what the manifest says: bin-images/00004.jpg: in the manifest, but" in done.err
    assert f"Have them made again: bintally ingest memory://bins {data}" in done.err
    assert row(done.out, "near-duplicate")[1] == "1"
    assert read_manifest(data).frame["finding"].str.contains("cannot be read").sum() == 1


def test_of_a_prepared_dataset_it_says_that_it_is_to_be_prepared_again(bintally: Bintally, tmp_path: Path) -> None:
    root = tmp_path / "small"
    make_dataset(root, clean_bins(), extra={"prepared": "{}"}, source="file:///bins")
    (root / "bin-images" / "00001.jpg").write_bytes(b"another")
    done = bintally("audit", root, "--no-page")
    assert done.code == 5
    assert "00001.jpg: not the bytes that the manifest names" in done.err
    assert f"bintally prepare file:///bins {root}" in done.err


def test_interrupted_it_leaves_the_manifest_as_it_was(
    bintally: Bintally, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (data / "manifest.parquet").read_bytes()

    def stop(*_args: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(looking, "decode", stop)
    done = bintally("audit", data)
    assert done.code == 130
    assert (data / "manifest.parquet").read_bytes() == before
    assert sorted(path.name for path in data.iterdir()) == ["bin-images", "manifest.parquet"]


def test_a_manifest_that_changes_meanwhile_is_left_alone(
    bintally: Bintally, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = looking.decode

    def meanwhile(photo: bytes, *, name: str) -> object:
        write_manifest(read_manifest(data))
        return decode(photo, name=name)

    monkeypatch.setattr(looking, "decode", meanwhile)
    done = bintally("audit", data, "--workers", 1)
    assert done.code == 5
    assert "changed while the audit was at it" in done.err
    assert read_manifest(data).frame["brightness"].null_count() == 11


def test_a_page_that_cannot_be_written_is_told(bintally: Bintally, data: Path) -> None:
    done = bintally("audit", data, "--out", data / "manifest.parquet" / "page.html")
    assert done.code == 3
    assert "cannot write" in done.err
    assert read_manifest(data).frame["brightness"].null_count() == 0


def test_no_page_needs_no_report_extra(bintally: Bintally, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jinja2", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in [name for name in sys.modules if name.startswith(("bintally.pages", "bintally.data.audit_"))]:
        monkeypatch.delitem(sys.modules, name)
    refused = bintally("audit", data)
    assert refused.code == 7
    assert "--no-page" in refused.err
    assert "pip install 'bintally[report]'" in refused.err
    assert read_manifest(data).frame["brightness"].null_count() == 11  # said before any work is done
    done = bintally("audit", data, "--no-page")
    assert done.code == 0
    assert "Page:" not in done.out
    assert not (data / "audit.html").exists()


@pytest.mark.parametrize(
    "options",
    [("--near-bits", 99), ("--near-least", 2), ("--dark-below", -1), ("--blurred-below", -1), ("--workers", 0)],
)
def test_options_that_cannot_be_meant_are_refused(bintally: Bintally, data: Path, options: tuple[object, ...]) -> None:
    assert bintally("audit", data, *options).code == 2


def test_without_a_dataset_it_says_how_to_make_one(bintally: Bintally, tmp_path: Path) -> None:
    done = bintally("audit", tmp_path)
    assert done.code == 5
    assert "bintally ingest" in done.err
