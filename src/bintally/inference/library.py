"""The models that are here: those that packages bring, and those that a person added to a folder of their own.

A package names its model by an entry point of the group `bintally.models`: a function without arguments that gives the
model file's path; a card may lie beside it. Refuses to add what is no model of Bintally's, and to replace one unasked.
"""

import base64
import re
import shutil
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path

from platformdirs import user_data_path

from bintally.data.files import cannot_write, is_part, whole_file
from bintally.errors import ModelError

ENTRY_POINT_GROUP = "bintally.models"
CARD_NAME = "MODEL_CARD.md"
_SUFFIX = ".onnx"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Origin(StrEnum):
    """How a model came here."""

    PACKAGE = "package"
    ADDED = "added"
    FILE = "file"  # it has no name here


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that can be called by its name.

    Attributes:
        package: name and version of the package that brings it; empty if it was added.
        sha256: what the package, or whoever added it, says the file's is; empty if nothing does.
    """

    name: str
    path: Path
    origin: Origin
    package: str = ""
    sha256: str = ""

    @property
    def card(self) -> str:
        """Its model card, in Markdown; empty if it has none."""
        beside = self.path.with_suffix(".md") if self.origin is Origin.ADDED else self.path.with_name(CARD_NAME)
        return beside.read_text(encoding="utf-8", errors="replace") if beside.is_file() else ""


def models_folder() -> Path:
    """Where added models lie."""
    return user_data_path("bintally", appauthor=False) / "models"


def installed_names() -> list[str]:
    """Names of those that packages bring."""
    return sorted(entry.name for entry in entry_points(group=ENTRY_POINT_GROUP))


def added_names() -> list[str]:
    """Names of those that were added."""
    files = models_folder().glob(f"*{_SUFFIX}")
    return sorted(path.name.removesuffix(_SUFFIX) for path in files if not is_part(path.name))


def known_model(name: str) -> KnownModel:
    """The model of that name, one of `installed_names` or `added_names`; other models may be broken.

    Raises:
        ModelError: if its package does not load, names a file that is not there, or one of that name was added too.
    """
    path = models_folder() / f"{name}{_SUFFIX}"
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name == name:
            if path.is_file():
                raise ModelError(f"{name}: a package brings a model of that name, and one was added: rename {path}")
            return _installed(entry)
    said = path.with_suffix(".sha256")
    digest = said.read_text(encoding="ascii").strip() if said.is_file() else ""
    return KnownModel(name=name, path=path, origin=Origin.ADDED, sha256=digest)


def add_model(source: Path, name: str = "", *, replace: bool = False) -> KnownModel:
    """Copy a model file, and a card that lies beside it, to where it can be called by its name.

    Args:
        source: the model file.
        name: what to call it; empty: what it calls itself.
        replace: overwrite another of that name.

    Raises:
        ModelError: if it is no model of Bintally's, cannot be called so, or another has the name.
        CannotWriteError: if the folder cannot be written.
    """
    from bintally.inference.verify import verify_file  # opens the model: slow, and only needed here

    found = verify_file(source)
    name = name or found.facts.name.lower()
    if not _NAME.fullmatch(name):
        raise ModelError(f"{name!r}: expected a name of lower-case letters, digits, '.', '_' or '-'; pass --name NAME")
    if name in installed_names():
        raise ModelError(f"{name}: a package brings a model of that name; choose another with --name")
    if name in added_names() and not replace:
        raise ModelError(f"{name}: a model of that name is here already; choose another with --name, or pass --replace")
    path = models_folder() / f"{name}{_SUFFIX}"
    said, card = path.with_suffix(".sha256"), source.with_name(CARD_NAME)
    try:
        with whole_file(path) as part:
            shutil.copyfile(source, part)
            for of_another in (said, path.with_suffix(".md")):  # the one that is replaced just now
                of_another.unlink(missing_ok=True)
        with whole_file(said) as part:
            part.write_text(f"{found.sha256}\n", encoding="ascii")
        if card.is_file():
            with whole_file(path.with_suffix(".md")) as part:
                shutil.copyfile(card, part)
    except OSError as error:
        raise cannot_write(path, error) from error
    return KnownModel(name=name, path=path, origin=Origin.ADDED, sha256=found.sha256)


def _installed(entry: EntryPoint) -> KnownModel:
    try:
        path = Path(entry.load()())
    except Exception as error:  # it is somebody else's code
        raise ModelError(
            f"installed model {entry.name!r}: its package does not load ({error}); install it again"
        ) from error
    if not path.is_file():
        raise ModelError(f"installed model {entry.name!r} names {path}, which is not there; install it again")
    package = entry.dist
    return KnownModel(
        name=entry.name,
        path=path,
        origin=Origin.PACKAGE,
        package=f"{package.name} {package.version}" if package else "",
        sha256=_recorded(package, path) if package else "",
    )


def _recorded(package: Distribution, path: Path) -> str:
    """The file's sha256 in the package's RECORD, in hex; empty where it was installed in place."""
    for file in package.files or []:
        if file.name == path.name and file.hash and file.hash.mode == "sha256" and Path(file.locate()) == path:
            return base64.urlsafe_b64decode(file.hash.value + "==").hex()
    return ""
