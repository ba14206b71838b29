"""Rows to batches: which photos, in which order, changed how."""

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.small_dataset import draw_photo, make_dataset
from tests.tiny_run import tiny_settings

from bintally.data.manifest import Manifest, Split
from bintally.domain.classes import CountClasses
from bintally.errors import ManifestError, PhotoError
from bintally.models.dataset import EpochSampler, PhotoDataset, Share, fit_in_memory, loader
from bintally.models.preprocess import augmented, served
from bintally.settings import AugmentSettings

EVERY = CountClasses(low=0, high=6, open_ended=True)
FIVE = CountClasses(low=1, high=5, open_ended=False)
FLIPS = AugmentSettings(flip_vertical=True, brightness=0.2, contrast=0.2)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return make_dataset(tmp_path / "bins", [count % 9 for count in range(64)])


def dataset(
    manifest: Manifest,
    *changes: str,
    classes: CountClasses = EVERY,
    augment: AugmentSettings | None = None,
    split: Split = Split.TRAIN,
) -> PhotoDataset:
    return PhotoDataset(
        manifest.usable(split), manifest.root, classes=classes, settings=tiny_settings(*changes), augment=augment
    )


def test_an_item_is_a_photo_with_its_class(manifest: Manifest) -> None:
    data = dataset(manifest)
    rows = manifest.usable(Split.TRAIN)
    assert len(data) == rows.height
    for index in (0, 7, rows.height - 1):
        photo, label = data[0, index]
        assert (photo.dtype, photo.shape, label.dtype, label.shape) == (torch.uint8, (32, 32, 3), torch.int64, ())
        assert int(label) == min(rows["count"][index], 6)
        wanted = served((manifest.root / rows["photo_key"][index]).read_bytes(), 32)
        np.testing.assert_array_equal(photo.numpy(), wanted)


def test_photos_whose_count_is_no_class_are_left_out(manifest: Manifest) -> None:
    data = dataset(manifest, classes=FIVE)
    rows = manifest.usable(Split.TRAIN)
    kept = [(key, count) for key, count in rows.select("photo_key", "count").rows() if 1 <= count <= 5]
    assert [Path(path).name for path in data.paths] == [Path(key).name for key, _ in kept]
    assert data.labels.tolist() == [count - 1 for _, count in kept]


def test_nothing_left_is_an_error_that_says_so(manifest: Manifest) -> None:
    with pytest.raises(ManifestError, match=r"none of \d+ photos has a count from 50 to 60; .*--counts"):
        dataset(manifest, classes=CountClasses(low=50, high=60, open_ended=False))


def test_augmentation_is_a_function_of_seed_epoch_and_index(manifest: Manifest) -> None:
    plain = dataset(manifest)
    data, again, other = (dataset(manifest, change, augment=FLIPS) for change in ("seed=1", "seed=1", "seed=2"))
    for epoch, index in ((0, 3), (5, 3), (0, 9)):
        photo = data[epoch, index][0]
        wanted = augmented(plain[0, index][0].numpy(), FLIPS, seed=(1, epoch, index))
        np.testing.assert_array_equal(photo.numpy(), wanted)
        assert torch.equal(photo, again[epoch, index][0])
        assert not torch.equal(photo, other[epoch, index][0])
    assert not torch.equal(data[0, 3][0], data[1, 3][0])


