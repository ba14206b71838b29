"""Drawn buckets: their layout, records, siblings and oddities."""

import hashlib
import io
import json
import time
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bintally.data.drawing import BIN_HEIGHT_IN, BIN_WIDTH_IN, Scene, draw_bin
from bintally.data.images import decode
from bintally.data.sprites import Look, Placed, Shape
from bintally.data.stocking import pick_or_stow, product, stock
from bintally.data.synthetic import MARKER_NAME, Drawing, DrawnPhoto, draw_bucket, draw_photos
from bintally.errors import SettingsError


@cache
def drawn(photos: int = 240, **options: int) -> tuple[DrawnPhoto, ...]:
    return tuple(draw_photos(Drawing(photos=photos, width_px=96, height_px=84, **options)))


def record_of(photo: DrawnPhoto) -> dict:
    assert photo.record is not None
    return json.loads(photo.record)


def quantities(photo: DrawnPhoto) -> dict[str, int]:
    return {sku: item["quantity"] for sku, item in record_of(photo)["BIN_FCSKU_DATA"].items()}


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Bytes and files


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path):
    draw_bucket(tmp_path / "a", photos=12, seed=3, oddities=True)
    draw_bucket(tmp_path / "b", photos=12, seed=3, oddities=True)
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")


def test_another_seed_gives_other_photos_and_records():
    here, there = drawn(20, seed=1), drawn(20, seed=2)
    assert not {photo.photo for photo in here} & {photo.photo for photo in there}
    assert [quantities(photo) for photo in here] != [quantities(photo) for photo in there]


def test_a_larger_bucket_begins_as_a_smaller_one_does():
    assert drawn(30)[:10] == drawn(10)


def test_the_layout_is_the_buckets(tmp_path: Path):
    counts = draw_bucket(tmp_path, photos=5, seed=1)
    assert len(counts) == 5
    names = {f"bin-images/{key}.jpg" for key in counts} | {f"metadata/{key}.json" for key in counts}
    assert set(files_below(tmp_path)) == names | {MARKER_NAME}


def test_photos_are_jpegs_of_the_size_asked_for(tmp_path: Path):
    (key,) = draw_bucket(tmp_path, photos=1, width_px=160, height_px=140)
    data = (tmp_path / "bin-images" / f"{key}.jpg").read_bytes()
    assert Image.open(io.BytesIO(data)).format == "JPEG"
    assert decode(data).shape == (140, 160, 3)


@pytest.mark.parametrize(("width_px", "height_px"), [(64, 64), (300, 64), (64, 300), (1040, 912)])
def test_any_size_can_be_drawn(width_px: int, height_px: int):
    for photo in draw_photos(Drawing(photos=12, width_px=width_px, height_px=height_px)):
        assert decode(photo.photo).shape == (height_px, width_px, 3)


def test_no_two_photos_are_alike():
    photos = drawn()
    assert len({hashlib.sha256(photo.photo).hexdigest() for photo in photos}) == len(photos)
    assert len({photo.photo_id for photo in photos}) == len(photos)


def test_each_photo_is_reported_once_it_is_written(tmp_path: Path):
    written = []
    draw_bucket(tmp_path, photos=4, on_photo=lambda: written.append(len(list((tmp_path / "metadata").iterdir()))))
    assert written == [1, 2, 3, 4]


def test_drawing_is_fast_enough_for_a_demo():
    start = time.perf_counter()
    list(draw_photos(Drawing(photos=40)))
    assert time.perf_counter() - start < 4, "40 photos take about a quarter of a second on an idle core"


# Folders that are not its own


def test_the_same_bucket_can_be_drawn_again(tmp_path: Path):
    draw_bucket(tmp_path, photos=3)
    before = files_below(tmp_path)
    (tmp_path / "bin-images" / "00001.jpg").unlink()
    draw_bucket(tmp_path, photos=3)
    assert files_below(tmp_path) == before


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SettingsError, match="holds something else: name a new or empty folder"):
        draw_bucket(tmp_path, photos=3)
    assert files_below(tmp_path) == {"thesis.txt": b"mine"}


def test_a_bucket_drawn_otherwise_is_refused_and_left_alone(tmp_path: Path):
    draw_bucket(tmp_path, photos=3)
    before = files_below(tmp_path)
    with pytest.raises(SettingsError, match="other arguments"):
        draw_bucket(tmp_path, photos=3, seed=1)
    assert files_below(tmp_path) == before


