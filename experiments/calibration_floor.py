"""The calibration error that a perfectly calibrated model shows on as many photos: what noise alone makes.

    python experiments/answers.py DATA OUT a b
    python experiments/calibration_floor.py OUT a+b --photos 770

Of 20 draws of as many photos of val and calibration with 1-5 items, probabilities calibrated on the other folds.
"""

import argparse
from pathlib import Path

import numpy as np
from compare import believed

from bintally.evaluation.metrics import METRIC, MetricName, Scored, calibration_by_chance, restrict

DRAWS = 20
LOW, HIGH = 1, 5


def main() -> None:
    """Measure, and draw."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("name")
    arguments.add_argument("--photos", type=int, required=True)
    options = arguments.parse_args()
    probabilities, classes, _ = believed(options.folder, options.name, folds=5)
    held = (classes >= LOW) & (classes <= HIGH)
    scored = Scored(
        probabilities=restrict(probabilities.double().numpy()[held], LOW, HIGH), counts=classes[held], first=LOW
    )
    metric = METRIC[MetricName.ECE]
    print(f"measured on {held.sum()} photos: {metric.finalise(metric.statistics(scored).sum(axis=0)):.4f}")
    generator = np.random.default_rng(0)
    found = []
    for _ in range(DRAWS):
        rows = generator.integers(0, held.sum(), options.photos)
        drawn = Scored(probabilities=scored.probabilities[rows], counts=scored.counts[rows], first=LOW)
        found.append(calibration_by_chance(drawn))
    errors = np.concatenate(found)
    low, high = np.quantile(errors, (0.025, 0.975))
    print(
        f"perfectly calibrated, {options.photos} photos: {errors.mean():.4f}, 95 % of draws {low:.4f} to {high:.4f}, "
        f"below 0.03 in {(errors < 0.03).mean():.1%} of them"
    )


if __name__ == "__main__":
    main()
