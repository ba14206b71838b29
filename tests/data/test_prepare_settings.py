"""What can be prepared, how, and into which places: everything else is refused, and left as it was."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from tests.preparing import JPEG, PNG, draw_dataset, files, odd_dataset, prepare_into, put

from bintally.data.manifest import FILE_NAME, Manifest, read_manifest
from bintally.data.prepare_settings import PrepareSettings
from bintally.data.source import COMPLETE
from bintally.errors import ManifestError, SettingsError


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return draw_dataset(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return odd_dataset(tmp_path_factory.mktemp("odd"))


def refusal(manifest: Manifest, destination: Path, settings: PrepareSettings = JPEG) -> str:
    """What is said; nothing at the destination may change."""
    before = files(destination)
    with pytest.raises(ManifestError) as caught:
        prepare_into(destination, manifest, settings)
    assert files(destination) == before
    return str(caught.value)


def test_other_settings_are_refused(drawn: Manifest, tmp_path: Path) -> None:
    prepare_into(tmp_path, drawn)
    for settings in (PNG, replace(JPEG, quality=94), replace(JPEG, side_px=49)):
        assert "holds photos prepared otherwise (48 px, jpeg" in refusal(drawn, tmp_path, settings)


def test_a_dataset_as_it_came_is_refused(drawn: Manifest, odd: Manifest) -> None:
    assert "as they came" in refusal(odd, drawn.root)
    assert "as they came" in refusal(drawn, drawn.root)


def test_photos_without_a_manifest_are_refused(drawn: Manifest, odd: Manifest, tmp_path: Path) -> None:
    put(tmp_path / "bucket", "00001", b"a photo of one's own", "A")
    said = refusal(odd, tmp_path / "bucket")
    assert "holds 1 photos and 1 records, but no manifest" in said


def test_another_manifest_or_no_manifest_at_all_is_refused(odd: Manifest, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no table")
    assert "not a readable Parquet file" in refusal(odd, tmp_path)
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / FILE_NAME)
    assert "not one that Bintally wrote" in refusal(odd, tmp_path)


def test_another_dataset_is_refused(drawn: Manifest, odd: Manifest, tmp_path: Path) -> None:
    prepare_into(tmp_path, odd)
    assert f"holds photos that came from {odd.header.source}" in refusal(drawn, tmp_path)


def test_a_dataset_that_lacks_photos_that_are_there_is_refused(odd: Manifest, tmp_path: Path) -> None:
    prepare_into(tmp_path, odd)
    fewer = replace(odd, frame=odd.frame.head(5))
    assert f"holds 4 photos that are not in {odd.root}, such as 00005" in refusal(fewer, tmp_path)


def test_photos_are_not_prepared_twice(odd: Manifest, tmp_path: Path) -> None:
    prepare_into(tmp_path / "once", odd)
    said = refusal(read_manifest(tmp_path / "once"), tmp_path / "twice", replace(JPEG, side_px=32))
    assert "were prepared already (48 px" in said
    assert odd.root.as_uri() in said


def test_an_unfinished_dataset_is_not_prepared(odd: Manifest, tmp_path: Path) -> None:
    unfinished = replace(odd, header=replace(odd.header, extra={COMPLETE: "no"}))
    assert "not finished" in refusal(unfinished, tmp_path)


@pytest.mark.parametrize("values", [{"side_px": 31}, {"side_px": 1025}, {"quality": 0}, {"quality": 101}], ids=str)
def test_settings_that_cannot_be_meant(values: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=r"expected \d+ to \d+"):
        PrepareSettings(**values)