def test_a_file_is_no_folder_to_draw_into(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(SettingsError, match="holds something else"):
        draw_bucket(path, photos=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        pytest.param({"photos": 0}, "photos: expected 1 to 90,000, got 0", id="no photos"),
        pytest.param({"photos": 9, "oddities": True}, "photos: expected 10 to .* with oddities, got 9", id="few"),
        pytest.param({"photos": 9, "seed": -1}, "seed: expected 0", id="negative seed"),
        pytest.param({"photos": 9, "max_count": 0}, "max_count: expected 1 to 12, got 0", id="only empty bins"),
        pytest.param({"photos": 9, "max_count": 13}, "max_count", id="too full"),
        pytest.param({"photos": 9, "width_px": 8}, "width_px: expected 64", id="tiny"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong: dict, message: str, tmp_path: Path):
    with pytest.raises(SettingsError, match=message):
        draw_bucket(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


# Records


def test_totals_are_the_sum_and_what_was_drawn():
    for photo in drawn():
        assert record_of(photo)["EXPECTED_QUANTITY"] == sum(quantities(photo).values()) == photo.count


def test_a_record_has_the_real_form():
    photo = next(photo for photo in drawn() if photo.count == 3)
    record = record_of(photo)
    assert set(record) == {"BIN_FCSKU_DATA", "EXPECTED_QUANTITY"}
    for item in record["BIN_FCSKU_DATA"].values():
        assert set(item) == {"asin", "height", "length", "name", "normalizedName", "quantity", "weight", "width"}
        assert item["asin"].startswith("SYN"), "an invented product must not look like a real one"
        assert item["height"] is None or item["height"]["unit"] == "IN"
        assert item["weight"] is None or item["weight"]["unit"] == "pounds"


def test_an_empty_bin_has_an_empty_dictionary():
    empty = [photo for photo in drawn() if photo.count == 0]
    assert empty
    for photo in empty:
        assert record_of(photo) == {"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": 0}


def test_some_weights_are_null_and_some_skus_are_not_the_asin():
    items = [item for photo in drawn() for item in record_of(photo)["BIN_FCSKU_DATA"].items()]
    assert 0 < sum(item["weight"] is None for _, item in items) / len(items) < 0.06
    assert 0.02 < sum(sku != item["asin"] for sku, item in items) / len(items) < 0.2


def test_some_sizes_are_null():
    assert 0 < sum(not product(0, number).sizes_known for number in range(2000)) < 20


def test_counts_are_spread_as_in_the_real_bucket():
    counts = Counter(photo.count for photo in drawn())
    assert counts.most_common(1)[0][0] in (2, 3, 4)
    assert max(counts) == 10
    assert 0 < counts[0] < 0.06 * len(drawn())
    assert sum(counts[n] for n in range(1, 6)) / len(drawn()) == pytest.approx(0.7, abs=0.12)


@pytest.mark.parametrize("max_count", [1, 2, 5])
def test_no_bin_holds_more_than_asked_for(max_count: int):
    counts = {photo.count for photo in drawn(60, max_count=max_count)}
    assert max(counts) == max_count


# Siblings


def sibling_pairs() -> list[tuple[DrawnPhoto, DrawnPhoto]]:
    return [(a, b) for a, b in pairwise(drawn()) if set(quantities(a)) & set(quantities(b))]


def test_about_two_in_five_consecutive_pairs_are_siblings():
    assert len(sibling_pairs()) / (len(drawn()) - 1) == pytest.approx(0.4, abs=0.08)


def test_siblings_never_have_the_same_count():
    for a, b in sibling_pairs():
        assert 1 <= abs(a.count - b.count) <= 2


def test_siblings_differ_in_one_product_only():
    for a, b in sibling_pairs():
        here, there = quantities(a), quantities(b)
        assert sum(here.get(sku) != there.get(sku) for sku in {*here, *there}) == 1


def test_keys_rise_by_one_to_three():
    steps = {int(b.photo_id) - int(a.photo_id) for a, b in pairwise(drawn())}
    assert steps == {1, 2, 3}


def test_chains_of_siblings_are_short_and_strangers_nearby_share_nothing():
    photos = drawn()
    for distance in (3, 4, 5):
        for a, b in zip(photos, photos[distance:], strict=False):
            assert not set(quantities(a)) & set(quantities(b))


@pytest.mark.parametrize(("count", "max_count"), [(0, 5), (1, 1)])
def test_a_bin_that_cannot_change_and_stay_known_has_no_sibling(count: int, max_count: int):
    rng = np.random.default_rng(0)
    before = stock(rng, seed=0, count=count, without=())
    assert pick_or_stow(before, rng, seed=0, max_count=max_count, without=()) is None


def test_a_full_bin_is_picked_from_and_a_single_item_is_joined():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        full = pick_or_stow(stock(rng, seed=0, count=4, without=()), rng, seed=0, max_count=4, without=())
        single = pick_or_stow(stock(rng, seed=0, count=1, without=()), rng, seed=0, max_count=4, without=())
        assert full is not None
        assert single is not None
        assert len(full.units) == 3
        assert len(single.units) in (2, 3)


# Oddities


def test_without_oddities_every_key_is_padded_and_has_a_record():
    assert all(photo.photo_id.series == "padded" and photo.record is not None for photo in drawn())


@pytest.mark.parametrize("photos", [10, 200])
def test_oddities_are_all_there_and_rare(photos: int):
    odd = drawn(photos, oddities=True)
    assert len(odd) == photos
    without_record = [photo for photo in odd if photo.record is None]
    wrong = [p for p in odd if p.record and record_of(p)["EXPECTED_QUANTITY"] != sum(quantities(p).values())]
    few = max(1, photos // 100)
    assert len(without_record) == few
    assert len(wrong) == few
    for photo in wrong:
        assert photo.count == sum(quantities(photo).values()), "the drawing shows the items that are listed"


def test_oddities_hold_keys_that_are_alike_as_numbers_only():
    odd = {photo.photo_id: photo for photo in drawn(200, oddities=True)}
    unpadded = [photo_id for photo_id in odd if photo_id.series == "unpadded"]
    assert len(unpadded) == 10
    alike = [photo_id for photo_id in unpadded if f"{int(photo_id):05d}" in odd]
    assert "1" in alike
    for photo_id in alike:
        assert odd[photo_id].photo != odd[f"{int(photo_id):05d}"].photo
    assert all(record_of(odd[key])["image_fname"] == f"{key}.jpg" for key in unpadded if odd[key].record)


def test_a_photo_without_a_record_has_no_file_for_it(tmp_path: Path):
    counts = draw_bucket(tmp_path, photos=10, oddities=True)
    assert len(list((tmp_path / "bin-images").iterdir())) == len(counts) == 10
    assert len(list((tmp_path / "metadata").iterdir())) == 9


# Pixels


def plain_scene() -> Scene:
    return Scene(
        wall=(190, 170, 100), straps=(), lines=1, opacity=0.0, slope=0.0, code="", code_colour=(0, 0, 0), noise=0.0
    )


def item(shape: Shape, left_in: float, **changes: float) -> Placed:
    look = Look(
        shape=shape, width_in=3, height_in=4, body=(20, 40, 200), trim=(20, 40, 180), label=(20, 60, 220), pattern=1
    )
    return Placed(look=look, left_in=left_in, bottom_in=0.0, **changes)


def blue_columns(items: list[Placed]) -> np.ndarray:
    pixels = draw_bin(items, plain_scene(), width_px=260, height_px=228, rng=np.random.default_rng(0)).astype(int)
    return ((pixels[:, :, 2] - pixels[:, :, 0]) > 60).sum(axis=0) > 20


@pytest.mark.parametrize("shape", Shape)
def test_every_shape_is_drawn_where_it_stands(shape: Shape):
    columns = np.flatnonzero(blue_columns([item(shape, left_in=5.0)]))
    px_per_in = 260 * 0.86 / BIN_WIDTH_IN
    left = 260 * 0.07 + 5.0 * px_per_in
    assert left - 3 <= columns.min()
    assert columns.max() <= left + 3 * px_per_in + 3
    assert columns.size > 1.5 * px_per_in


def test_items_apart_from_each_other_look_apart():
    blue = blue_columns([item(Shape.BOX, 0.5), item(Shape.BOX, 5.0), item(Shape.BOX, 10.0)])
    assert np.count_nonzero(np.diff(blue.astype(int)) == 1) == 3


def test_an_empty_bin_shows_no_item():
    assert not blue_columns([]).any()


def test_items_lie_within_the_bin_and_stay_visible():
    for count in (1, 4, 10):
        rng = np.random.default_rng(count)
        for _ in range(10):
            units = stock(rng, seed=0, count=count, without=()).units
            assert len(units) == count
            for unit in units:
                width, _ = unit.placed.extent_in
                assert unit.placed.left_in >= 0
                assert unit.placed.left_in + width <= BIN_WIDTH_IN + 0.2
                assert -0.5 <= unit.placed.bottom_in < BIN_HEIGHT_IN
            assert min(visible_shares([unit.placed for unit in units])) > 0.1


def visible_shares(items: list[Placed]) -> list[float]:
    """What is left of each item's upright rectangle by those in front of it, on a grid of a tenth of an inch."""
    owner = np.full((200, 200), -1)
    boxes = []
    for index, placed in enumerate(items):
        width, height = placed.extent_in
        x, y = round(placed.left_in * 10), round(placed.bottom_in * 10) + 10
        boxes.append(np.s_[y : y + round(height * 10), x : x + round(width * 10)])
        owner[boxes[-1]] = index
    return [float((owner[box] == index).mean()) for index, box in enumerate(boxes)]
