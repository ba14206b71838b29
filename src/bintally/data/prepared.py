"""What a prepared dataset says of how its photos were made, and which networks it suits.

`bintally prepare` writes it into the manifest's header. Refuses a note that cannot be read, and a dataset whose photos
have another side than a network sees: squashed twice, a photo is not what counting sees.
"""

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from bintally.data.manifest import FILE_NAME, Header, Manifest
from bintally.errors import ManifestError

NOTE = "prepared"
"""The key in a header's `extra`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """How the photos of a dataset were made from others.

    Attributes:
        side_px: of each photo, a square.
        format: `jpeg` or `png`.
        quality: of JPEG.
        resize: how the whole frame became a square.
        hash: 12 hex digits of all of it.
    """

    side_px: int
    format: str
    quality: int | None
    resize: str
    hash: str

    def __str__(self) -> str:
        """For a person."""
        quality = f" of quality {self.quality}" if self.format == "jpeg" else ""
        return f"{self.side_px} px, {self.format}{quality}, {self.resize}, hash {self.hash}"


_NOTE = TypeAdapter(Prepared)


def prepared_as(header: Header) -> Prepared | None:
    """How the photos were prepared; None: they are as they came.

    Raises:
        ManifestError: if the header says something about it that cannot be read.

    >>> prepared_as(Header(source="s3://bins")) is None
    True
    """
    note = header.extra.get(NOTE)
    if note is None:
        return None
    try:
        return _NOTE.validate_json(note, strict=True)
    except ValidationError as error:
        raise ManifestError(f"the dataset says {note!r} of how it was prepared; prepare it again") from error


def check_side(manifest: Manifest, side_px: int, *, wanted_by: str, can_change: bool = False) -> None:
    """Refuse a prepared dataset whose photos have another side.

    Args:
        manifest: prepared or not; photos as they came suit every side.
        side_px: what a network sees.
        wanted_by: whose side that is, for the message.
        can_change: whether that side is a setting that can still be changed.

    Raises:
        ManifestError: saying both sides, and what to do.
    """
    prepared = prepared_as(manifest.header)
    if prepared is None or prepared.side_px == side_px:
        return
    or_else = f"; or change the side: --set data.side_px={prepared.side_px}" if can_change else ""
    raise ManifestError(
        f"{manifest.root / FILE_NAME}: its photos were prepared at {prepared.side_px} px, but {wanted_by} sees "
        f"{side_px} px. Prepare those that they came from, at {manifest.header.source}, once more: bintally prepare "
        f"DATA DEST --side {side_px}{or_else}"
    )
