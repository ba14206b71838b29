"""Several networks that answer as one: the mean of their probabilities, over a photo and its mirror image.

Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles" (2017). A mean of
sure but different answers is unsure, so it is calibrated anew, on the calibration split. Refuses members that tell
other counts apart, see other sizes, have other licences, or learned from other splits: what is test for one would not
be test for all. Shapes: photos uint8[N,S,S,3], probabilities float32[N,C].
"""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from bintally.data.manifest import Manifest, Split
from bintally.data.prepared import check_side
from bintally.errors import CheckpointError
from bintally.models.calibration import Calibration, fit_calibration
from bintally.models.checkpoint import Checkpoint, CheckpointFacts
from bintally.models.dataset import PhotoDataset, loader

_FLOOR = 1e-9  # of a probability whose logarithm is taken


class Ensemble(nn.Module):
    """One or several checkpoints as one network.

    Attributes:
        facts: of the members, in their order.
        mirror: whether each photo's mirror image is asked too.
        calibration: of the mean; changes nothing until `calibrate`.
    """

    def __init__(self, members: Sequence[Checkpoint], *, mirror: bool = False) -> None:
        """Take the members.

        Raises:
            CheckpointError: if they do not go together.
        """
        super().__init__()
        self.facts = [member.facts for member in members]
        _check(self.facts)
        self.networks = nn.ModuleList(member.network for member in members)
        self.mirror = mirror
        self.calibration = Calibration()

    @classmethod
    def of(cls, model: "Checkpoint | Ensemble") -> "Ensemble":
        """The ensemble itself, or one checkpoint as an ensemble of one."""
        return model if isinstance(model, Ensemble) else cls([model])

    @property
    def is_plain(self) -> bool:
        """Whether it is one network, asked once: calibrated already."""
        return len(self.facts) == 1 and not self.mirror

    def forward(self, photos: Tensor) -> Tensor:
        """Calibrated probabilities."""
        if self.is_plain:
            return torch.softmax(self.facts[0].calibration(self.networks[0](photos)), dim=1)
        return torch.softmax(self.calibration(self.logits(photos)), dim=1)

    def logits(self, photos: Tensor) -> Tensor:
        """Logarithms of the mean probabilities, before the mean's own calibration."""
        views = [photos, photos.flip(2)] if self.mirror else [photos]
        answers = [
            torch.softmax(facts.calibration(network(view).float()), dim=1)
            for network, facts in zip(self.networks, self.facts, strict=True)
            for view in views
        ]
        return torch.stack(answers).mean(dim=0).clamp_min(_FLOOR).log()

    def calibrate(self, manifest: Manifest, *, progress: Callable[[int, int], None] | None = None) -> Self:
        """Calibrate the mean on the calibration split that the members were calibrated on.

        Raises:
            CheckpointError: if the manifest has another split.
            ManifestError: if its calibration split has no photo that can be used, or its photos were prepared at
                another side.
        """
        if self.is_plain:
            return self
        facts = self.facts[0]
        if manifest.split_hash != facts.provenance.split_hash:
            raise CheckpointError(
                f"{manifest.root}: split {manifest.split_hash}, but {facts.name} was trained on split "
                f"{facts.provenance.split_hash}; pass the dataset that it was trained on"
            )
        check_side(manifest, facts.settings.data.side_px, wanted_by=facts.name)
        settings = facts.settings.model_copy(update={"cache_mib": 0})
        data = PhotoDataset(
            manifest.usable(Split.CALIBRATION, settings.data.excluded_flags),
            manifest.root,
            classes=facts.classes,
            settings=settings,
            augment=None,
        )
        batches = loader(data, settings, shuffle=False)
        self.eval()
        device = next(self.parameters()).device
        logits, classes = [], []
        with torch.inference_mode():
            for number, (photos, labels) in enumerate(batches, start=1):
                logits.append(self.logits(photos.to(device)).cpu())
                classes.append(labels)
                if progress is not None:
                    progress(number, len(batches))
        self.calibration = fit_calibration(torch.cat(logits), torch.cat(classes))
        return self


def _check(members: Sequence[CheckpointFacts]) -> None:
    first = members[0]
    for other in members[1:]:
        for what, mine, theirs in (
            ("counts", first.classes, other.classes),
            ("photos' side", first.settings.data.side_px, other.settings.data.side_px),
            ("photos", first.provenance.manifest_hash, other.provenance.manifest_hash),
            ("split", first.provenance.split_hash, other.provenance.split_hash),
            ("licence", first.provenance.licence, other.provenance.licence),
        ):
            if mine != theirs:
                raise CheckpointError(
                    f"{first.name} and {other.name} cannot answer as one: their {what} differ ({mine}, {theirs})"
                )
