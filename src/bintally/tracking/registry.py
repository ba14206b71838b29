"""Models by version in MLflow's registry: kept with their file, found by alias, fetched and checked.

A version's file lies with the run that made it, under its own hash, so that no later export changes it.
Refuses a file that is not the one that was registered.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bintally.data.files import cannot_write, whole_file
from bintally.errors import ModelError, SettingsError, StoreAccessError, StoreError, StoreUnavailableError
from bintally.inference.find import FILE_NAME
from bintally.tracking.store import Store, translated

DEFAULT_NAME = "bintally"
_FOLDER = "registered"
_LOCK_SECONDS = 60.0
_LONGEST_NAME = 200


class Alias(StrEnum):
    """What stands for a version."""

    CANDIDATE = "candidate"
    CHAMPION = "champion"


class Tag(StrEnum):
    """What a version says of itself."""

    SHA256 = "bintally.sha256"
    NAME = "bintally.name"
    GATE = "bintally.gate"
    WHY = "bintally.why"
    WHEN = "bintally.when"
    OVER = "bintally.promoted_over"  # the version whose place it took; 0: none
    ACCURACY = "bintally.accuracy"
    CROSS_ENTROPY = "bintally.cross_entropy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One model in the registry.

    Attributes:
        number: from 1.
        aliases: that stand for it.
        created: when it was registered.
        run_id: the run that its file lies with.
        tags: what it says of itself.
    """

    number: int
    aliases: tuple[str, ...]
    created: datetime
    run_id: str
    tags: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """Of its file; empty where another tool registered it."""
        return self.tags.get(Tag.SHA256, "")

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.tags.get(Tag.NAME, 'model')} (version {self.number})"


def check_name(name: str) -> str:
    """A registry's name for a model.

    Raises:
        SettingsError: if MLflow would not take it.

    >>> check_name("bins")
    'bins'
    """
    if not name.strip() or len(name) > _LONGEST_NAME or any(sign in name for sign in "/:") or not name.isprintable():
        raise SettingsError(f"--name: expected 1 to {_LONGEST_NAME} characters without / and :, got {name!r}")
    return name


def list_versions(store: Store, name: str) -> list[Version]:
    """Every version, oldest first; none where there is no such model.

    Raises:
        StoreError: if the store cannot be reached.
    """
    client = store.client
    with translated(store.uri):
        models = client.search_registered_models(f"name = '{name.replace(chr(39), '')}'")
        if not models:
            return []
        by_version: dict[int, list[str]] = {}
        for alias, number in client.get_registered_model(name).aliases.items():
            by_version.setdefault(int(number), []).append(alias)
        found = list(client.search_model_versions(f"name = '{name}'"))
    return sorted((_version(each, by_version) for each in found), key=lambda version: version.number)


def _version(held: Any, aliases: Mapping[int, list[str]]) -> Version:
    number = int(held.version)
    return Version(
        number=number,
        aliases=tuple(sorted(aliases.get(number, ()))),
        created=datetime.fromtimestamp(held.creation_timestamp / 1000, UTC),
        run_id=held.run_id or "",
        tags=dict(held.tags),
    )


def find_version(store: Store, name: str, wanted: str) -> Version:
    """By alias or number.

    Raises:
        ModelError: if there is none.
        StoreError: if the store cannot be reached.
    """
    versions = list_versions(store, name)
    for version in versions:
        if wanted in (*version.aliases, str(version.number)):
            return version
    there = ", ".join("/".join((str(each.number), *each.aliases)) for each in versions) or "none"
    raise ModelError(
        f"{store.uri}: model {name!r} has no version {wanted!r} (there are: {there}). Register one: "
        "bintally promote RUN --data DATA"
    )


def champion_of(store: Store, name: str) -> Version | None:
    """The champion; None: there is none."""
    return next((each for each in list_versions(store, name) if Alias.CHAMPION in each.aliases), None)


