"""What photos are reduced to, and what a place for them may hold before.

Refuses to put photos of two kinds, or of two datasets, in one place. `prepared` reads the note that is written here.
"""

import hashlib
import json
from dataclasses import dataclass

from bintally.data import abid
from bintally.data.images import PhotoFormat
from bintally.data.manifest import Header, Manifest
from bintally.data.prepared import NOTE, prepared_as
from bintally.data.source import COMPLETE
from bintally.errors import ManifestError, SettingsError

RESIZE = "squash-bicubic"  # what `images.resize` does, in the words of a model file
_SIDES_PX = range(32, 1025)  # as in `settings.DataSettings`
_QUALITIES = range(1, 101)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSettings:
    """What photos are reduced to.

    Attributes:
        side_px: the square's side; the recipe's, for another would squash a photo twice.
        format: JPEG or PNG.
        quality: JPEG's; a PNG has none.
    """

    side_px: int = 224
    format: PhotoFormat = PhotoFormat.JPEG
    quality: int = 95

    def __post_init__(self) -> None:
        """Refuse what no recipe can need."""
        if self.side_px not in _SIDES_PX:
            raise SettingsError(f"side: expected {_SIDES_PX[0]} to {_SIDES_PX[-1]} pixels, got {self.side_px}")
        if self.quality not in _QUALITIES:
            raise SettingsError(f"quality: expected {_QUALITIES[0]} to {_QUALITIES[-1]}, got {self.quality}")

    def __str__(self) -> str:
        """For a person.

        >>> str(PrepareSettings()), str(PrepareSettings(format=PhotoFormat.PNG))
        ('224 px, JPEG of quality 95', '224 px, PNG')
        """
        quality = f" of quality {self.quality}" if self.format is PhotoFormat.JPEG else ""
        return f"{self.side_px} px, {self.format.upper()}{quality}"

    def photo_key(self, photo_id: str) -> str:
        """Where a prepared photo lies.

        >>> PrepareSettings(format=PhotoFormat.PNG).photo_key("01012")
        'bin-images/01012.png'
        """
        end = ".jpg" if self.format is PhotoFormat.JPEG else ".png"
        return f"{abid.PHOTO_FOLDER}{photo_id}{end}"

    @property
    def content_hash(self) -> str:
        """12 hex digits of the settings.

        >>> PrepareSettings().content_hash == PrepareSettings(quality=94).content_hash
        False
        """
        return hashlib.sha256(json.dumps(self._facts()).encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """As it stands in a manifest's header."""
        return json.dumps({**self._facts(), "hash": self.content_hash})

    def _facts(self) -> dict[str, str | int | None]:
        quality = self.quality if self.format is PhotoFormat.JPEG else None
        return {"side_px": self.side_px, "format": self.format.value, "quality": quality, "resize": RESIZE}


def prepared_header(manifest: Manifest, settings: PrepareSettings) -> Header:
    """The header of the dataset that is prepared from `manifest`."""
    extra = {key: note for key, note in manifest.header.extra.items() if key != COMPLETE}
    extra |= {"origin": manifest.header.origin, NOTE: settings.to_json()}
    return Header(source=manifest.root.resolve().as_uri(), salt=manifest.salt, extra=extra)


def check_can_be_prepared(manifest: Manifest) -> None:
    """Refuse photos that were prepared already, and a dataset that is not whole.

    Raises:
        ManifestError: saying what to do.
    """
    was = prepared_as(manifest.header)
    if was is not None:
        raise ManifestError(
            f"{manifest.root}: these photos were prepared already ({was}); twice is not what serving does. Prepare the "
            f"dataset that they came from: {manifest.header.source}"
        )
    if manifest.header.extra.get(COMPLETE, "yes") != "yes":
        raise ManifestError(f"{manifest.root}: this dataset is not finished. Run again the verb that was writing it")


def check_same(held: Manifest, new: Manifest, url: str) -> None:
    """Refuse to prepare into a place that holds something else.

    Args:
        held: what is there.
        new: what is to be there: every row of the source, and the header as it will be written.
        url: where.

    Raises:
        ManifestError: saying what is there.
    """
    was, will_be = prepared_as(held.header), prepared_as(new.header)
    if was is None:
        raise ManifestError(f"{url}: holds a dataset whose photos are as they came. Prepare into another place")
    if was != will_be:
        raise ManifestError(
            f"{url}: holds photos prepared otherwise ({was}) than these would be ({will_be}). Prepare into another "
            "place, or with the same settings"
        )
    if held.header.origin != new.header.origin:
        raise ManifestError(
            f"{url}: holds photos that came from {held.header.origin}; these came from {new.header.origin}. Prepare "
            "into another place"
        )
    others = held.frame.join(new.frame, on="photo_id", how="anti")["photo_id"].sort()
    if len(others):
        raise ManifestError(
            f"{url}: holds {len(others)} photos that are not in {new.root}, such as {others[0]}. Prepare into another "
            "place, or prepare the dataset that has them too"
        )
