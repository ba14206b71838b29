"""What came of a promotion, as `promotion.json` and as a page; both go to the store, and into the run's folder."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bintally import __version__
from bintally.data.files import whole_file
from bintally.evaluation.columns import METRIC_TITLES, cell, write_value
from bintally.pages.layout import environment
from bintally.tracking.gate import Judgement
from bintally.tracking.store import Store, translated

JSON_NAME, PAGE_NAME = "promotion.json", "promotion.html"
FORMAT_VERSION: Literal[1] = 1
_FOLDER = "promotion"


class Promotion(BaseModel):
    """`promotion.json`.

    Attributes:
        when: UTC, ISO 8601.
        model: its name in the registry.
        candidate: what the model calls itself.
        version: its number; None: it was not registered.
        compared_with: the champion then, or the baseline prior.
        champion_version: the champion's number then; 0: there was none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    bintally_version: str = __version__
    when: str
    model: str
    candidate: str
    version: int | None
    compared_with: str
    champion_version: int
    dataset_hash: str
    split_hash: str
    dry_run: bool
    judgement: Judgement


def now() -> str:
    """UTC, ISO 8601; later is greater."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def render_page(promotion: Promotion) -> str:
    """The page as text."""
    judgement = promotion.judgement
    rows = [
        (
            METRIC_TITLES[check.metric],
            [
                cell(check.metric, check.candidate),
                cell(check.metric, check.other),
                cell(check.metric, check.difference, signed=True),
            ],
            write_value(check.metric, check.margin, signed=True).lstrip("+"),
        )
        for check in judgement.checks
    ]
    page = environment("bintally.tracking").get_template("promotion.html.j2")
    note = "There are no photos on this page."
    return page.render(promotion=promotion, judgement=judgement, rows=rows, photo_note=note)


def write_promotion(promotion: Promotion, folder: Path) -> list[Path]:
    """Write both files, each whole or not at all."""
    texts = {JSON_NAME: promotion.model_dump_json(indent=1) + "\n", PAGE_NAME: render_page(promotion)}
    for name, text in texts.items():
        with whole_file(folder / name) as part:
            part.write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def send_promotion(store: Store, run_id: str, promotion: Promotion, run: Path | None) -> None:
    """Keep both files with the run that the model lies with, and in its folder where that is known.

    Raises:
        StoreError: if the store refuses or cannot be reached.
    """
    folder = f"{_FOLDER}/version-{promotion.version}-against-{promotion.champion_version or 'prior'}"
    with tempfile.TemporaryDirectory() as scratch, translated(store.uri):
        for path in write_promotion(promotion, run or Path(scratch)):
            store.client.log_artifact(run_id, str(path), folder)
