"""How far a study is: a bar on a terminal, else a line for each trial; on standard error."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from bintally.tuning.trials import Trial
    from bintally.tuning.tune import OnProgress

_HOURS_FROM = 5400  # seconds


@contextmanager
def study_bar(budget: int | None, until: float | None, *, shown: bool) -> "Iterator[OnProgress]":
    """Trials done, the best so far with its settings, and the time left.

    Args:
        budget: of the study, in trials.
        until: when no trial is begun any more, as `time.time()` has it.
        shown: whether to say anything.
    """
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    columns = (
        progress.TextColumn("trials"),
        progress.BarColumn(bar_width=20),
        progress.TextColumn("{task.description}"),
        progress.TimeElapsedColumn(),
        progress.TextColumn("{task.fields[left]}"),
    )
    begun, before = time.time(), set[int]()
    told: set[int] | None = None
    with progress.Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task("starting", total=budget, left="")

        def on_progress(trials: "list[Trial]") -> None:
            nonlocal told
            over = {trial.number for trial in trials if trial.is_over}
            if told is None:
                before.update(over)
                told = set(over)
            if shown and not console.is_terminal:
                _tell(console, [trial for trial in trials if trial.number in over - told])
            told |= over
            left = time_left(len(over - before), (budget or 0) - len(over), time.time() - begun, until)
            bar.update(task, completed=len(over), description=_so_far(trials, len(over), budget), left=left)

        yield on_progress


def _so_far(trials: "list[Trial]", over: int, budget: int | None) -> str:
    from bintally.tuning.trials import State, best_of

    states, best = [trial.state for trial in trials], best_of(trials)
    parts = [f"{over} of {budget}" if budget else f"{over}"]
    parts += [f"{states.count(each)} {each}" for each in (State.PRUNED, State.FAILED) if each in states]
    return " · ".join(parts + ([f"best {describe(best)}"] if best is not None else []))


def _tell(console: "Console", trials: "list[Trial]") -> None:
    for trial in trials:
        reached = trial.reason or f"{trial.lowest:.4f} after {len(trial.curve)} epochs, {trial.seconds:.0f} s"
        console.print(f"trial {trial.number} {trial.state}: {reached}", markup=False)


def describe(trial: "Trial") -> str:
    """A finished trial's loss and settings."""
    from bintally.tuning.space import shown

    params = ", ".join(f"{key.rpartition('.')[2]} {shown(value)}" for key, value in trial.params.items())
    return f"{trial.value:.4f} ({params})"


def time_left(done: int, to_do: int, seconds: float, until: float | None) -> str:
    """About how long it will take, from how long it took so far; empty where that is not known.

    >>> time_left(2, 4, 60.0, None), time_left(0, 4, 60.0, None)
    ('about 2 min left', '')
    """
    known = [seconds / done * to_do] if done and to_do > 0 else []
    known += [max(0.0, until - time.time())] if until is not None else []
    if not known:
        return ""
    left = min(known)
    return f"about {left / 3600:.1f} h left" if left >= _HOURS_FROM else f"about {max(1, round(left / 60))} min left"
