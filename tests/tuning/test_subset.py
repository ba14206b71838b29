"""A part of the photos."""

from pathlib import Path

import pytest
from tests.small_dataset import make_dataset

from bintally.data.manifest import Manifest, Split
from bintally.settings import RunSettings
from bintally.tuning.subset import limit_photos

SETTINGS = RunSettings()


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return make_dataset(tmp_path / "data", [1, 2, 3, None, 5, 6] * 16, siblings=3)


def train_of(manifest: Manifest) -> set[str]:
    return set(manifest.usable(Split.TRAIN)["photo_id"])


def test_without_a_limit_it_is_the_dataset_itself(manifest: Manifest) -> None:
    assert limit_photos(manifest, SETTINGS, None) is manifest


@pytest.mark.parametrize("photos", [1, 5, 10, 20])
def test_about_so_many_are_left_groups_whole_and_no_test_photo(manifest: Manifest, photos: int) -> None:
    part = limit_photos(manifest, SETTINGS, photos)
    assert photos <= len(train_of(part)) < photos + 3
    sizes = dict(manifest.frame.group_by("group").len().rows())
    for group, size in part.frame.group_by("group").len().rows():
        assert sizes[group] == size
    for split in (Split.VAL, Split.CALIBRATION):
        assert part.usable(split).equals(manifest.usable(split))
    assert Split.TEST.value not in part.frame["split"].to_list()


def test_it_is_the_same_every_time_and_a_smaller_one_lies_within(manifest: Manifest) -> None:
    parts = [train_of(limit_photos(manifest, SETTINGS, photos)) for photos in (4, 4, 9, 16, 10_000)]
    assert parts[0] == parts[1]
    assert parts[1] < parts[2] < parts[3] < parts[4]
    assert parts[4] == train_of(manifest)


def test_the_photos_are_drawn_and_not_the_first_ones(manifest: Manifest) -> None:
    drawn, every = train_of(limit_photos(manifest, SETTINGS, 12)), sorted(train_of(manifest))
    assert drawn != set(every[: len(drawn)])


def test_it_has_hashes_of_its_own(manifest: Manifest) -> None:
    part = limit_photos(manifest, SETTINGS, 5)
    assert part.content_hash != manifest.content_hash
    assert part.split_hash != manifest.split_hash
