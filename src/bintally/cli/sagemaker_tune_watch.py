"""A tuning job followed in the terminal: each job as it ends, the best so far; and its results on this machine."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from bintally.cli.extras import extra
from bintally.cli.sagemaker_options import complain, usd
from bintally.cli.sagemaker_watch import ask_to_stop
from bintally.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bintally.cloud.session import Cloud
    from bintally.cloud.tuning_state import TunedJob, TuningState
    from bintally.tuning.results import Results

_WIDTH = 20  # of the bar, in characters


def follow_tuning_job(cloud: "Cloud", name: str, *, usd_hour: float | None = None) -> "TuningState":
    """Follow it to its end, and say how it ended.

    Raises:
        JobError: if it failed, or no job came to its end, with the reason.
        KeyboardInterrupt: when the user left it, after they were asked whether to stop it.
    """
    from bintally.cloud.job_kinds import JOB_KINDS
    from bintally.cloud.names import Kind
    from bintally.cloud.tuning_state import TuningState, follow_tuning

    console = Console(highlight=False, soft_wrap=True)
    state = None
    try:
        with console.status(name) as status:
            for seen in follow_tuning(cloud, name, complain=complain):
                if isinstance(seen, TuningState):
                    state = seen
                    status.update(_now(state, usd_hour))
                else:
                    style = "green" if seen.status == "Completed" else "yellow"
                    console.print(job_line(seen), style=style, markup=False)
    except KeyboardInterrupt:
        ask_to_stop(cloud, JOB_KINDS[Kind.TUNE], name)
        raise
    assert state is not None  # noqa: S101 - follow_tuning ends with a state
    typer.echo(summary_of(state))
    conclude_tuning(state)
    return state


def conclude_tuning(state: "TuningState") -> None:
    """Refuse a tuning job of which nothing came.

    Raises:
        JobError: with the reason.
    """
    if state.status == "Failed":
        raise JobError(f"{state.name} failed: {state.reason}")
    if not any(job.status == "Completed" for job in state.jobs):
        why = next((job.reason for job in state.jobs if job.reason), "it was stopped before")
        raise JobError(f"{state.name}: none of its {len(state.jobs)} jobs came to its end: {why}")


def job_line(job: "TunedJob") -> str:
    """One of its jobs, over."""
    values = ", ".join(f"{key.rpartition('.')[2]} {value[:8]}" for key, value in job.values.items())
    reached = job.reason or ("no validation loss" if job.objective is None else f"validation loss {job.objective:.4f}")
    return f"job {job.number} {job.status}: {reached} after {job.seconds:,.0f} s ({values})"


def summary_of(state: "TuningState") -> str:
    """How far it is, in one line."""
    counts = {each: sum(job.status == each for job in state.jobs) for each in ("Completed", "Stopped", "Failed")}
    ended = ", ".join(f"{count} {status.lower()}" for status, count in counts.items() if count) or "none over yet"
    best = state.best_job
    found = f"; best: job {best.number}, validation loss {best.objective:.4f}" if best and best.objective else ""
    return f"{state.name}: {state.status}, {len(state.jobs)} of {state.wanted} jobs begun, {ended}{found}"


def write_results_of(cloud: "Cloud", state: "TuningState", said: "Mapping[str, Any]", folder: Path) -> "Results":
    """Write best settings, table and page, and say where they are; `state` and `said` are what `ask_tuning` gave."""
    with extra("train", "the report of a tuning job"):
        from bintally.cloud.tuning_results import write_tuning
    results = write_tuning(cloud, state, said, folder, complain=complain)
    typer.echo(f"Report: {results.report}. Every trial: {results.table}")
    if results.best is not None:
        typer.echo(f"Best: job {results.best.worker}, validation loss {results.best.value:.4f}")
        typer.echo(f"Its model: bintally sagemaker report {results.best.worker}")
        typer.echo(f"Next: bintally sagemaker train DATASET --config {results.settings}")
    return results


def _now(state: "TuningState", usd_hour: float | None) -> str:
    """The line at the bottom: how far, how long, at what price, the best."""
    from bintally.cloud.prices import forecast

    full = round(_WIDTH * state.over / state.wanted) if state.wanted else 0
    running = sum(job.running for job in state.jobs)
    seconds = (datetime.now(UTC) - state.created).total_seconds() if state.created else 0
    clock = time.strftime("%H:%M:%S", time.gmtime(max(0, seconds)))
    told = forecast(state.instance_type, count=state.instance_count, hours=1, usd_hour=usd_hour).usd_hour
    spent = f", {usd(told * running)} an hour at most" if told is not None and running else ""
    best = state.best_job
    found = f", best {best.objective:.4f}" if best is not None and best.objective is not None else ""
    bar = "━" * full + "╌" * (_WIDTH - full)
    return f"{bar} {state.over} of {state.wanted} jobs over, {running} running{found}, {clock}{spent}; Ctrl-C asks"
