"""A job followed in the terminal: phases, log, metrics, time and cost so far; what is asked on Ctrl-C; how it ended."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from bintally.cli.sagemaker_options import complain, usd
from bintally.errors import CloudError, CloudUnavailableError, JobError

if TYPE_CHECKING:
    from bintally.cloud.job_kinds import JobKind
    from bintally.cloud.job_state import JobState
    from bintally.cloud.names import Kind
    from bintally.cloud.requests import Request
    from bintally.cloud.session import Cloud
    from bintally.cloud.watch import Seen

_BAD_PHASES = ("Failed", "Interrupted", "MaxRuntimeExceeded", "MaxWaitTimeExceeded", "Stopping", "Stopped")


def follow_job(
    cloud: "Cloud", kind: "JobKind", name: str, *, logs: bool = True, usd_hour: float | None = None
) -> "JobState":
    """Follow a job to its end, and say how it ended.

    Raises:
        JobError: if it did not complete, with the reason.
        KeyboardInterrupt: when the user left it, after they were asked whether to stop it.
    """
    from bintally.cloud.watch import follow

    console = Console(highlight=False, soft_wrap=True)
    state = None
    try:
        with console.status(name) as status:
            for seen in follow(cloud, kind, name, complain=complain, logs=logs):
                state = _show(console, seen) or state
                status.update(_now(state, name, usd_hour))
    except KeyboardInterrupt:
        ask_to_stop(cloud, kind, name)
        raise
    assert state is not None  # noqa: S101 - follow ends with a state
    conclude(state, usd_hour=usd_hour)
    return state


def conclude(state: "JobState", *, usd_hour: float | None = None) -> None:
    """Say what a job came to.

    Raises:
        JobError: if it did not complete.
    """
    from bintally.cloud.names import Kind

    for line in summary(state, usd_hour=usd_hour):
        typer.echo(line)
    if state.status == "Failed":
        raise JobError(f"{state.name} failed: {state.reason}")
    if state.status == "Stopped":
        # Of a processing job SageMaker says no more.
        unknown = "somebody stopped it" + ", or it took longer than --max-hours" * (state.kind.kind is Kind.PREPARE)
        why = {
            "MaxRuntimeExceeded": "it took longer than --max-hours; with more, and the same --checkpoints, it goes on",
            "MaxWaitTimeExceeded": "no spot instance was free for long enough (--max-wait-hours); try later, another "
            "--instance-type, or without --spot",
        }.get(state.phase, unknown)
        raise JobError(f"{state.name} was stopped: {why}")


def summary(state: "JobState", *, usd_hour: float | None = None) -> list[str]:
    """Time, cost, savings and where the results lie."""
    from bintally.cloud.prices import billed_usd

    said = [f"{state.name}: {state.status}" + (f" ({state.phase})" if state.phase != state.status else "")]
    if state.seconds is not None and state.billable_seconds is not None:
        cost = billed_usd(
            state.billable_seconds, count=state.instance_count, instance_type=state.instance_type, usd_hour=usd_hour
        )
        priced = f", about {usd(cost)}" if cost is not None else ""
        said.append(
            f"{state.seconds:,} s on {state.instance_count} x {state.instance_type}, {state.billable_seconds:,} s "
            f"of them billed{priced}"
        )
    if state.saved_share is not None:
        times = f", interruptions: {state.interruptions}" if state.interruptions else ""
        said.append(f"Spot saved {state.saved_share:.0%}{times}")
    if state.metrics:
        said.append("Last metrics: " + ", ".join(f"{name} {value:.4g}" for name, value in state.metrics.items()))
    if state.model_url and state.status == "Completed":
        said.append(f"Model: {state.model_url}")
    return said


def send_and_follow(
    cloud: "Cloud",
    kind: "Kind",
    name: str,
    request: "Request",
    *,
    wait: bool,
    logs: bool,
    usd_hour: float | None,
) -> None:
    """Send a job and, if wanted, follow it to its end.

    Raises:
        CloudError: if it is refused.
        JobError: if it does not complete.
    """
    from bintally.cloud.job_kinds import JOB_KINDS

    send_job(cloud, name, request)
    if wait:
        with sent_once(name):
            follow_job(cloud, JOB_KINDS[kind], name, logs=logs, usd_hour=usd_hour)
    else:
        say_how_to_attach(name)


def send_job(cloud: "Cloud", name: str, request: "Request", *, about: str = "") -> None:
    """Send a job; its name is said before, so that it is never unknown.

    Raises:
        CloudError: if it is refused.
    """
    typer.echo(f"Sending {name}{about}")
    try:
        cloud.send(request)
    except (KeyboardInterrupt, CloudUnavailableError):
        complain(
            f"{name} may have been sent: bintally sagemaker status shows it, bintally sagemaker attach {name} follows"
        )
        raise


@contextmanager
def sent_once(name: str, *, then: str = "attach") -> Iterator[None]:
    """What breaks off while a job is followed or fetched does not undo it: to run the verb again would send another.

    Raises:
        CloudError: with the verb that goes on with that job.
    """
    try:
        yield
    except JobError:
        raise
    except CloudError as error:
        raise type(error)(
            f"{error}. But {name} was sent already, and the same command would send another: go on by "
            f"bintally sagemaker {then} {name}"
        ) from error


def say_how_to_attach(name: str) -> None:
    """Say how to come back to a job."""
    typer.echo(f"It goes on in the cloud. Follow it: bintally sagemaker attach {name}")


def _show(console: Console, seen: "Seen") -> "JobState | None":
    from bintally.cloud.job_state import Phase
    from bintally.cloud.logs import LogLine
    from bintally.cloud.watch import Epoch

    if isinstance(seen, Phase):
        clock = f"{seen.since.astimezone():%H:%M:%S} " if seen.since else ""
        style = "yellow" if seen.name in _BAD_PHASES else "cyan"
        console.print(f"{clock}{seen.name}: {seen.message}".rstrip(": "), style=style, markup=False)
    elif isinstance(seen, LogLine):
        console.print(f"{seen.host} | {seen.text}", style="dim", markup=False)
    elif isinstance(seen, Epoch):
        figures = ", ".join(f"{name} {value:.4g}" for name, value in seen.metrics.items() if name != "epoch")
        console.print(f"epoch {seen.metrics['epoch']:.0f}: {figures}", style="green", markup=False)
    else:
        return seen
    return None


def _now(state: "JobState | None", name: str, usd_hour: float | None) -> str:
    """The line at the bottom: how far, how long, at what price."""
    from bintally.cloud.prices import forecast

    if state is None:
        return name
    seconds = (datetime.now(UTC) - state.created).total_seconds() if state.created else 0
    spent = ""
    told = forecast(state.instance_type, count=state.instance_count, hours=1, usd_hour=usd_hour)
    if told.usd_hour is not None:
        spent = f", {usd(told.usd_hour)} an hour" + (" at most (spot)" if state.spot else "")
    clock = time.strftime("%H:%M:%S", time.gmtime(max(0, seconds)))
    return f"{name}: {state.phase}, {clock} since it was sent{spent}; Ctrl-C asks whether to stop it"


def ask_to_stop(cloud: "Cloud", kind: "JobKind", name: str) -> None:
    """Ask whether the job is to be stopped; a second Ctrl-C, or no terminal, means no."""
    typer.echo("")
    try:
        stop = sys.stdin.isatty() and typer.confirm(f"Stop {name}? Otherwise it goes on, and costs", default=False)
    except (KeyboardInterrupt, typer.Abort):
        stop = False
    if not stop:
        say_how_to_attach(name)
        return
    try:
        cloud.send(kind.stop(name))
    except CloudError as error:
        complain(f"{name} could not be stopped, and goes on: {error}")
        return
    typer.echo(f"{name} is being stopped, which takes up to two minutes.")
