"""Invented products and how they come to lie in a bin: what `bintally.data.synthetic` draws and records.

Lengths are inches, weights pounds. Nothing here stems from a real record.
Refuses to hide: an item is placed where it and those behind it stay visible, as far as the bin has room.
"""

import colorsys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from bintally.data.drawing import BIN_HEIGHT_IN, BIN_WIDTH_IN, Scene, chance
from bintally.data.sprites import Colour, Look, Placed, Shape, extent_in

CATALOGUE_SIZE = 6000
# How often a new bin has 0, 1, 2, ... items: rounded from ABID's own counts, which peak at 3. Twice as many are empty
# as there, because an empty bin has no siblings.
_COUNT_WEIGHTS = (2.5, 8, 15, 18, 16, 12, 8, 6, 4.5, 3.2, 2.2, 1.7, 1.1)
_QUANTITY_WEIGHTS = (0.7, 0.17, 0.08, 0.05)  # of one product: 1, 2, 3, 4
_FILL = 1.0  # items of one bin together take at most about this share of its front
_TRIES = 10

# Shape: how common it is, smallest and largest width and height.
_SHAPES: dict[Shape, tuple[float, tuple[float, float], tuple[float, float]]] = {
    Shape.BOX: (0.36, (1.6, 7.0), (1.6, 6.5)),
    Shape.CAN: (0.15, (1.8, 3.8), (2.0, 5.0)),
    Shape.BOTTLE: (0.16, (1.5, 3.0), (3.5, 8.0)),
    Shape.BAG: (0.15, (2.5, 6.5), (2.2, 5.5)),
    Shape.BOOK: (0.18, (0.7, 1.6), (5.0, 8.5)),
}
_MAKERS = ("Harrowgate", "Pinewell", "Ostrava & Sons", "Bluecairn", "Tillbury", "Marlowe", "Quillan", "Fernhollow")
_KINDS: dict[Shape, tuple[str, ...]] = {
    Shape.BOX: ("Desk Lamp", "Puzzle, 500 Pieces", "Tea Assortment", "Wireless Doorbell", "Drawer Pulls"),
    Shape.CAN: ("Chickpeas, 15 oz", "Wood Wax", "Loose Leaf Tea Tin", "Tennis Balls"),
    Shape.BOTTLE: ("Shampoo, 12 oz", "Maple Syrup", "Linen Spray", "Bubble Bath"),
    Shape.BAG: ("Knee Socks, 3 Pairs", "Dog Treats", "Fleece Throw", "Yarn Bundle"),
    Shape.BOOK: ("A History of Lighthouses", "Garden Year", "Field Guide to Mosses", "The Long Ferry"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Something that can be in a bin. A size or weight that the record leaves out is None."""

    sku: str
    asin: str
    name: str
    look: Look
    depth_in: float
    weight_lb: float | None
    sizes_known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One item in its place."""

    product: Product
    placed: Placed


@dataclass(frozen=True, slots=True, kw_only=True)
class StockedBin:
    """A bin at one moment; later units hide earlier ones."""

    units: tuple[Unit, ...]
    scene: Scene

    @property
    def products(self) -> frozenset[str]:
        """The SKUs in the bin."""
        return frozenset(unit.product.sku for unit in self.units)


@lru_cache(maxsize=8192)
def product(seed: int, number: int) -> Product:
    """Number `number` of the catalogue that belongs to `seed`."""
    rng = np.random.default_rng([seed, 1, number])
    shapes = list(_SHAPES)
    shape = shapes[int(rng.choice(len(shapes), p=[_SHAPES[s][0] for s in shapes]))]
    _, widths, heights = _SHAPES[shape]
    look = Look(
        shape=shape,
        width_in=round(rng.uniform(*widths), 2),
        height_in=round(rng.uniform(*heights), 2),
        body=_colour(rng, shape),
        trim=_colour(rng, shape),
        label=(235, 232, 224) if chance(rng, 0.6) else _colour(rng, shape),
        pattern=int(rng.integers(2**32)),
    )
    depth_in = round(rng.uniform(1.0, 6.0), 2)
    asin = f"SYN{number:07d}"
    kinds = _KINDS[shape]
    return Product(
        sku=asin if chance(rng, 0.9) else f"ZZSYN{number:05d}",
        asin=asin,
        name=f"{_MAKERS[rng.integers(len(_MAKERS))]} {kinds[rng.integers(len(kinds))]}",
        look=look,
        depth_in=depth_in,
        # As often as in ABID the record has null: 2.2 % of weights, 0.2 % of sizes.
        weight_lb=None if chance(rng, 0.022) else round(look.width_in * look.height_in * depth_in / 50 + 0.05, 3),
        sizes_known=chance(rng, 0.998),
    )


def _colour(rng: np.random.Generator, shape: Shape) -> Colour:
    """Cardboard, black, white or anything else."""
    if chance(rng, 0.35 if shape is Shape.BOX else 0.08):
        hue, saturation, value = 0.08, rng.uniform(0.35, 0.5), rng.uniform(0.5, 0.75)
    elif chance(rng, 0.35):
        hue, saturation, value = rng.random(), rng.uniform(0.0, 0.12), float(rng.choice((0.2, 0.35, 0.75, 0.9)))
    else:
        hue, saturation, value = rng.random(), rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.85)
    red, green, blue = (round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def draw_count(rng: np.random.Generator, max_count: int) -> int:
    """A number of items, as often as ABID has it, at most `max_count`."""
    weights = np.array(_COUNT_WEIGHTS[: max_count + 1])
    return int(rng.choice(weights.size, p=weights / weights.sum()))


def stock(rng: np.random.Generator, *, seed: int, count: int, without: Collection[str]) -> StockedBin:
    """A new bin of `count` items, none of a product in `without`."""
    units: tuple[Unit, ...] = ()
    left = count
    while left:
        chosen = _choose(rng, seed=seed, count=count, without={*without, *(u.product.sku for u in units)})
        quantity = min(left, 1 + int(rng.choice(len(_QUANTITY_WEIGHTS), p=_QUANTITY_WEIGHTS)))
        for _ in range(quantity):
            units = (*units, _place(rng, chosen, units))
        left -= quantity
    return StockedBin(units=units, scene=Scene.of(rng))


def pick_or_stow(
    before: StockedBin, rng: np.random.Generator, *, seed: int, max_count: int, without: Collection[str]
) -> StockedBin | None:
    """The same bin after one pick or stow of one or two items, photographed again; None where neither can be.

    A product stays that was there before, and the count differs.
    """
    count = len(before.units)
    if not count or max_count < 2:  # noqa: PLR2004 - one item cannot come or go and leave a sibling
        return None
    may_pick, may_stow = count > 1, count < max_count
    scene = before.scene.again(rng)
    if may_pick and (not may_stow or chance(rng, 0.5)):
        gone = int(rng.integers(count))
        return StockedBin(units=before.units[:gone] + before.units[gone + 1 :], scene=scene)
    if chance(rng, 0.5):  # one more of what is there, or something new
        chosen = before.units[int(rng.integers(count))].product
    else:
        chosen = _choose(rng, seed=seed, count=count + 1, without={*without, *before.products})
    units = before.units
    for _ in range(min(max_count - count, int(rng.choice((1, 2), p=(0.8, 0.2))))):
        units = (*units, _place(rng, chosen, units))
    return replace(before, units=units, scene=scene)


def _choose(rng: np.random.Generator, *, seed: int, count: int, without: Collection[str]) -> Product:
    """A product small enough that `count` like it fit."""
    room = BIN_WIDTH_IN * BIN_HEIGHT_IN * _FILL / count
    smallest: Product | None = None
    for _ in range(40):
        candidate = product(seed, int(rng.integers(CATALOGUE_SIZE)))
        if candidate.sku in without:
            continue
        if _area(candidate.look) <= room:
            return candidate
        if smallest is None or _area(candidate.look) < _area(smallest.look):
            smallest = candidate
    if smallest is None:
        raise RuntimeError("the catalogue is smaller than what is left out")
    return smallest


def _area(look: Look) -> float:
    return look.width_in * look.height_in


def _place(rng: np.random.Generator, chosen: Product, units: Sequence[Unit]) -> Unit:
    """Try some places, on the floor in front of others or on top of them, and take the one that hides least."""
    others = [unit.placed for unit in units]
    hidden = [sum(_overlap(later, item) for later in others[i + 1 :]) for i, item in enumerate(others)]
    best, best_cost = None, np.inf
    for _ in range(_TRIES):
        angle = _angle(rng, chosen.look.shape)
        width, height = extent_in(chosen.look, angle)
        left = rng.uniform(0.0, max(0.1, BIN_WIDTH_IN - width))
        floor = Placed(look=chosen.look, left_in=left, bottom_in=rng.uniform(-0.3, 0.3), angle_deg=angle)
        stacked = replace(floor, bottom_in=_top_of_stack(floor, others))
        for place in (floor, stacked):
            above = max(0.0, place.bottom_in + height - BIN_HEIGHT_IN) / height
            covers = max((h + _overlap(place, item) for h, item in zip(hidden, others, strict=True)), default=0.0)
            # Hiding a third of an item is usual, hiding most of it is not; high stacks are rare.
            hides = max(0.0, covers - 0.35) + 4 * max(0.0, covers - 0.55)
            cost = hides + 3 * above + 0.8 * max(0.0, place.bottom_in) / BIN_HEIGHT_IN + rng.uniform(0.0, 0.3)
            if cost < best_cost:
                best, best_cost = place, cost
    if best is None:
        raise RuntimeError("no place was tried")
    return Unit(product=chosen, placed=best)


def _angle(rng: np.random.Generator, shape: Shape) -> float:
    """Degrees: mostly nearly upright, some lie, books lean."""
    if shape is Shape.BOOK:
        base = rng.choice((0.0, 90.0, -25.0, 25.0), p=(0.35, 0.35, 0.15, 0.15))
    else:
        base = rng.choice((0.0, -90.0, 90.0), p=(0.8, 0.1, 0.1))
    return round(float(base) + rng.normal(0.0, 4.0), 1)


def _top_of_stack(item: Placed, others: Sequence[Placed]) -> float:
    """How high `item` rests on those below it."""
    width, _ = item.extent_in
    tops = [0.0]
    for other in others:
        other_width, other_height = other.extent_in
        shared = min(item.left_in + width, other.left_in + other_width) - max(item.left_in, other.left_in)
        if shared > 0.2 * min(width, other_width):
            tops.append(other.bottom_in + other_height)
    return max(tops)


def _overlap(front: Placed, back: Placed) -> float:
    """The share of `back` that `front` hides, both taken as upright rectangles."""
    front_width, front_height = front.extent_in
    back_width, back_height = back.extent_in
    x = min(front.left_in + front_width, back.left_in + back_width) - max(front.left_in, back.left_in)
    y = min(front.bottom_in + front_height, back.bottom_in + back_height) - max(front.bottom_in, back.bottom_in)
    return max(0.0, x) * max(0.0, y) / (back_width * back_height)
