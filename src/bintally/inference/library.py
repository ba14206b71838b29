"""The models that are here: those that packages bring, and those that a person added to a folder of their own.

A package names its model by an entry point of the group `bintally.models`: a function without arguments that gives the
model file's path; a card may lie beside it. Refuses to add what is no model of Bintally's, and to replace one unasked.
"""

import base64
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path

from platformdirs import user_data_path

from bintally.data.files import cannot_write, whole_file
from bintally.errors import ModelError

ENTRY_POINT_GROUP = "bintally.models"
CARD_NAME = "MODEL_CARD.md"
_SUFFIX = ".onnx"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Origin(StrEnum):
    """How a model came here."""

    PACKAGE = "package"
    ADDED = "added"


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
        beside = self.path.with_name(CARD_NAME if self.origin is Origin.PACKAGE else f"{self.name}.md")
        return beside.read_text(encoding="utf-8") if beside.is_file() else ""


def models_folder() -> Path:
    """Where added models lie."""
    return user_data_path("bintally", appauthor=False) / "models"


def list_models() -> list[KnownModel]:
    """Those of packages, then those that were added; by name."""
    return [*installed_models(), *added_models()]


def installed_models() -> list[KnownModel]:
    """Those of packages, by name.

    Raises:
        ModelError: if a package names a file that is not there.
    """
    return [_installed(entry) for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda each: each.name)]


def added_models() -> list[KnownModel]:
    """Those that were added, by name."""
    return list(_added(models_folder()))


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
    for other in list_models():
        if other.name == name and (other.origin is Origin.PACKAGE or not replace):
            remedy = "choose another with --name" + ("" if other.origin is Origin.PACKAGE else ", or pass --replace")
            raise ModelError(f"{name}: a model of that name is here already ({other.path}); {remedy}")
    path = models_folder() / f"{name}{_SUFFIX}"
    card = source.with_name(CARD_NAME)
    try:
        for origin, target in ((card, path.with_suffix(".md")), (source, path)):
            if origin.is_file():
                with whole_file(target) as part:
                    shutil.copyfile(origin, part)
        path.with_suffix(".sha256").write_text(f"{found.sha256}\n", encoding="ascii")
    except OSError as error:
        raise cannot_write(path, error) from error
    return KnownModel(name=name, path=path, origin=Origin.ADDED, sha256=found.sha256)


def _installed(entry: EntryPoint) -> KnownModel:
    path = Path(entry.load()())
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


def _added(folder: Path) -> Iterator[KnownModel]:
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        if not path.name.startswith("."):
            said = path.with_suffix(".sha256")
            digest = said.read_text(encoding="ascii").strip() if said.is_file() else ""
            yield KnownModel(name=path.name.removesuffix(_SUFFIX), path=path, origin=Origin.ADDED, sha256=digest)
