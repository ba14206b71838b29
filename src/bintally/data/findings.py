"""What an audit finds in the manifest itself: a flag and words for each photo concerned, from figures and records.

Refuses to read files, and to remove anything: a finding is a flag that can be looked at.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from bintally.data.manifest import AUDIT_FLAGS, SCHEMA, Flag
from bintally.data.splits import chains
from bintally.domain.bins import PhotoId

_FIELDS: Mapping[str, tuple[str, ...]] = {
    "name": ("name",),
    "size": ("height_in", "length_in", "width_in"),
    "weight": ("weight_lb",),
}
_OF_THE_ORIGINAL = (Flag.UNDECODABLE.value, Flag.TRUNCATED.value)
"""Why a photo could not be prepared: such a row has no file that could be looked at again."""
_SHOWN = 3  # items and photos spelled out


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing found about one photo.

    Attributes:
        photo_id: which.
        flag: what; None where no flag says it.
        text: in words.
    """

    photo_id: str
    flag: Flag | None
    text: str


def dim_or_blurred(frame: pl.DataFrame, *, dark_below: float, blurred_below: float) -> Iterator[Finding]:
    """Photos whose figures lie below the thresholds; those that were not measured have none."""
    for photo_id, brightness in frame.filter(pl.col("brightness") < dark_below).select("photo_id", "brightness").rows():
        text = f"dark: mean luma {brightness:.0f}, below {dark_below:g}"
        yield Finding(photo_id=photo_id, flag=Flag.DARK, text=text)
    soft = frame.filter(pl.col("sharpness") < blurred_below)
    for photo_id, sharpness in soft.select("photo_id", "sharpness").rows():
        text = f"blurred: sharpness {sharpness:.4f}, below {blurred_below:g}"
        yield Finding(photo_id=photo_id, flag=Flag.BLURRED, text=text)


def missing_fields(frame: pl.DataFrame) -> Iterator[Finding]:
    """Photos with an item that has no name, no whole size or no weight."""
    lacks = {
        what: pl.any_horizontal(pl.element().struct.field(name).is_null() for name in names)
        for what, names in _FIELDS.items()
    }
    concerned = frame.filter(pl.col("items").list.eval(pl.any_horizontal(*lacks.values())).list.any())
    for photo_id, items in concerned.select("photo_id", "items").iter_rows():
        lacking = [
            f"{item['sku']} has no {' and no '.join(missing)}"
            for item in items
            if (missing := [what for what, names in _FIELDS.items() if any(item[name] is None for name in names)])
        ]
        yield Finding(photo_id=photo_id, flag=Flag.MISSING_FIELDS, text=f"missing fields: {_some(lacking)}")


def key_collisions(photo_ids: Iterable[str]) -> Iterator[Finding]:
    """Photos whose keys are the same number: different bins, which a table that reads keys as numbers would mix up.

    >>> [found.photo_id for found in key_collisions(["01012", "1012", "01013", "spare"])]
    ['01012', '1012']
    """
    by_number: dict[int, list[str]] = defaultdict(list)
    for photo_id in photo_ids:
        if (number := PhotoId(photo_id).number) is not None:
            by_number[number].append(photo_id)
    for number, same in by_number.items():
        for photo_id in same if len(same) > 1 else ():
            others = _some([other for other in same if other != photo_id])
            text = f"key collision: {others} is {number} too, and another bin"
            yield Finding(photo_id=photo_id, flag=Flag.KEY_COLLISION, text=text)


def sibling_chains(frame: pl.DataFrame) -> tuple[tuple[PhotoId, ...], ...]:
    """The chains of siblings (see `splits.chains`) that hold more than one photo."""
    skus = frame.select("photo_id", pl.col("items").list.eval(pl.element().struct.field("sku")))
    products = {PhotoId(photo_id): frozenset(names or ()) for photo_id, names in skus.iter_rows()}
    return tuple(chain for chain in chains(products) if len(chain) > 1)


def siblings(found: Iterable[tuple[PhotoId, ...]]) -> Iterator[Finding]:
    """Every photo of every chain."""
    for chain in found:
        for photo_id in chain:
            others = _some([other for other in chain if other != photo_id])
            yield Finding(photo_id=photo_id, flag=Flag.SIBLING, text=f"sibling of {others}")


def with_findings(frame: pl.DataFrame, found: Iterable[Finding], duplicate_of: Mapping[str, str]) -> pl.DataFrame:
    """The rows with the audit's flags set anew, in the order of `Flag`; ingest's stay.

    Args:
        frame: of a manifest.
        found: everything that was found.
        duplicate_of: the photo kept in place of each duplicate.
    """
    order = {flag.value: place for place, flag in enumerate(AUDIT_FLAGS)}
    by_photo: dict[str, list[Finding]] = defaultdict(list)
    for finding in found:
        by_photo[finding.photo_id].append(finding)
    flags, texts = [], []
    for photo_id, before in frame.select("photo_id", "flags").iter_rows():
        is_absent = Flag.NOT_FETCHED.value in before
        here = sorted(by_photo.get(photo_id, ()), key=lambda finding: order.get(finding.flag or "", -1))
        kept = [flag for flag in before if flag not in order or (is_absent and flag in _OF_THE_ORIGINAL)]
        flags.append([*kept, *dict.fromkeys(finding.flag.value for finding in here if finding.flag)])
        texts.append("; ".join(finding.text for finding in here) or None)
    return frame.with_columns(
        pl.Series("flags", flags, dtype=SCHEMA["flags"]),
        pl.Series("finding", texts, dtype=SCHEMA["finding"]),
        pl.Series("duplicate_of", [duplicate_of.get(i) for i in frame["photo_id"]], dtype=SCHEMA["duplicate_of"]),
    ).select(SCHEMA.names())


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
