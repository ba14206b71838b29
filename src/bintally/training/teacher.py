"""What a teacher thinks of the training photos: beside the recorded counts, what a student is to answer.

A teacher is one run or several, asked once about each photo and its mirror image as they came; the mean is calibrated
as for export. Refuses teachers of another task, and of another split: they would have learned from the student's test.
Shapes: N training photos, C classes, probabilities float32[N,C].
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
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
        kept: the file that keeps them for a run that goes on; read where it is there.
        forward: the context in which networks are run.
        progress: is told batches done, and of how many: first of calibration photos, then of `photos`.

    Raises:
        CheckpointError: if `kept` cannot be read, or holds another number of photos.
        ManifestError: if the calibration split has no photo that can be used.
        PhotoError: naming a photo that cannot be decoded.
    """
    if kept.exists():
        return _read(kept, len(photos))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
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
    with whole_file(kept) as part:
        save_file({_KEY: answers}, part)
    return answers


def _read(kept: Path, photos: int) -> Tensor:
    try:
        answers = load_file(kept)[_KEY]
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(f"{kept}: cannot be read ({error}). Begin anew with --no-resume") from error
    if len(answers) != photos:
        raise CheckpointError(f"{kept}: of {len(answers)} photos, expected {photos}. Begin anew with --no-resume")
    return answers
