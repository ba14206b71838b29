"""What a prepared dataset says of itself, and whom it suits."""

import json
from pathlib import Path

import pytest
from tests.small_dataset import make_dataset

from bintally.data.manifest import Header, Manifest
from bintally.data.prepared import NOTE, Prepared, check_side, prepared_as
from bintally.errors import ManifestError

JPEG = {"side_px": 224, "format": "jpeg", "quality": 95, "resize": "squash-bicubic", "hash": "0123456789ab"}
PNG = {**JPEG, "format": "png", "quality": None}


def header(note: str) -> Header:
    return Header(source="s3://bins", extra={NOTE: note})


@pytest.fixture
def prepared(tmp_path: Path) -> Manifest:
    return make_dataset(tmp_path / "bins", [1, 2], extra={NOTE: json.dumps(JPEG)})


def test_the_note_is_read() -> None:
    found = prepared_as(header(json.dumps(JPEG)))
    assert found == Prepared(side_px=224, format="jpeg", quality=95, resize="squash-bicubic", hash="0123456789ab")
    assert str(found) == "224 px, jpeg of quality 95, squash-bicubic, hash 0123456789ab"
    assert str(prepared_as(header(json.dumps(PNG)))) == "224 px, png, squash-bicubic, hash 0123456789ab"


def test_photos_as_they_came_have_no_note() -> None:
    assert prepared_as(Header(source="s3://bins")) is None


@pytest.mark.parametrize(
    "note",
    ["", "{", "[]", "null", '"x"', *(json.dumps({k: v for k, v in JPEG.items() if k != left_out}) for left_out in JPEG)]
    + [json.dumps(JPEG | {"side_px": side}) for side in (None, "wide", "224", 224.0, True, [])]
    + [json.dumps(JPEG | {"quality": "good"}), json.dumps(JPEG | {"hash": 3})],
)
def test_a_note_that_cannot_be_read_is_said(note: str) -> None:
    with pytest.raises(ManifestError, match="of how it was prepared; prepare it again"):
        prepared_as(header(note))


def test_the_side_that_is_wanted_suits(prepared: Manifest) -> None:
    check_side(prepared, 224, wanted_by="recipe 'x'")


@pytest.mark.parametrize("side_px", [223, 225, 96])
def test_another_side_is_refused_with_what_to_do(prepared: Manifest, side_px: int) -> None:
    said = (
        rf"manifest\.parquet: its photos were prepared at 224 px, but recipe 'x' sees {side_px} px\. Prepare those "
        rf"that they came from, at tests, once more: bintally prepare DATA DEST --side {side_px}$"
    )
    with pytest.raises(ManifestError, match=said):
        check_side(prepared, side_px, wanted_by="recipe 'x'")
    with pytest.raises(ManifestError, match=rf"--side {side_px}; or change the side: --set data\.side_px=224$"):
        check_side(prepared, side_px, wanted_by="recipe 'x'", can_change=True)


def test_photos_as_they_came_suit_every_side(tmp_path: Path) -> None:
    check_side(make_dataset(tmp_path / "bins", [1, 2]), 96, wanted_by="recipe 'x'")
