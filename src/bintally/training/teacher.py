"""What a teacher thinks of the training photos: beside the recorded counts, what a student is to answer.

A teacher is one run or several, asked once about each photo and its mirror image as they came; the mean is calibrated
as for export. Refuses teachers of another task, and of another split: they would have learned from the student's test.
Shapes: N training photos, C classes, probabilities float32[N,C].
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bintally.data.files import whole_file
from bintally.data.manifest import Manifest
from bintally.domain.classes import CountClasses
from bintally.errors import CheckpointError
from bintally.models.checkpoint import Checkpoint
from bintally.models.dataset import PhotoDataset, loader
from bintally.models.ensemble import Ensemble
from bintally.settings import RunSettings

_KEY = "probabilities"

Progress = Callable[[int, int], None]


def check_teachers(
    teachers: Sequence[Checkpoint],
    manifest: Manifest,
    classes: CountClasses,
    settings: RunSettings,
    *,
    licence: str,
) -> None:
    """See that the teachers answer what the student is asked, about photos that the student may learn from too.

    Raises:
        CheckpointError: naming the teacher and what differs.
    """
    for facts in (teacher.facts for teacher in teachers):
        for what, theirs, ours in (
            ("counts", facts.classes, classes),
            ("split", facts.provenance.split_hash, manifest.split_hash),
            ("photos' side", facts.settings.data.side_px, settings.data.side_px),
            ("licence", facts.provenance.licence, licence),
        ):
            if theirs != ours:
                raise CheckpointError(
                    f"--teacher {facts.name}: it cannot teach this run: their {what} differ ({theirs}, {ours}). "
                    "Take a run of the same dataset, counts and --licence"
                )


def name_of(teacher: Checkpoint) -> str:
    """A teacher's name, with what tells it from another of that name: settings, and 12 hex digits of its weights."""
    weights = hashlib.sha256()
    for _, tensor in sorted(teacher.network.state_dict().items()):
        weights.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    facts = teacher.facts
    return f"{facts.name} (settings {facts.provenance.settings_hash}, weights {weights.hexdigest()[:12]})"


def beliefs(
    teachers: Sequence[Checkpoint],
    manifest: Manifest,
    photos: PhotoDataset,
    settings: RunSettings,
    *,
    kept: Path,
    forward: Callable[[], AbstractContextManager[object]],
    progress: Progress | None = None,
) -> Tensor:
    """Probabilities of the teachers, of `photos` in their order.

    Args:
        teachers: that `check_teachers` has let pass.
        manifest: on whose calibration split their mean is calibrated.
        photos: the training photos, unchanged here whatever they are augmented with.
        settings: of the student's run: how photos are loaded.
        kept: the file that keeps them for a run that goes on; read where it holds what these teachers say of these
            photos. Of several processes each asks for itself, and the first one writes.
        forward: the context in which networks are run.
        progress: is told batches done, and of how many: first of calibration photos, then of `photos`.

    Raises:
        CheckpointError: if `kept` cannot be read.
        ManifestError: if the calibration split has no photo that can be used.
        PhotoError: naming a photo that cannot be decoded.
    """
    asked = {
        "teachers": ", ".join(name_of(teacher) for teacher in teachers),
        "photos": hashlib.sha256("\n".join(photos.paths).encode()).hexdigest(),
    }
    if kept.exists() and (before := _read(kept, asked)) is not None:
        return before
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    ensemble = Ensemble(teachers, mirror=True).to(device)
    with forward():
        ensemble.calibrate(manifest, progress=progress)
    batches = loader(photos.unchanged(), settings, shuffle=False)
    found = []
    with torch.inference_mode(), forward():
        for number, batch in enumerate(batches, start=1):
            found.append(ensemble(batch[0].to(device)).float().cpu())
            if progress is not None:
                progress(number, len(batches))
    ensemble.cpu()
    answers = torch.cat(found)
    _keep(kept, answers, asked)
    return answers


@rank_zero_only
def _keep(kept: Path, answers: Tensor, asked: dict[str, str]) -> None:
    with whole_file(kept) as part:
        save_file({_KEY: answers}, part, metadata=asked)


def _read(kept: Path, asked: dict[str, str]) -> Tensor | None:
    """What the file holds; None: other teachers' answers, or of other photos."""
    try:
        with safe_open(kept, framework="pt") as file:
            return file.get_tensor(_KEY) if file.metadata() == asked else None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{kept}: cannot be read ({error}). Begin anew with --no-resume") from error
