"""The state of an unfinished run: one file that holds all it needs to go on as if it had never been broken off.

Refuses a state of other settings, photos or weights, of another version, and everything but plain values and tensors:
nothing in the file is ever run.
"""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins.io import CheckpointIO

from bintally import __version__
from bintally.data.files import cannot_write, is_part, whole_file
from bintally.data.manifest import Manifest, Split
from bintally.errors import CheckpointError, WeightsError
from bintally.settings import RunSettings

STATE_NAME = "resume.pt"
BELIEFS_NAME = "beliefs.safetensors"  # what teachers answered
STATE_KEY = "bintally"  # Lightning's own state stands beside it
FORMAT_VERSION = 1
_MAY_CHANGE = ("description", "workers", "cache_mib")  # decide how fast a run is, not what it finds
_REMEDY = "Go on with what it was begun with, choose another --out, or begin anew with --no-resume"

Identity = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """Where a run was when its state was saved."""

    path: Path
    epoch: int  # from 0
    batches: int  # of that epoch that are done, in each process
    steps: int
    seconds: float
    sittings: int


def identity(
    manifest: Manifest, settings: RunSettings, weights: Path | None, max_steps: int, teachers: tuple[str, ...]
) -> Identity:
    """What must be the same for a run to go on.

    Raises:
        ManifestError: if a split is missing.
        WeightsError: if `weights` cannot be read.
    """
    photos = hashlib.sha256()
    for split in (Split.TRAIN, Split.VAL, Split.CALIBRATION):
        rows = manifest.usable(split, settings.data.excluded_flags)
        photos.update(rows.select("photo_id", "sha256", "count").write_csv().encode())
    values = flat(settings.model_dump(mode="json"))
    return {
        **{key: value for key, value in values.items() if key not in _MAY_CHANGE},
        "--max-steps": max_steps,
        "photos": photos.hexdigest()[:12],
        "weights": "no file" if weights is None else _digest(weights),
        "teachers": ", ".join(teachers) or "none",
        "Bintally": __version__,
    }


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys.

    >>> flat({"seed": 1, "data": {"side_px": 32}})
    {'seed': 1, 'data.side_px': 32}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        found.update(flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value})
    return found


def read_state(run: Path, wanted: Identity) -> Unfinished | None:
    """Where the run in this folder was; None: there is nothing to go on from.

    Raises:
        CheckpointError: if its state cannot be read, or is of a run that differs from `wanted`.
    """
    path = run / STATE_NAME
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        held, steps = state[STATE_KEY], state["global_step"]
        version = held["version"]
    except Exception as error:  # damaged bytes make the reader stumble in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(f"{path}: cannot be read ({reason}). Begin anew with --no-resume") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: state of version {version}, but this Bintally reads {FORMAT_VERSION}. "
            "Begin anew with --no-resume, or go on with the Bintally it was begun with"
        )
    if differences := _differences(held["identity"], wanted):
        raise CheckpointError(f"{run}: holds an unfinished run of another kind: {differences}. {_REMEDY}")
    return Unfinished(
        path=path,
        epoch=held["epoch"],
        batches=held["batches"],
        steps=steps,
        seconds=held["seconds"],
        sittings=held["sittings"],
    )


def forget(run: Path) -> None:
    """Remove the state, what teachers answered, and what a killed process had begun to write."""
    for name in (STATE_NAME, BELIEFS_NAME):
        (run / name).unlink(missing_ok=True)
    for path in run.iterdir():
        if is_part(path.name):
            path.unlink(missing_ok=True)


def random_state() -> dict[str, Any]:
    """Where all generators of random numbers in this process are, as plain values and tensors."""
    version, words, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    state = {
        "torch": torch.get_rng_state(),
        "python": [version, list(words), gauss],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys, np.int64)), int(place), int(has_gauss), float(cached)],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put all generators back to where they were."""
    torch.set_rng_state(state["torch"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, place, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), place, has_gauss, cached))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


class StateFile(CheckpointIO):
    """Writes a state whole or not at all, and loads no code. Lightning calls it, in the first process only."""

    def __init__(self) -> None:
        self._readable = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: object = None) -> None:
        """Write, keeping the old file until the new one is there; the first is read back before it counts.

        Raises:
            CannotWriteError: if the disk is full or refuses.
            TypeError: if a callback's state is more than plain values and tensors.
        """
        try:
            with whole_file(Path(path)) as part:
                with part.open("wb") as file:
                    torch.save(checkpoint, file)
                self._read_back(part)
        except (OSError, RuntimeError) as error:
            refusal = error if isinstance(error, OSError) else error.__context__  # torch says another thing over it
            if not isinstance(refusal, OSError):
                raise
            raise cannot_write(Path(path), refusal) from error

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Read; whatever was asked for, no code is loaded."""
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state

    def remove_checkpoint(self, path: Any) -> None:
        """Remove."""
        Path(path).unlink(missing_ok=True)

    def _read_back(self, part: Path) -> None:
        if self._readable:
            return
        try:
            torch.load(part, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:
            raise TypeError("a callback's state_dict must hold plain values and tensors, nothing else") from error
        self._readable = True


def _differences(held: Identity, wanted: Identity) -> str:
    """What differs, in words.

    >>> _differences({"seed": 1, "photos": "a"}, {"seed": 2, "photos": "a"})
    'seed was 1, is 2'
    """
    keys = [key for key in {**held, **wanted} if held.get(key) != wanted.get(key)]
    return ", ".join(f"{key} was {held.get(key)}, is {wanted.get(key)}" for key in keys)


def _digest(weights: Path) -> str:
    try:
        with weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError as error:
        raise WeightsError(f"{weights}: no such weights file" if not weights.exists() else str(error)) from error