def digest_of(model: Path) -> str:
    """A file's sha256."""
    with model.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def register(store: Store, name: str, model: Path, run_id: str, tags: Mapping[str, str]) -> Version:
    """Keep a model file as a new version, or find the version that has it already.

    Raises:
        StoreError: if the store refuses or cannot be reached.
    """
    sha256 = digest_of(model)
    for version in list_versions(store, name):
        if version.sha256 == sha256:
            return version
    folder = f"{_FOLDER}/{sha256[:12]}"
    client = store.client
    with translated(store.uri):
        if not client.search_registered_models(f"name = '{name}'"):
            _make_model(client, name)
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(shutil.copyfile(model, Path(scratch) / FILE_NAME))
            client.log_artifact(run_id, str(copy), folder)
        source = f"{client.get_run(run_id).info.artifact_uri}/{folder}"
        said = {str(key): value for key, value in {**tags, Tag.SHA256: sha256}.items()}
        made = client.create_model_version(name, source, run_id, tags=said)
    return find_version(store, name, str(made.version))


def _make_model(client: Any, name: str) -> None:
    try:
        client.create_registered_model(name, description="Bintally's models: bintally registry list")
    except Exception:  # noqa: BLE001 - of whatever kind: another process was quicker, or the next line raises too
        client.get_registered_model(name)


def fetch(store: Store, version: Version, out: Path) -> Path:
    """A version's file, checked to be what was registered.

    Raises:
        CannotWriteError: if `out` cannot be written.
        ModelError: if its file is not there any more, or is another one.
        StoreError: if the store cannot be reached.
    """
    place = f"{_FOLDER}/{version.sha256[:12]}/{FILE_NAME}"
    with tempfile.TemporaryDirectory() as scratch:
        try:
            with translated(store.uri):
                got = Path(store.client.download_artifacts(version.run_id, place, scratch))
        except StoreAccessError:
            raise
        except StoreError as error:
            raise ModelError(
                f"{store.uri}: the file of {version.name} cannot be fetched ({error}). If it is lost, remove the alias "
                f"{Alias.CHAMPION} in MLflow's page of the model, and promote another"
            ) from error
        if digest_of(got) != version.sha256:
            raise ModelError(
                f"{store.uri}: the file of {version.name} is not the one that was registered (sha256 "
                f"{digest_of(got)[:12]}, expected {version.sha256[:12] or 'one'}). Remove the alias "
                f"{Alias.CHAMPION} in MLflow's page of the model, and promote another"
            )
        try:
            with whole_file(out) as part:
                shutil.copyfile(got, part)
        except OSError as error:
            raise cannot_write(out, error) from error
    return out


@contextmanager
def exclusive(store: Store) -> Iterator[None]:
    """One promotion at a time in an SQLite store; a server has nothing of the kind.

    Raises:
        StoreUnavailableError: if another one does not end.
    """
    if store.database is None:
        yield
        return
    try:
        with FileLock(store.database.with_name(f"{store.database.name}.promote.lock"), timeout=_LOCK_SECONDS):
            yield
    except Timeout as error:
        raise StoreUnavailableError(f"{store.uri}: another promotion has not ended for a minute; try again") from error


def set_alias(store: Store, name: str, alias: Alias, version: Version) -> None:
    """Have an alias stand for a version, and for no other."""
    with translated(store.uri):
        store.client.set_registered_model_alias(name, alias.value, str(version.number))


def drop_alias(store: Store, name: str, alias: Alias) -> None:
    """Have an alias stand for nothing."""
    with translated(store.uri):
        store.client.delete_registered_model_alias(name, alias.value)


def say(store: Store, name: str, version: Version, tags: Mapping[Tag, str], description: str = "") -> None:
    """Have a version say something of itself."""
    with translated(store.uri):
        for key, value in tags.items():
            store.client.set_model_version_tag(name, str(version.number), key.value, value)
        if description:
            store.client.update_model_version(name, str(version.number), description)
