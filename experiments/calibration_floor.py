"""The calibration error that a perfectly calibrated model shows on as many photos: what noise alone makes.

    python experiments/answers.py DATA OUT a b
    python experiments/calibration_floor.py OUT a+b --photos 770

Counts are drawn from the model's own probabilities, so that it is right by construction; 4,000 times. Photos of val and
calibration with 1-5 items, drawn with replacement; probabilities calibrated on the other folds.
"""

import argparse
from pathlib import Path

import numpy as np
from compare import believed

from bintally.evaluation.metrics import METRIC, MetricName, Scored, restrict

DRAWS = 4_000
LOW, HIGH = 1, 5


def error(probabilities: np.ndarray, counts: np.ndarray) -> float:
    """Expected calibration error, as `bintally evaluate` has it."""
    metric = METRIC[MetricName.ECE]
    sums = metric.statistics(Scored(probabilities=probabilities, counts=counts, first=LOW)).sum(axis=0)
    return float(metric.finalise(sums))


def main() -> None:
    """Measure, and draw."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("name")
    arguments.add_argument("--photos", type=int, required=True)
    options = arguments.parse_args()
    probabilities, classes, _ = believed(options.folder, options.name, folds=5)
    held = (classes >= LOW) & (classes <= HIGH)
    inside = restrict(probabilities.double().numpy()[held], LOW, HIGH)
    print(f"measured on {held.sum()} photos: {error(inside, classes[held]):.4f}")
    generator = np.random.default_rng(0)
    found = []
    for _ in range(DRAWS):
        drawn = inside[generator.integers(0, len(inside), options.photos)]
        counts = LOW + (drawn.cumsum(axis=1) < generator.random((len(drawn), 1))).sum(axis=1).clip(max=HIGH - LOW)
        found.append(error(drawn, counts))
    low, high = np.quantile(found, (0.025, 0.975))
    print(
        f"perfectly calibrated, {options.photos} photos: {np.mean(found):.4f}, 95 % of draws {low:.4f} to {high:.4f}, "
        f"below 0.03 in {np.mean(np.array(found) < 0.03):.1%} of them"
    )


if __name__ == "__main__":
    main()
