"""Looks at every photo and record of a dataset and flags what should not be trusted unseen.

Figures (brightness, sharpness, perceptual hash) stay in the manifest, and only photos that have none are decoded;
flags are set anew from the figures each time. Every file is read and compared with its sha256.
Refuses to delete anything, and to write: who calls keeps the manifest, who trains says which flags to leave out.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

import polars as pl

from bintally.data.findings import (
    Finding,
    dim_or_blurred,
    key_collisions,
    missing_fields,
    sibling_chains,
    siblings,
    with_findings,
)
from bintally.data.likeness import Duplicates, Likeness, Pair, find_duplicates
from bintally.data.looking import Bar, look_at_all, no_bar
from bintally.data.manifest import DEFAULT_EXCLUDED, UNUSABLE, Flag, Header, Manifest, Split, has_any_flag
from bintally.data.photo_quality import VERSION
from bintally.data.prepared import NOTE as PREPARED
from bintally.errors import SettingsError

NOTE = "audit"
"""The note in the manifest's header: version of the figures, what they were taken from, thresholds, and when."""
MEANINGS: Mapping[Flag, str] = {
    Flag.NOT_FETCHED: "the source refused or kept failing; ingest again",
    Flag.BAD_PHOTO: "no JPEG or PNG with a readable header",
    Flag.NO_RECORD: "no record, so no count",
    Flag.BAD_RECORD: "a record that cannot be read, so no count",
    Flag.TOTAL_MISMATCH: "the total is not the sum of the quantities",
    Flag.UNDECODABLE: "the header is fine, the pixels are damaged",
    Flag.TRUNCATED: "the file ends early",
    Flag.DARK: "the whole photo is dim",
    Flag.BLURRED: "out of focus, or moved",
    Flag.EXACT_DUPLICATE: "the bytes of another photo that is kept",
    Flag.NEAR_DUPLICATE: "nearly the picture of another photo that is kept",
    Flag.MISSING_FIELDS: "an item without name, size or weight",
    Flag.KEY_COLLISION: "another photo's key is the same number, as 1012 and 01012",
    Flag.SIBLING: "the bin of another photo, shortly before or after; they share a split",
}
"""What each flag says of a photo, for a person."""
_MOST_WORKERS = 16
_LIGHTEST = 255.0
_LEAST_SHARE = 0.0005  # what is not written as 0.0%


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From where on a photo is flagged; the defaults were chosen by looking at photos of ABID.

    Attributes:
        dark_below: mean luma.
        blurred_below: sharpness.
        likeness: what makes two photos near duplicates.
    """

    dark_below: float = 60.0
    blurred_below: float = 0.03
    likeness: Likeness = field(default_factory=Likeness)

    def __post_init__(self) -> None:
        """Refuse thresholds that no photo can be compared with."""
        if not 0 <= self.dark_below <= _LIGHTEST:
            raise SettingsError(f"dark below: expected a mean luma of 0 to 255, got {self.dark_below}")
        if not 0 <= self.blurred_below < float("inf"):
            raise SettingsError(f"blurred below: expected a sharpness of 0 or more, got {self.blurred_below}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """An audited dataset.

    Attributes:
        manifest: with figures and flags; not yet on disk.
        thresholds: by which it was flagged.
        measured: photos that were decoded.
        known: photos whose figures were there already.
        astray: photos that are not where, or not what, the manifest says.
        duplicates: which photos are alike.
    """

    manifest: Manifest
    thresholds: Thresholds
    measured: int
    known: int
    astray: tuple[Finding, ...]
    duplicates: Duplicates

    @property
    def leaks(self) -> tuple[Pair, ...]:
        """Duplicates in two splits: what is learned from one is measured on the other."""
        return tuple(pair for pair in self.duplicates.pairs if pair.across_splits)

    @property
    def unplaced(self) -> int:
        """Photos in no split; those that were not fetched never are."""
        return self.manifest.frame.filter(pl.col("split").is_null(), ~has_any_flag([Flag.NOT_FETCHED])).height

    def share(self, photos: int) -> str:
        """Of all photos."""
        share = photos / max(self.manifest.frame.height, 1)
        return f"{share:.1%}" if share >= _LEAST_SHARE or not photos else "<0.1%"

    def flagged(self, flag: Flag) -> pl.DataFrame:
        """The rows with `flag`."""
        return self.manifest.frame.filter(has_any_flag([flag]))

    def by_split(self, flag: Flag) -> dict[Split | None, int]:
        """How many photos of each split have `flag`; None: those in no split."""
        found = dict(self.flagged(flag).group_by("split").len().iter_rows())
        return {split: found.get(split and split.value, 0) for split in (*Split, None)}


def consequence(flag: Flag) -> str:
    """What a flag means for training, unless a recipe says otherwise.

    >>> consequence(Flag.TRUNCATED), consequence(Flag.DARK)
    ('never used', 'kept')
    """
    if flag in UNUSABLE:
        return "never used"
    if flag in (Flag.NO_RECORD, Flag.BAD_RECORD):
        return "not learned from"
    return "left out" if flag in DEFAULT_EXCLUDED else "kept"


def audit(
    manifest: Manifest, thresholds: Thresholds | None = None, *, workers: int | None = None, bar: Bar = no_bar
) -> AuditReport:
    """Measure the photos of `manifest` that were not measured before, and flag them all anew.

    Args:
        manifest: its photos are read from below its root.
        thresholds: from where on a photo is flagged; None: the defaults.
        workers: threads, of which each holds one decoded photo; None: one for each processor.
        bar: opens a progress bar.
    """
    thresholds = thresholds or Thresholds()
    workers = workers or min(os.cpu_count() or 1, _MOST_WORKERS)
    looked = look_at_all(manifest, trust_figures=_are_current(manifest.header), workers=workers, bar=bar)
    measured = replace(manifest, frame=looked.frame)
    chains = sibling_chains(looked.frame)
    duplicates = find_duplicates(measured, chains, thresholds.likeness, workers=workers, bar=bar)
    found = [
        *looked.astray,
        *looked.damaged,
        *dim_or_blurred(looked.frame, dark_below=thresholds.dark_below, blurred_below=thresholds.blurred_below),
        *duplicates.findings(),
        *missing_fields(looked.frame),
        *key_collisions(looked.frame["photo_id"]),
        *siblings(chains),
    ]
    header = replace(manifest.header, extra={**manifest.header.extra, NOTE: _note(thresholds, manifest.header)})
    return AuditReport(
        manifest=replace(manifest, frame=with_findings(looked.frame, found, duplicates.kept_instead), header=header),
        thresholds=thresholds,
        measured=looked.measured,
        known=looked.known,
        astray=looked.astray,
        duplicates=duplicates,
    )


def outdated(manifest: Manifest) -> str:
    """Why an audit would find something else now than is flagged; empty if it would not.

    Which photo of two duplicates is kept out depends on their splits, so another split wants another audit.
    """
    try:
        salt = json.loads(manifest.header.extra[NOTE])["salt"]
    except (ValueError, LookupError, TypeError):
        return "never audited: duplicates and broken photos may be among the photos"
    if salt != manifest.salt:
        return "split anew since the audit: a photo and its duplicate may lie in two splits, with nothing kept out"
    known = pl.col("brightness").is_not_null() | has_any_flag([Flag.NOT_FETCHED, Flag.UNDECODABLE])
    unseen = manifest.frame.filter(pl.col("split").is_not_null(), ~known).height
    return f"{unseen:,} photos came after the audit: duplicates may be among them" if unseen else ""


def _are_current(header: Header) -> bool:
    """Whether a manifest's figures are such as would be measured now, of these very files."""
    try:
        note = json.loads(header.extra.get(NOTE, "{}"))
        return bool(note["version"] == VERSION and note["prepared"] == header.extra.get(PREPARED))
    except (ValueError, LookupError, TypeError):
        return False


def _note(thresholds: Thresholds, header: Header) -> str:
    facts = {"version": VERSION, "prepared": header.extra.get(PREPARED), "salt": header.salt}
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({**facts, "thresholds": asdict(thresholds), "when": when})
