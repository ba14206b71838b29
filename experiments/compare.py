"""Figures of screened ideas, and how they differ from the first, photo by photo.

    python experiments/compare.py SCREENS base-f0-s0 mix-f0-s0 base-f0-s0+mix-f0-s0

A `+` joins ideas: the mean of their probabilities. Figures are of a photo and its mirror image, after one temperature
fitted on the same photos (the same favour for all); with `--folds 5`, after a temperature and biases fitted on the
other folds. Differences have 95 % intervals by sibling group. `answers.py` writes such files of finished runs.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bintally.evaluation.bootstrap import GroupBootstrap, ratio
from bintally.models.calibration import fit_calibration


def calibrated(log_probabilities: Tensor, classes: np.ndarray) -> Tensor:
    """Probabilities float32[N,C] at the temperature that suits these photos best."""
    calibration = fit_calibration(log_probabilities, torch.from_numpy(classes), bias_sd=0)
    return calibration(log_probabilities).softmax(1)


def calibrated_elsewhere(log_probabilities: Tensor, classes: np.ndarray, groups: np.ndarray, folds: int) -> Tensor:
    """The same with biases, each fold of groups calibrated on the others: what a calibration split would give."""
    names = np.unique(groups)
    fold = dict(zip(names.tolist(), np.random.default_rng(0).permutation(len(names)) % folds, strict=True))
    found = torch.empty_like(log_probabilities)
    for number in range(folds):
        inside = torch.tensor([fold[group] == number for group in groups.tolist()])
        calibration = fit_calibration(log_probabilities[~inside], torch.from_numpy(classes)[~inside])
        found[inside] = calibration(log_probabilities[inside]).softmax(1)
    return found


def per_photo(probabilities: Tensor, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics of each photo; nan where a photo is not in a figure's scope."""
    true = torch.from_numpy(classes)
    off = probabilities.cumsum(1) - functional.one_hot(true, probabilities.shape[1]).cumsum(1)
    five = (true >= 1) & (true <= 5)
    inside = probabilities[:, 1:6] / probabilities[:, 1:6].sum(1, keepdim=True)
    miss = (inside.argmax(1) + 1 - true).abs().float()
    nan = torch.full((len(true),), torch.nan)
    found = {
        "ce": -probabilities.gather(1, true[:, None])[:, 0].clamp_min(1e-7).log(),
        "rps": (off**2).sum(1),
        "acc": (probabilities.argmax(1) == true).float(),
        "acc15": torch.where(five, (miss == 0).float(), nan),
        "within1_15": torch.where(five, (miss <= 1).float(), nan),
        "mse15": torch.where(five, miss**2, nan),
    }
    return {name: each.double().numpy() for name, each in found.items()}


def scores(log_probabilities: Tensor, classes: np.ndarray) -> dict[str, float]:
    """Means over photos."""
    found = per_photo(calibrated(log_probabilities, classes), classes)
    return {name: round(float(np.nanmean(each)), 4) for name, each in found.items()}


def believed(folder: Path, spec: str, folds: int = 0) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Calibrated probabilities float32[N,C] of an idea, or of several together; the photos' classes and groups."""
    loaded = [np.load(folder / f"{name}.npz") for name in spec.split("+")]
    views = [np.exp(each[view]) for each in loaded for view in ("plain", "mirrored")]
    classes, groups = loaded[0]["classes"], loaded[0]["groups"]
    mean = torch.from_numpy(np.log(np.mean(views, axis=0)))
    return calibrated_elsewhere(mean, classes, groups, folds) if folds else calibrated(mean, classes), classes, groups


def read(folder: Path, spec: str, folds: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Statistics of an idea, or of several together, and the photos' groups."""
    probabilities, classes, groups = believed(folder, spec, folds)
    return per_photo(probabilities, classes), groups


def main() -> None:
    """Print a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("names", nargs="+")
    arguments.add_argument("--folds", type=int, default=0, help="calibrate on the other folds, with biases")
    options = arguments.parse_args()
    first, groups = read(options.folder, options.names[0], options.folds)
    for name in options.names:
        found, _ = read(options.folder, name, options.folds)
        cells = []
        for figure, values in found.items():
            cell = f"{figure} {np.nanmean(values):.4f}"
            if name != options.names[0]:
                inside = ~np.isnan(values)
                off = np.stack([(values - first[figure])[inside], np.ones(inside.sum())], axis=1)
                bootstrap = GroupBootstrap([str(group) for group in groups[inside]])
                change = bootstrap.figure(off, ratio)
                cell += f" ({change.value:+.4f}, {change.low:+.4f} to {change.high:+.4f})"
            cells.append(cell)
        print(f"{name}: {'; '.join(cells)}")


if __name__ == "__main__":
    main()
