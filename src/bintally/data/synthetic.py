"""A bucket of drawn bins whose contents are known, in ABID's own layout: for the demo, tests and examples, offline.

    DEST/bin-images/00001.jpg     DEST/metadata/00001.json     DEST/drawn.json (the arguments it was drawn with)

A part of consecutive photos are siblings: one bin before and after a pick or stow. Records are free of noise unless
`oddities` are asked for. Refuses to draw into a folder that holds anything else.
"""

import io
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bintally.data.drawing import chance, draw_bin
from bintally.data.files import whole_file
from bintally.data.stocking import Product, StockedBin, draw_count, pick_or_stow, stock
from bintally.domain.bins import PhotoId
from bintally.errors import SettingsError

MARKER_NAME = "drawn.json"
DEFAULT_WIDTH_PX, DEFAULT_HEIGHT_PX = 260, 228  # half of what ABID's photos have

_JPEG_QUALITY = 85
_SIBLING_SHARE = 0.46  # chance that a chain goes on: with at most three in one, 40 % of consecutive pairs are siblings
_LONGEST_CHAIN = 3
_KEY_STEPS, _KEY_STEP_SHARES = (1, 2, 3), (0.9, 0.06, 0.04)
_REMEMBERED_BINS = 8  # strangers this close share no product
_UNPADDED_SHARE = 0.05
_ODD_SHARE = 0.01
_FEWEST_WITH_ODDITIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What to draw; the same drawing gives the same bytes.

    Attributes:
        photos: how many.
        seed: another seed, other bins.
        max_count: the most items in one bin.
        oddities: also draw what is wrong in real buckets: some totals that are not the sum of the quantities, photos
            without a record, and unpadded keys (`7`) that are other photos than the padded ones (`00007`).
    """

    photos: int
    seed: int = 0
    max_count: int = 10
    oddities: bool = False
    width_px: int = DEFAULT_WIDTH_PX
    height_px: int = DEFAULT_HEIGHT_PX

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises:
            SettingsError: naming the argument.
        """
        fewest = _FEWEST_WITH_ODDITIES if self.oddities else 1
        for name, value, low, high in (
            ("photos", self.photos, fewest, 90_000),
            ("seed", self.seed, 0, 2**63 - 1),
            ("max_count", self.max_count, 1, 12),
            ("width_px", self.width_px, 64, 1040),
            ("height_px", self.height_px, 64, 1040),
        ):
            if not low <= value <= high:
                with_oddities = " with oddities" if name == "photos" and self.oddities else ""
                raise SettingsError(f"{name}: expected {low:,} to {high:,}{with_oddities}, got {value:,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnPhoto:
    """One photo, its record and the truth.

    Attributes:
        photo: the JPEG's bytes.
        record: the JSON's bytes; None for a photo without a record.
        count: how many items were drawn, whatever the record says.
    """

    photo_id: PhotoId
    photo: bytes
    record: bytes | None
    count: int


def draw_bucket(
    destination: Path,
    *,
    photos: int,
    seed: int = 0,
    max_count: int = 10,
    oddities: bool = False,
    width_px: int = DEFAULT_WIDTH_PX,
    height_px: int = DEFAULT_HEIGHT_PX,
    on_photo: Callable[[], None] | None = None,
) -> dict[PhotoId, int]:
    """Draw a bucket into a new or empty folder, or again into one that the same arguments made.

    Args:
        destination: the folder; made where it is missing.
        photos: how many.
        seed: another seed, other bins.
        max_count: the most items in one bin.
        oddities: also draw what is wrong in real buckets: see `Drawing`.
        width_px: of each photo.
        height_px: of each photo.
        on_photo: called after each photo that is written.

    Returns:
        How many items were drawn, by photo.

    Raises:
        SettingsError: if an argument cannot be meant, or the folder holds anything else.
    """
    drawing = Drawing(
        photos=photos, seed=seed, max_count=max_count, oddities=oddities, width_px=width_px, height_px=height_px
    )
    _claim(destination, drawing)
    counts: dict[PhotoId, int] = {}
    for drawn in draw_photos(drawing):
        _write(destination / "bin-images" / f"{drawn.photo_id}.jpg", drawn.photo)
        if drawn.record is not None:
            _write(destination / "metadata" / f"{drawn.photo_id}.json", drawn.record)
        counts[drawn.photo_id] = drawn.count
        if on_photo is not None:
            on_photo()
    return counts


def draw_photos(drawing: Drawing) -> Iterator[DrawnPhoto]:
    """Draw photo by photo, in memory."""
    odd = _Oddities.of(drawing)
    padded = drawing.photos - odd.unpadded
    series = itertools.chain(
        ((PhotoId(f"{n:05d}"), contents) for n, contents in _bins(drawing, padded, 0)),
        ((PhotoId(str(n)), contents) for n, contents in _bins(drawing, odd.unpadded, 1)),
    )
    for index, (photo_id, contents) in enumerate(series):
        rng = np.random.default_rng([drawing.seed, 2, index])
        placed = [unit.placed for unit in contents.units]
        pixels = draw_bin(placed, contents.scene, width_px=drawing.width_px, height_px=drawing.height_px, rng=rng)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY)
        yield DrawnPhoto(
            photo_id=photo_id,
            photo=buffer.getvalue(),
            record=None if index in odd.without_record else _record(photo_id, contents, index in odd.wrong_total),
            count=len(contents.units),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Oddities:
    """Which photos of a drawing are odd, by their index in it."""

    unpadded: int = 0
    wrong_total: frozenset[int] = frozenset()
    without_record: frozenset[int] = frozenset()

    @classmethod
    def of(cls, drawing: Drawing) -> "_Oddities":
        if not drawing.oddities:
            return cls()
        each = max(1, round(drawing.photos * _ODD_SHARE))
        rng = np.random.default_rng([drawing.seed, 3])
        chosen = rng.choice(drawing.photos, 2 * each, replace=False).tolist()
        return cls(
            unpadded=max(1, round(drawing.photos * _UNPADDED_SHARE)),
            wrong_total=frozenset(chosen[:each]),
            without_record=frozenset(chosen[each:]),
        )


def _bins(drawing: Drawing, photos: int, series: int) -> Iterator[tuple[int, StockedBin]]:
    """Key numbers with bins: chains of siblings, between them strangers that share no product."""
    rng = np.random.default_rng([drawing.seed, 0, series])
    seed, max_count = drawing.seed, drawing.max_count
    recent: deque[frozenset[str]] = deque(maxlen=_REMEMBERED_BINS)
    number, chain = 0, 0
    last: StockedBin | None = None
    for _ in range(photos):
        # The first key is 1 in both series, so that `1` and `00001` are two photos.
        number += int(rng.choice(_KEY_STEPS, p=_KEY_STEP_SHARES)) if number else 1
        without = frozenset().union(*recent)
        now: StockedBin | None = None
        if last is not None and chain < _LONGEST_CHAIN and chance(rng, _SIBLING_SHARE):
            now = pick_or_stow(last, rng, seed=seed, max_count=max_count, without=without)
        chain = chain + 1 if now is not None else 1
        last = now or stock(rng, seed=seed, count=draw_count(rng, max_count), without=without)
        recent.append(last.products)
        yield number, last


def _record(photo_id: PhotoId, contents: StockedBin, wrong_total: bool) -> bytes:
    """The record in ABID's form; an unpadded key has an extra field there."""
    products = {unit.product.sku: unit.product for unit in contents.units}
    quantities = {sku: sum(unit.product.sku == sku for unit in contents.units) for sku in products}
    record: dict[str, object] = {
        "BIN_FCSKU_DATA": {sku: _item(products[sku], quantities[sku]) for sku in products},
        "EXPECTED_QUANTITY": len(contents.units) + wrong_total,
    }
    if photo_id.series == "unpadded":
        record["image_fname"] = f"{photo_id}.jpg"
    return json.dumps(record, indent=4, sort_keys=True).encode()


def _item(product: Product, quantity: int) -> dict[str, object]:
    sizes = {"width": product.look.width_in, "height": product.look.height_in, "length": product.depth_in}
    return {
        "asin": product.asin,
        "name": product.name,
        "normalizedName": product.name,
        "quantity": quantity,
        "weight": None if product.weight_lb is None else {"unit": "pounds", "value": product.weight_lb},
        **{name: {"unit": "IN", "value": value} if product.sizes_known else None for name, value in sizes.items()},
    }


def _claim(destination: Path, drawing: Drawing) -> None:
    """Make the folders, or find that this very drawing made them."""
    marker = destination / MARKER_NAME
    wanted = json.dumps(asdict(drawing), indent=2, sort_keys=True).encode()
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        if not marker.is_file():
            raise SettingsError(f"{destination} holds something else: name a new or empty folder to draw into")
        if marker.read_bytes() != wanted:
            raise SettingsError(
                f"{destination} was drawn with other arguments ({marker}): name a new or empty folder, or delete it"
            )
    for folder in ("bin-images", "metadata"):
        (destination / folder).mkdir(parents=True, exist_ok=True)
    _write(marker, wanted)


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    with whole_file(path) as part:
        part.write_bytes(data)
