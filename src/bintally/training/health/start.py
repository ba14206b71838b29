"""What is known of a run before its first step."""

import lightning
import torch

from bintally.data.manifest import Manifest, Split
from bintally.models.dataset import fit_in_memory
from bintally.training.health.labels import entropy, read_labels
from bintally.training.health.probes import alike, gains
from bintally.training.health.seen import Start
from bintally.training.module import CountModule, soft_targets


def look_at_start(trainer: lightning.Trainer, module: CountModule, manifest: Manifest) -> Start:
    """Labels, what guessing costs, and weights; the latter only of a run that begins, for trained ones may be odd."""
    classes, settings = module.classes, module.settings
    labels = read_labels(manifest, classes, settings)
    photos = torch.tensor(labels[Split.TRAIN.value].photos, dtype=torch.float64)
    softened = photos @ soft_targets(torch.arange(classes.size), classes.size, settings.label_softness).double()
    begins = trainer.global_step == 0
    return Start(
        lowest_count=classes.low,
        open_ended=classes.open_ended,
        labels=labels,
        prior_loss=entropy(softened.tolist()),
        hard_prior_loss=entropy(photos.tolist()),
        steps_per_epoch=int(trainer.num_training_batches),
        warmup_steps=round(settings.optimiser.warmup_share * max(1, int(trainer.estimated_stepping_batches))),
        photos_fit=fit_in_memory(sum(labels[Split.TRAIN.value].photos), settings),
        gains=gains(module.network) if begins else {},
        alike=alike(module.network) if begins else [],
    )
