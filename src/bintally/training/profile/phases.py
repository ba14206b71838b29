"""The phases that a run's time is divided into, and which of Lightning's actions belongs to which.

Refuses overlap: at any moment a run is in one phase; an action within another one is taken out of it.
"""

from enum import StrEnum


class Phase(StrEnum):
    """What the training process is doing."""

    START = "start"
    READ = "read"
    DECODE = "decode"
    AUGMENT = "augment"
    COLLATE = "collate"
    WAIT = "wait"
    COPY = "copy"
    FORWARD = "forward"
    BACKWARD = "backward"
    OPTIMISER = "optimiser"
    AVERAGING = "averaging"
    VALIDATION = "validation"
    CHECKPOINT = "checkpoint"
    WATCHING = "watching"
    CALLBACKS = "callbacks"
    IDLE = "idle"
    TRACING = "tracing"


LOADING = (Phase.READ, Phase.DECODE, Phase.AUGMENT, Phase.COLLATE, Phase.WAIT)
"""What it takes to have the next batch."""
COMPUTING = (Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMISER, Phase.AVERAGING)
"""What is done with it."""
ON_DEVICE = frozenset({Phase.COPY, Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMISER, Phase.AVERAGING, Phase.VALIDATION})
"""What a GPU takes part in: waited for at the ends of these, so that their times are theirs."""

LABELS = {
    Phase.START: ("starting", "what comes before the first batch is asked for; loader processes start here"),
    Phase.READ: ("loading: read", "photos from the disk"),
    Phase.DECODE: ("loading: decode, resize", "bytes to pixels at the network's side"),
    Phase.AUGMENT: ("loading: augment", "flips, light, shrinking"),
    Phase.COLLATE: ("loading: collate", "photos to one batch"),
    Phase.WAIT: ("loading: wait", "for the loader's processes; without any, the loader's own work"),
    Phase.COPY: ("copy to device", "the batch to where the network is"),
    Phase.FORWARD: ("forward", "the network, and the loss"),
    Phase.BACKWARD: ("backward", "gradients"),
    Phase.OPTIMISER: ("optimiser", "the step, its schedule, and gradients set to zero"),
    Phase.AVERAGING: ("weight averaging", "the running average of the weights"),
    Phase.VALIDATION: ("validation", "all of it, its loading included"),
    Phase.CHECKPOINT: ("checkpointing", "saving what a run needs to go on"),
    Phase.WATCHING: ("watching", "the health rules"),
    Phase.CALLBACKS: ("callbacks", "progress bar, curves, early stopping and other callbacks"),
    Phase.IDLE: ("idle", "no phase at work: what Lightning does between them"),
    Phase.TRACING: ("tracing", "torch.profiler's beginning and end; kept out of all shares"),
}
"""What each phase is called, and what it is."""

_ENDS = {
    "train_dataloader_next": Phase.WAIT,
    "batch_to_device": Phase.COPY,
    "training_step": Phase.FORWARD,
    "backward": Phase.BACKWARD,
    "optimizer_step": Phase.OPTIMISER,
    "optimizer_zero_grad": Phase.OPTIMISER,
    "lr_scheduler_step": Phase.OPTIMISER,
    "configure_gradient_clipping": Phase.OPTIMISER,
    "save_checkpoint": Phase.CHECKPOINT,
}
_CALLBACKS = {
    "MovingAverage": Phase.AVERAGING,
    "Keeper": Phase.CHECKPOINT,
    "HealthWatch": Phase.WATCHING,
    "ProfileWatch": Phase.TRACING,
}
_OURS = "[Callback]"
FETCH = "train_dataloader_next"
"""How the action is called in which Lightning asks for a training batch."""


def phase_of(action: str) -> Phase | None:
    """The phase that one of Lightning's actions begins; None: it goes on with the one it is in.

    >>> phase_of("[Strategy]SingleDeviceStrategy.backward"), phase_of("run_training_epoch")
    (<Phase.BACKWARD: 'backward'>, None)
    >>> phase_of("[Callback]Keeper.on_train_batch_end")
    <Phase.CHECKPOINT: 'checkpoint'>
    """
    if action.startswith(_OURS):
        name = action.removeprefix(_OURS)
        return next((phase for start, phase in _CALLBACKS.items() if name.startswith(start)), Phase.CALLBACKS)
    return _ENDS.get(action.rpartition(".")[2])
