"""A photo's name and what its record says is in the bin.

Refuses to guess: a total that is not known is `None` (the photo is unlabelled), never 0.
"""

import re
from dataclasses import dataclass
from typing import Self

from bintally.errors import RecordError

_PHOTO_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class PhotoId(str):
    """A photo's name in its bucket, without folder and extension: a string, never a number.

    ABID holds `1012` and `01012`, which are different bins.

    >>> PhotoId("01012") == PhotoId("1012")
    False
    >>> PhotoId("01012").number
    1012
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Check that `value` can name a photo.

        Raises:
            RecordError: if it is empty, longer than 128 characters, or has characters a key may not have.
        """
        if not _PHOTO_ID.fullmatch(value):
            raise RecordError(
                f"{value!r} cannot name a photo: expected 1-128 letters, digits, '_', '-' or '.', such as '01012'"
            )
        return super().__new__(cls, value)

    @property
    def number(self) -> int | None:
        """The key read as a number, which orders neighbours; None where it is not all digits."""
        return int(self) if self.isdigit() else None

    @property
    def series(self) -> str:
        """Which run of consecutive keys this one belongs to: ABID's padded and unpadded keys are different photos."""
        if not self.isdigit():
            return "named"
        return "padded" if len(self) >= 5 else "unpadded"  # noqa: PLR2004 - 00001..535234 against 1..1200


@dataclass(frozen=True, slots=True, kw_only=True)
class BinItem:
    """One product in a bin. Sizes in inches, weight in pounds; None where the record has null."""

    sku: str
    quantity: int
    asin: str | None = None
    name: str | None = None
    height_in: float | None = None
    length_in: float | None = None
    width_in: float | None = None
    weight_lb: float | None = None

    def __post_init__(self) -> None:
        """Refuse a quantity that no bin can hold."""
        if self.quantity < 0:
            raise RecordError(f"item {self.sku!r}: expected a quantity of 0 or more, got {self.quantity}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BinRecord:
    """What the record of one photo says: its total and its products."""

    photo_id: PhotoId
    total: int
    items: tuple[BinItem, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a total that no bin can hold."""
        if self.total < 0:
            raise RecordError(f"record {self.photo_id!r}: expected a total of 0 or more, got {self.total}")

    @property
    def sum_of_quantities(self) -> int:
        """The items' quantities added up, which should be the total and in six ABID records is not."""
        return sum(item.quantity for item in self.items)

    @property
    def total_agrees(self) -> bool:
        """Whether the total is the sum of the quantities."""
        return self.total == self.sum_of_quantities

    @property
    def products(self) -> frozenset[str]:
        """What tells siblings apart from strangers: the SKUs in the bin."""
        return frozenset(item.sku for item in self.items)
