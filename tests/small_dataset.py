"""Tiny datasets and made-up estimators for tests: drawn photos, a real manifest, known answers."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image, ImageDraw

from bintally.data.images import decode
from bintally.data.manifest import SCHEMA, Flag, Header, Manifest, Split, write_manifest

SPLITS = (Split.TRAIN, Split.TRAIN, Split.TRAIN, Split.VAL, Split.CALIBRATION, Split.TEST, Split.TEST, Split.TEST)


def draw_photo(count: int, seed: int = 0, *, kind: str = "JPEG", side_px: int = 48) -> bytes:
    """A photo of `count` squares; brighter and larger in bytes the more there are."""
    rng = np.random.default_rng((count, seed))
    image = Image.new("RGB", (side_px + 16, side_px), (40, 40, 40))
    draw = ImageDraw.Draw(image)
    for _ in range(count):
        x, y = (int(v) for v in rng.integers(0, side_px - 8, 2))
        draw.rectangle([x, y, x + 8, y + 8], fill=(200, int(rng.integers(100, 255)), 150))
    data = BytesIO()
    image.save(data, kind)
    return data.getvalue()


def make_dataset(
    root: Path,
    counts: Sequence[int | None],
    *,
    siblings: int = 2,
    salt: str = "bintally-1",
    extra: Mapping[str, str] | None = None,
) -> Manifest:
    """A dataset whose photos have these counts (None: unlabelled); each run of `siblings` photos is one group."""
    (root / "bin-images").mkdir(parents=True)
    rows = []
    for number, count in enumerate(counts):
        photo_id = f"{number:05d}"
        data = draw_photo(count or 0, number)
        (root / "bin-images" / f"{photo_id}.jpg").write_bytes(data)
        group = number // siblings
        rows.append(
            {
                "photo_id": photo_id,
                "photo_key": f"bin-images/{photo_id}.jpg",
                "sha256": hashlib.sha256(data).hexdigest(),
                "size_bytes": len(data),
                "width_px": 64,
                "height_px": 48,
                "count": count,
                "items": [],
                "flags": [] if count is not None else [Flag.NO_RECORD.value],
                "problem": None,
                "group": f"g{group:04d}",
                "split": SPLITS[group % len(SPLITS)].value,
            }
        )
    header = Header(source="tests", salt=salt, extra=extra or {})
    manifest = Manifest(frame=pl.DataFrame(rows, schema=SCHEMA), root=root, header=header)
    write_manifest(manifest)
    return manifest


class KnowingEstimator:
    """An estimator that is told what to say of each count, and looks the count up by the photo's bytes."""

    def __init__(
        self,
        manifest: Manifest,
        belief: Callable[[int], Sequence[float]],
        *,
        name: str = "knowing",
        last_count: int = 6,
    ) -> None:
        self.name = name
        self.last_count = last_count
        self.batch_sizes: list[int] = []
        self._belief = belief
        self._counts = {
            (manifest.root / key).read_bytes(): count
            for key, count in manifest.frame.select("photo_key", "count").rows()
            if count is not None
        }

    def predict(self, photos: Sequence[bytes]) -> npt.NDArray[np.float32]:
        self.batch_sizes.append(len(photos))
        for photo in photos:
            decode(photo)
        rows = [self._belief(self._counts[photo]) for photo in photos]
        return np.array(rows, dtype=np.float32).reshape(len(photos), self.last_count + 1)


def sure_of(count: int, *, last_count: int = 6, share: float = 0.9) -> list[float]:
    """`share` on one count (K for those above), the rest even over the others."""
    row = [(1 - share) / last_count] * (last_count + 1)
    row[min(count, last_count)] = share
    return row
