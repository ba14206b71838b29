"""`tracking.json`: what a run's folder knows of its record in a store, so that it is found again and sent once.

Refuses files of another version.
"""

import time
import uuid
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bintally import __version__
from bintally.data.files import whole_file
from bintally.data.manifest import Manifest
from bintally.errors import CheckpointError
from bintally.models.provenance import Provenance
from bintally.settings import RunSettings

FILE_NAME = "tracking.json"
FORMAT_VERSION: Literal[1] = 1


class Origin(BaseModel):
    """What a run is made from, as far as is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = ""
    dataset_hash: str = ""
    split_hash: str = ""
    settings_hash: str = ""
    weights: str = ""
    licence: str = ""
    bintally_version: str = __version__

    @classmethod
    def of_run(cls, manifest: Manifest, settings: RunSettings, *, weights: Path | None, licence: str) -> "Origin":
        """Of a run that is about to begin."""
        return cls(
            source=manifest.header.origin,
            dataset_hash=manifest.content_hash,
            split_hash=manifest.split_hash,
            settings_hash=settings.content_hash,
            weights=weights.name if weights else "",
            licence=licence,
        )

    @classmethod
    def of_model(cls, provenance: Provenance) -> "Origin":
        """Of a finished run, or a model file."""
        return cls(
            source=provenance.source,
            dataset_hash=provenance.manifest_hash,
            split_hash=provenance.split_hash,
            settings_hash=provenance.settings_hash,
            weights=provenance.weights,
            licence=provenance.licence,
            bintally_version=provenance.bintally_version,
        )


class Record(BaseModel):
    """The file.

    Attributes:
        key: the run's own name in every store, under the tag `bintally.key`.
        begun_ms: when it began, UTC, since 1970.
        uri: the store it was last sent to.
        experiment: there.
        origin: what it is made from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = FORMAT_VERSION
    key: str
    begun_ms: int
    uri: str
    experiment: str
    origin: Origin


def new_record(uri: str, experiment: str, origin: Origin, *, begun_ms: int | None = None) -> Record:
    """A record that no store knows yet."""
    begun = now_ms() if begun_ms is None else begun_ms
    return Record(key=uuid.uuid4().hex, begun_ms=begun, uri=uri, experiment=experiment, origin=origin)


def now_ms() -> int:
    """UTC, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def read_record(run: Path) -> Record | None:
    """The record of the run in this folder; None: it has none.

    Raises:
        CheckpointError: if it is of another version or damaged.
    """
    path = run / FILE_NAME
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise CheckpointError(
            f"{path}: not a record of format version {FORMAT_VERSION} ({said}). Remove it: the run is recorded anew"
        ) from error


def write_record(record: Record, run: Path) -> None:
    """Write it, whole or not at all."""
    with whole_file(run / FILE_NAME) as part:
        part.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
