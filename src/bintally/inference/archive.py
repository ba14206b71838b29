"""`model.tar.gz`: a run's model as SageMaker and Lambda carry it. The same model gives the same bytes.

It holds `model.onnx`, which is all that is needed, and `facts.json`, the same facts as in the model file, for whoever
looks. Refuses to pack what is no model of Bintally's; unpacks the model alone, whatever else an archive holds.
"""

import gzip
import io
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import IO

from bintally.data.files import cannot_write, whole_file
from bintally.errors import ModelError
from bintally.inference.engine import Engine
from bintally.inference.find import FILE_NAME, find_model

SUFFIX = ".tar.gz"
ARCHIVE_NAME = f"model{SUFFIX}"
FACTS_NAME = "facts.json"


def pack_model(run: Path, archive: Path) -> Path:
    """Write a run's model, or a model file, as an archive.

    Raises:
        ModelError: if there is none, or it cannot be loaded.
        CannotWriteError: if the archive cannot be written.
    """
    model = find_model(str(run))
    facts = Engine(model, threads=1).facts.model_dump_json(indent=2).encode()
    try:
        with whole_file(archive) as part, part.open("wb") as raw:
            _write(raw, facts, model)
    except OSError as error:
        raise cannot_write(archive, error) from error
    return archive


def unpack_model(archive: Path, folder: Path) -> Path:
    """Take the model out of an archive, wherever it lies in it; the path of the model file.

    Raises:
        ModelError: if it is no archive, or holds no model or several.
        CannotWriteError: if the folder cannot be written.
    """
    if not archive.is_file():
        raise ModelError(f"{archive}: no such archive. bintally export RUN makes a model, pack_model an archive of it")
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members = [each for each in tar if each.isfile() and Path(each.name).name == FILE_NAME]
            if len(members) != 1:
                raise ModelError(f"{archive}: expected one {FILE_NAME} in it, got {len(members)}. Pack the run again")
            source = tar.extractfile(members[0])
            return _copy(source, folder / FILE_NAME) if source else folder / FILE_NAME
    except (gzip.BadGzipFile, EOFError, tarfile.TarError, zlib.error) as error:
        raise ModelError(f"{archive}: not a readable {SUFFIX} archive ({error}). Pack the run again") from error
    except OSError as error:
        raise cannot_write(folder / FILE_NAME, error) from error


def _write(raw: IO[bytes], facts: bytes, model: Path) -> None:
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        model.open("rb") as weights,
    ):
        tar.addfile(_member(FACTS_NAME, len(facts)), io.BytesIO(facts))
        tar.addfile(_member(FILE_NAME, model.stat().st_size), weights)


def _member(name: str, size: int) -> tarfile.TarInfo:
    """No owner, no time: `TarInfo`'s own defaults."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def _copy(source: IO[bytes], path: Path) -> Path:
    with whole_file(path) as part, part.open("wb") as target:
        shutil.copyfileobj(source, target)
    return path
