"""What pruners would have spared in a study that was tuned with `--no-prune`, and what they would have lost.

    python benchmarks/replay_pruning.py studies/NAME

Each pruner goes through the recorded curves in the study's own order, and in parts of them drawn at random in random
orders, where another trial is the best one. Two workers, as if a step took every trial equally long.
"""

import argparse
import random
import statistics
import warnings
from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from rich.console import Console
from rich.table import Table

from bintally.tuning.pruning import make_pruner
from bintally.tuning.replay import MakePruner, Replay, recorded, replay, with_patience
from bintally.tuning.storage import JOURNAL_NAME, Journal
from bintally.tuning.trials import Trial, list_trials


def pruners() -> Mapping[str, MakePruner]:
    """By what they are called in the table."""
    pruning = optuna.pruners

    def percentile(share: int, run_out: int, first: int) -> MakePruner:
        return lambda: pruning.PercentilePruner(share, n_startup_trials=run_out, n_warmup_steps=first, n_min_trials=3)

    def halving(first: int, factor: int) -> MakePruner:
        return lambda: pruning.SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor)

    made: dict[str, MakePruner] = {"Bintally's: median, from epoch 3, after 5": make_pruner}
    for first in (1, 2, 4):
        made[f"median, from epoch {first}, after 5"] = percentile(50, 5, first)
    made["median, from epoch 3, after 3"] = percentile(50, 3, 3)
    made["best third, from epoch 3, after 5"] = percentile(33, 5, 3)
    made["best quarter, from epoch 3, after 5"] = percentile(25, 5, 3)
    for first, factor in ((1, 2), (1, 4), (2, 2), (2, 4), (3, 2)):
        made[f"ASHA, from epoch {first}, one in {factor}"] = halving(first, factor)
    for first in (1, 2):
        made[f"Hyperband, from epoch {first}, one in 2"] = lambda first=first: pruning.HyperbandPruner(  # type: ignore[misc]
            min_resource=first, max_resource=10, reduction_factor=2
        )
    return made


def load(folder: Path) -> list[Trial]:
    """A study's trials, whatever it is of."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(Journal(folder / JOURNAL_NAME))
    (name,) = optuna.get_all_study_names(storage)
    return recorded(list_trials(optuna.load_study(study_name=name, storage=storage)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--orders", type=int, default=100, help="random parts in random orders")
    parser.add_argument("--share", type=float, default=0.7, help="of the trials that a part has")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    trials = load(options.study)
    draw = random.Random(options.seed)  # noqa: S311 - no secret
    size = round(options.share * len(trials))
    parts = [draw.sample(trials, size) for _ in range(options.orders)]

    table = Table(
        "pruner", "spared", "regret", "spared", "5 % to 95 %", "best kept", "mean regret", "largest",
        title=f"{len(trials)} trials in their own order (left), {options.orders} parts of {size} (right)",
    )  # fmt: skip
    for name, make in pruners().items():
        own = replay(trials, make, workers=2)
        table.add_row(
            name, f"{own.spared:.0%}", f"{own.regret:.4f}", *_of_parts([replay(p, make, workers=2) for p in parts])
        )
    for patience in (2, 4):
        left = [with_patience(trial, patience) for trial in trials]
        steps = [sum(len(trial.curve) * trial.steps_per_epoch for trial in each) for each in (left, trials)]
        losses = [min(trial.value for trial in each if trial.value is not None) for each in (left, trials)]
        table.add_row(
            f"no pruner, patience {patience}", f"{1 - steps[0] / steps[1]:.0%}", f"{losses[0] - losses[1]:.4f}"
        )
    Console().print(table)
    losses = [trial.value for trial in trials if trial.value is not None]
    print(f"Loss of the best {min(losses):.4f}, median {statistics.median(losses):.4f}")


def _of_parts(replays: list[Replay]) -> list[str]:
    spared = sorted(each.spared for each in replays)
    regrets = [each.regret for each in replays]
    ends = spared[len(spared) // 20], spared[-len(spared) // 20 - 1]
    return [
        f"{statistics.fmean(spared):.0%}",
        f"{ends[0]:.0%} to {ends[1]:.0%}",
        f"{sum(regret == 0 for regret in regrets) / len(regrets):.0%}",
        f"{statistics.fmean(regrets):.4f}",
        f"{max(regrets):.4f}",
    ]


if __name__ == "__main__":
    main()