@pytest.mark.parametrize(("cache", "reads"), [("cache_mib=1", 1), ("cache_mib=0", 3)], ids=["kept", "no room"])
def test_photos_are_decoded_once_while_they_fit(
    manifest: Manifest, cache: str, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(manifest, cache, augment=FLIPS)
    calls = []

    def counted(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        return served(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("bintally.models.dataset.served", counted)
    first = data[0, 0][0].clone()
    first_again = data[0, 0][0]
    data[1, 0][0].zero_()
    assert torch.equal(first, first_again)
    assert len(calls) == reads


def test_every_process_that_loads_keeps_photos_of_its_own() -> None:
    settings = tiny_settings("data.side_px=128", "cache_mib=3")
    assert [fit_in_memory(64, settings.model_copy(update={"workers": workers})) for workers in (0, 1, 2)] == [
        True,
        True,
        False,
    ]
    assert not fit_in_memory(65, settings)


def test_a_kept_photo_cannot_be_changed_from_outside(manifest: Manifest) -> None:
    data = dataset(manifest, augment=FLIPS)
    before = data[0, 0][0].clone()
    data[0, 0][0].zero_()
    assert torch.equal(data[0, 0][0], before)


def test_a_broken_photo_is_named(manifest: Manifest) -> None:
    data = dataset(manifest)
    Path(data.paths[2]).write_bytes(draw_photo(3)[:100])
    with pytest.raises(PhotoError, match=Path(data.paths[2]).name):
        data[0, 2]


def test_a_photo_that_is_gone_is_named(manifest: Manifest) -> None:
    data = dataset(manifest)
    Path(data.paths[2]).unlink()
    with pytest.raises(ManifestError, match=f"{Path(data.paths[2]).name}.*bintally ingest"):
        data[0, 2]


def places(sampler: EpochSampler, epoch: int) -> list[tuple[int, int]]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_every_epoch_has_every_photo_once_in_an_order_of_its_own() -> None:
    sampler = EpochSampler(50, seed=0, shuffle=True)
    first, second = (places(sampler, epoch) for epoch in (0, 1))
    assert [epoch for epoch, _ in first + second] == [0] * 50 + [1] * 50
    assert sorted(index for _, index in first) == sorted(index for _, index in second) == list(range(50))
    assert [index for _, index in first] != [index for _, index in second]
    assert places(sampler, 0) == first, "a function of seed and epoch"
    assert places(EpochSampler(50, seed=1, shuffle=True), 0) != first
    assert len(sampler) == 50


def test_without_shuffling_the_order_is_the_manifests() -> None:
    assert places(EpochSampler(4, seed=0, shuffle=False), 2) == [(2, 0), (2, 1), (2, 2), (2, 3)]


def test_training_batches_are_whole_and_others_complete(manifest: Manifest) -> None:
    data = dataset(manifest, "batch_size=10")
    assert len(data) % 10
    settings = tiny_settings("batch_size=10")
    training = [len(labels) for _, labels in loader(data, settings, shuffle=True)]
    judging = [len(labels) for _, labels in loader(data, settings, shuffle=False)]
    assert training == [10] * (len(data) // 10)
    assert sum(judging) == len(data)


def test_fewer_photos_than_a_batch_are_one_batch(manifest: Manifest) -> None:
    data = dataset(manifest)
    settings = tiny_settings("batch_size=64")
    assert [len(labels) for _, labels in loader(data, settings, shuffle=True)] == [len(data)]


def test_batches_come_in_order(manifest: Manifest) -> None:
    data = dataset(manifest, split=Split.TEST)
    labels = torch.cat([labels for _, labels in loader(data, tiny_settings(), shuffle=False)])
    assert torch.equal(labels, data.labels)


@pytest.mark.parametrize(("photos", "ranks", "each"), [(50, 2, 25), (50, 3, 16), (2, 3, 0)])
def test_processes_share_an_epoch_evenly_and_no_photo_twice(photos: int, ranks: int, each: int) -> None:
    samplers = [
        EpochSampler(photos, seed=0, shuffle=True, share=Share(rank=rank, ranks=ranks)) for rank in range(ranks)
    ]
    for epoch in (0, 1):
        shares = [places(sampler, epoch) for sampler in samplers]
        assert [len(share) for share in shares] == [len(sampler) for sampler in samplers] == [each] * ranks
        together = [place for turn in zip(*shares, strict=True) for place in turn]
        assert together == places(EpochSampler(photos, seed=0, shuffle=True), epoch)[: each * ranks]


def test_an_epoch_that_goes_on_begins_where_it_was_left_and_the_next_at_its_beginning() -> None:
    whole = EpochSampler(50, seed=0, shuffle=True)
    later = EpochSampler(50, seed=0, shuffle=True, share=Share(epoch=3), skip=20)
    assert list(later) == places(whole, 3)[20:], "even before Lightning says which epoch it is"
    assert places(later, 3) == places(whole, 3)[20:]
    assert len(later) == 50, "Lightning counts whole epochs"
    assert places(later, 4) == places(whole, 4)
    assert places(later, 3) == places(whole, 3)


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_a_loader_begins_after_whole_batches(batches: int, manifest: Manifest) -> None:
    data, settings = dataset(manifest, "batch_size=10", augment=FLIPS), tiny_settings("batch_size=10")
    assert len(data) // 10 == 2
    whole = loader(data, settings, shuffle=True)
    whole.sampler.set_epoch(5)  # type: ignore[attr-defined]
    later = loader(data, settings, shuffle=True, share=Share(epoch=5, batches=batches))
    assert len(later) == len(whole)
    assert [photos.tolist() for photos, _ in later] == [photos.tolist() for photos, _ in whole][batches:]


def test_a_pass_draws_no_random_numbers_of_the_networks(manifest: Manifest) -> None:
    data = dataset(manifest)
    torch.manual_seed(3)
    first = torch.rand(2)
    torch.manual_seed(3)
    for _ in loader(data, tiny_settings(), shuffle=True):
        pass
    assert torch.equal(torch.rand(2), first)


def test_a_worker_is_not_ended_by_a_signal_to_all_processes(manifest: Manifest) -> None:
    data, settings = dataset(manifest), tiny_settings("batch_size=4", "workers=1")
    others = multiprocessing.active_children()
    batches = iter(loader(data, settings, shuffle=False))
    labels = [next(batches)[1]]
    (worker,) = (each for each in multiprocessing.active_children() if each not in others)
    for signum in (signal.SIGINT, signal.SIGTERM):
        os.kill(int(worker.pid or 0), signum)
    worker.join(1)
    assert worker.is_alive()
    labels += [each for _, each in batches]
    assert torch.equal(torch.cat(labels), data.labels)
