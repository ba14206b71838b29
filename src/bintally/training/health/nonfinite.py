"""A number that is not finite: where it came from, which photos were there, and the batch kept in a file.

SageMaker's ExplodingTensor, asked of every step. What comes first explains the rest, so the pixels are looked at before
the weights, the weights before the layers, and the layers before the gradients. Refuses pickle: the batch is an .npz.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader

from bintally.data.files import whole_file
from bintally.models.dataset import Batch, PhotoDataset
from bintally.models.network import CountNetwork
from bintally.settings import RunSettings
from bintally.training.health.rule import Saw, slower

FILE_NAME = "nan-batch.npz"
_SHOWN = 3  # photos spelled out

Forward = Callable[[], AbstractContextManager[Any]]


def is_finite(values: Tensor) -> bool:
    """Whether all are."""
    return not values.is_floating_point() or bool(torch.isfinite(values).all())


def trace(
    network: CountNetwork, batch: Batch, keys: Sequence[str], settings: RunSettings, *, what: str, forward: Forward
) -> Saw:
    """Where it came from.

    Args:
        network: before the step that would have spoilt it.
        batch: photos and classes.
        keys: of the photos, in order; empty where they cannot be told.
        settings: of the run.
        what: was found not to be finite.
        forward: the context in which the network is run.
    """
    photos = batch[0]
    if not is_finite(photos):
        bad = [at for at in range(len(photos)) if not is_finite(photos[at])]
        concerned = tuple(keys[at] for at in bad) if keys else ()
        text = f"{what} is not finite: pixels are not, in {len(bad)} of {len(photos)} photos{_listed(concerned)}"
        return Saw(text=text, todo="see these photos, then leave them out or ingest them again", photos=concerned)
    where = _in_network(network, photos, forward)
    return Saw(
        text=f"{what} is not finite: {where}, in a batch of {len(photos)} photos{_listed(tuple(keys))}",
        todo=f"{slower(settings)}" + ("" if settings.precision == "fp32" else " --set precision=fp32"),
        photos=tuple(keys),
    )


def _in_network(network: CountNetwork, photos: Tensor, forward: Forward) -> str:
    weights = [name for name, values in network.named_parameters() if not is_finite(values)]
    if weights:
        return f"weights are not any more, first {weights[0]}"
    if layer := _first_layer(network, photos, forward):
        return f"it begins in what {layer} puts out"
    faulty = [name for name, w in network.named_parameters() if w.grad is not None and not is_finite(w.grad)]
    if faulty:
        return f"gradients are not, from {faulty[-1]} backwards ({len(faulty)} weights)"
    return "pixels, weights and layers are, so it came with the loss"


def _first_layer(network: CountNetwork, photos: Tensor, forward: Forward) -> str | None:
    """The first layer that makes of finite numbers such as are not; the forward pass is done once more."""
    found: list[str] = []

    def see(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_layer: nn.Module, _input: object, output: object) -> None:
            if not found and isinstance(output, Tensor) and not is_finite(output):
                found.append(name)

        return hook

    with ExitStack() as stack:
        for name, layer in network.named_modules():
            if not list(layer.children()):
                stack.callback(layer.register_forward_hook(see(name)).remove)
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(torch.no_grad())
        stack.enter_context(forward())
        # On copies of what a forward pass changes: the first pass may still be waiting for its way back.
        functional_call(network, {name: buffer.clone() for name, buffer in network.named_buffers()}, photos)
    return found[0] if found else None


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f": {', '.join(keys[:_SHOWN])}{more}" if keys else ""


def keys_of(loader: DataLoader[Batch], number: int, batch: Batch, root: Path) -> tuple[str, ...]:
    """The keys of the photos in a batch, by the order in which the loader's sampler gives them.

    Args:
        loader: that the batch came from.
        number: of the batch, from 0, since the loader was last begun.
        batch: to see that the labels agree; where they do not, nothing is said.
        root: the dataset's folder.
    """
    dataset = loader.dataset
    if not isinstance(dataset, PhotoDataset) or loader.batch_sampler is None:
        return ()
    for at, places in enumerate(loader.batch_sampler):
        if at == number:
            indices = [index for _, index in places]  # places are (epoch, index)
            if dataset.labels[indices].tolist() != batch[1].tolist():
                return ()
            return tuple(_key(Path(dataset.paths[index]), root) for index in indices)
    return ()


def _key(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def save_batch(path: Path, batch: Batch, keys: Sequence[str]) -> None:
    """Write photos [N,S,S,3] as they were, classes int64[N] and keys, whole or not at all; numpy reads it back."""
    photos, classes = (values.detach().cpu().numpy() for values in batch[:2])
    with whole_file(path) as part, part.open("wb") as file:
        np.savez_compressed(file, photos=photos, classes=classes, keys=np.array(keys, dtype=np.str_))
