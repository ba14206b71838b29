"""One self-contained HTML page of an audit: what is flagged, with pictures, and what is in the dataset, with plots.

The page loads nothing: CSS, SVG and photos are in it; of each flag it shows a sample, however large the dataset.
Refuses to be the only place where a finding stands: all of them are columns of the manifest.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from bintally.data.audit import MEANINGS, NOTE, AuditReport, consequence
from bintally.data.audit_pictures import sections_of
from bintally.data.audit_plots import plots_of
from bintally.data.files import cannot_write, whole_file
from bintally.data.manifest import Flag, Split
from bintally.pages.layout import PHOTO_NOTE, environment

_ASTRAY_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _FlagRow:
    """One row of the table of flags."""

    name: str
    meaning: str
    photos: int
    share: str
    by_split: tuple[int, ...]
    consequence: str


def write_page(path: Path, report: AuditReport, *, photo_note: str = PHOTO_NOTE) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file.
        report: the audit; pictures are read from below its manifest's root.
        photo_note: under which licence the photos are; stands on the page.

    Raises:
        CannotWriteError: if it cannot be written.
    """
    page = render_page(report, photo_note=photo_note)
    try:
        with whole_file(path) as part:
            part.write_text(page, encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def render_page(report: AuditReport, *, photo_note: str) -> str:
    """The page as text; see `write_page`."""
    manifest, thresholds, pairs = report.manifest, report.thresholds, report.duplicates.pairs
    plots = plots_of(manifest.frame, dark_below=thresholds.dark_below, blurred_below=thresholds.blurred_below)
    in_none = manifest.frame["split"].null_count() > 0
    return (
        environment("bintally.data")
        .get_template("audit.html.j2")
        .render(
            name=manifest.root.resolve().name,
            header=manifest.header,
            split_hash=manifest.split_hash if manifest.salt else "",
            content_hash=manifest.content_hash,
            when=json.loads(manifest.header.extra[NOTE])["when"],
            thresholds=thresholds,
            photos=manifest.frame.height,
            unplaced=report.unplaced,
            astray=report.astray[:_ASTRAY_SHOWN],
            astray_photos=len(report.astray),
            leaks=len(report.leaks),
            exact=sum(pair.is_exact for pair in pairs),
            near=sum(not pair.is_exact for pair in pairs),
            strangers=sum(not pair.is_exact and not pair.are_siblings for pair in pairs),
            counts_differ=sum(pair.counts_differ for pair in pairs),
            report=report,
            blurred=report.flagged(Flag.BLURRED).height,
            flags=_flag_rows(report, with_unsplit=in_none),
            splits=[*(split.value for split in Split), *(["in none"] if in_none else [])],
            plots=[(plot.title, plot.note, Markup(plot.svg)) for plot in plots],  # noqa: S704 - our own SVG
            sections=sections_of(report),
            photo_note=photo_note,
        )
    )


def _flag_rows(report: AuditReport, *, with_unsplit: bool) -> list[_FlagRow]:
    rows = []
    for flag in Flag:
        by_split = report.by_split(flag)
        photos = sum(by_split.values())
        rows.append(
            _FlagRow(
                name=flag.value,
                meaning=MEANINGS[flag],
                photos=photos,
                share=report.share(photos) if photos else "",
                by_split=tuple(found for split, found in by_split.items() if split or with_unsplit),
                consequence=consequence(flag),
            )
        )
    return rows
