"""New rows on their way into a manifest: written in parts as blocks of photos are done, then merged with the old rows.

Half a million rows are never in memory at once. Refuses to touch the manifest before every part is written.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import polars as pl

from bintally.data.describe import Row
from bintally.data.manifest import SCHEMA, Header, sink_manifest
from bintally.errors import CannotWriteError


@dataclass(slots=True, kw_only=True)
class Block:
    """Photos whose rows go into one part.

    Attributes:
        number: the part's.
        left: photos that are not dealt with yet.
        before: the rows they had, by photo_id.
        rows: the rows they have now.
    """

    number: int
    left: int
    before: Mapping[str, Row]
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows on disk, sorted by photo_id."""

    path: Path
    rows: int
    first: str
    last: str


@dataclass(slots=True, kw_only=True)
class Parts:
    """The parts of one run, in a folder of their own."""

    folder: Path
    before: pl.LazyFrame | None
    written: dict[int, Part] = field(default_factory=dict)

    def start_block(self, number: int, photo_ids: list[str]) -> Block:
        """A block for these photos, with the rows that they had."""
        rows: Iterator[Row] = iter(())
        if self.before is not None:
            # The range alone lets whole row groups of a sorted file be skipped.
            near = pl.col("photo_id").is_between(pl.lit(min(photo_ids)), pl.lit(max(photo_ids)))
            rows = self.before.filter(near, pl.col("photo_id").is_in(photo_ids)).collect().iter_rows(named=True)
        return Block(number=number, left=len(photo_ids), before={str(row["photo_id"]): row for row in rows})

    def finish_one(self, block: Block, row: Row | None) -> None:
        """One photo of `block` is dealt with; the part is written after its last.

        Raises:
            CannotWriteError: if the part cannot be written.
        """
        if row is not None:
            block.rows.append(row)
        block.left -= 1
        if block.left or not block.rows:
            return
        path = self.folder / f"{block.number:06d}.parquet"
        frame = pl.DataFrame(block.rows, schema=SCHEMA, orient="row").sort("photo_id")
        block.rows.clear()
        try:
            frame.write_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise CannotWriteError(f"{path}: cannot write ({error}). Free some space, then run it again") from error
        first, last = frame["photo_id"][0], frame["photo_id"][-1]
        self.written[block.number] = Part(path=path, rows=frame.height, first=first, last=last)

    def merge(self, root: Path, header: Header) -> int:
        """Write the dataset's manifest of the old rows and the new ones, which replace old ones of the same photo.

        Returns:
            How many of the photos had no row before.

        Raises:
            ManifestError: if it cannot be written; the one before still stands.
        """
        parts = [self.written[number] for number in sorted(self.written)]
        new = pl.scan_parquet([part.path for part in parts])
        if any(one.last >= other.first for one, other in pairwise(parts)):  # a bucket sorts `1-a.jpg` before `1.jpg`
            new = new.sort("photo_id")
        had = 0
        if self.before is not None:
            ids = new.select("photo_id").collect()["photo_id"].implode()
            replaced = pl.col("photo_id").is_in(ids)
            had = self.before.select(replaced.sum()).collect().item()
            new = self.before.filter(~replaced).merge_sorted(new, key="photo_id")
        sink_manifest(new, root, header)
        return sum(part.rows for part in parts) - had
