"""`bintally audit`: what in a dataset should not be trusted unseen."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bintally.cli.extras import extra
from bintally.errors import ManifestError

if TYPE_CHECKING:
    from rich.table import Table

    from bintally.data.audit import AuditReport
    from bintally.data.manifest import Flag

_SHOWN = 5  # photos spelled out; the page and the manifest have them all


def audit(
    data: Annotated[Path, typer.Argument(help="The dataset's folder.", file_okay=False)],
    out: Annotated[
        Path | None, typer.Option(help="The page, an HTML file.", show_default="audit.html in DATA", dir_okay=False)
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Whether to make the page.")] = True,
    dark_below: Annotated[float, typer.Option(help="Mean luma, 0 to 255, below which a photo is dark.")] = 60.0,
    blurred_below: Annotated[float, typer.Option(help="Sharpness below which a photo is blurred.")] = 0.03,
    near_bits: Annotated[int, typer.Option(help="Of 64: in how many at most near duplicates' hashes differ.")] = 10,
    near_overall: Annotated[float, typer.Option(help="How much near duplicates' pictures agree at least.")] = 0.65,
    near_least: Annotated[float, typer.Option(help="And how much in the part where they agree least.")] = 0.3,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Photos decoded at once.", show_default="one for each processor")
    ] = None,
) -> None:
    """Look at every photo and record, flag what is odd, and show it on a page. Nothing is deleted.

    Flags are columns of the manifest; findings are no failure. Run it again when the dataset has grown: only new photos
    are decoded. Only a photo that is missing, or is another than was ingested, ends in exit code 5, after all the rest.
    """
    with extra("data", "bintally audit"):
        from bintally.cli.stores import transfer_bar
        from bintally.data.audit import Thresholds
        from bintally.data.audit import audit as look
        from bintally.data.likeness import Likeness
        from bintally.data.manifest import FILE_NAME, read_manifest, write_manifest
    if page:
        with extra("report", "the page of bintally audit (--no-page does without)"):
            from bintally.data.audit_page import write_page
    likeness = Likeness(bits=near_bits, overall=near_overall, least=near_least)
    thresholds = Thresholds(dark_below=dark_below, blurred_below=blurred_below, likeness=likeness)
    path = data / FILE_NAME
    before = _stamp(path)
    report = look(read_manifest(data), thresholds, workers=workers, bar=transfer_bar)
    if _stamp(path) != before:
        raise ManifestError(f"{path}: changed while the audit was at it, and was left as it is. Audit again")
    write_manifest(report.manifest)
    written = write_page(out or data / "audit.html", report) if page else None
    console = Console(soft_wrap=True, highlight=False)
    console.print(_table(report) if _flags(report) else "No photo is flagged.")
    for sentence in _sentences(report, written):
        console.print(escape(sentence))
    if report.astray:
        raise ManifestError(_astray(report))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written anew; None: it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _table(report: "AuditReport") -> "Table":
    from rich.table import Table

    from bintally.data.audit import MEANINGS, consequence

    photos = report.manifest.frame.height
    table = Table("flag", "photos", "share", "for training", "what it says", title=f"Flags of {photos:,} photos")
    for column in table.columns[1:3]:
        column.justify = "right"
    for flag, found in _flags(report).items():
        table.add_row(flag.value, f"{found:,}", report.share(found), consequence(flag), MEANINGS[flag])
    return table


def _flags(report: "AuditReport") -> "dict[Flag, int]":
    """How many photos have each flag that occurs."""
    from bintally.data.manifest import Flag

    found = {flag: report.flagged(flag).height for flag in Flag}
    return {flag: photos for flag, photos in found.items() if photos}


def _sentences(report: "AuditReport", page: Path | None) -> list[str]:
    pairs = report.duplicates.pairs
    said = [f"{report.measured:,} photos measured, {report.known:,} known from before."]
    if report.unplaced:
        said.append(
            f"Not every photo is in a split, so duplicates across splits are not known. Split, then audit again: "
            f"bintally split {report.manifest.root}"
        )
    if report.leaks:
        named = ", ".join(f"{pair.kept.photo_id} and {pair.other.photo_id}" for pair in report.leaks[:_SHOWN])
        more = ", ..." if len(report.leaks) > _SHOWN else ""
        said.append(
            f"LEAK: {len(report.leaks):,} of {len(pairs):,} pairs of duplicates lie in two splits: {named}{more}. "
            "Leave their flags out of training."
        )
    elif pairs and not report.unplaced:
        said.append(f"None of {len(pairs):,} pairs of duplicates lies in two splits.")
    if page is not None:
        said.append(f"Page: {page}")
    return said


def _astray(report: "AuditReport") -> str:
    """What is said last where photos are missing, or others than were ingested."""
    manifest, photos = report.manifest, len(report.astray)
    texts = "; ".join(finding.text for finding in report.astray[:_SHOWN])
    more = f"; and {photos - _SHOWN} more" if photos > _SHOWN else ""
    was_prepared_here = "prepared" in manifest.header.extra and manifest.header.source.startswith("file:")
    verb = "prepare" if was_prepared_here else "ingest"
    return (
        f"{manifest.root}: {photos} of {manifest.frame.height} photos are not what the manifest says: {texts}{more}. "
        f"Have them made again: bintally {verb} {manifest.header.source} {manifest.root}"
    )
