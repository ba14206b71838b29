"""Which trials end early: those that are worse than most were at the same epoch, from the third on.

Trials have different numbers of epochs. Under a schedule that ends with the last epoch a short trial has cooled down
where a long one is still hot, so at an equal epoch the long one looks worse than it is. Hence the median, not a
harsher quantile; hence not before the third epoch; hence the trial's best epoch so far against the others' losses at
just this one. docs/tuning.md has what that spares and loses, and what the alternatives do.
"""

import optuna

FIRST_EPOCH = 3
"""No trial ends before it."""
_RUN_OUT = 5  # trials before any is ended early
_TO_COMPARE = 3  # trials that must have come to the same epoch


def make_pruner(*, prune: bool = True) -> optuna.pruners.BasePruner:
    """The pruner of every study, or one that lets every trial run out."""
    if not prune:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=_RUN_OUT, n_warmup_steps=FIRST_EPOCH, n_min_trials=_TO_COMPARE)
