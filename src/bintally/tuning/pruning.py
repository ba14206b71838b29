"""Which trials end early: those worse than most at the same epoch."""

import optuna


def make_pruner(*, prune: bool) -> optuna.pruners.BasePruner:
    """The pruner of every study, or one that lets every trial run out."""
    if not prune:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2, n_min_trials=3)
