"""`train`, as SageMaker starts it on each instance: torchrun over all of them, and a sentence where the job fails.

torchrun (torch.distributed.elastic) starts one process for each GPU, or one where there is none, tells them of each
other, hands SIGTERM on to them and gives them time to save. Refuses to restart a process that failed: SageMaker
restarts a job that was interrupted, and what failed once would fail again.
"""

import logging
import os
import signal
import sys
from collections.abc import Mapping

from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from bintally import errors
from bintally.cloud.container.layout import Hosts, Layout, read_hosts, read_layout
from bintally.data.files import whole_file
from bintally.errors import BintallyError

_WORKER = "bintally.cloud.container.worker"
_PORT_VARIABLE = "BINTALLY_MASTER_PORT"
_PORT = 29400
_SECONDS_TO_SAVE = 100  # SageMaker gives 120 between SIGTERM and SIGKILL
_SECONDS_TO_MEET = 900  # instances start at different times
_MOST_CHARACTERS = 1024  # of the failure file that SageMaker shows
_STOPPED = {128 + signum for signum in (signal.SIGTERM, signal.SIGINT)}


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Train on this instance as one of the job's.

    Returns:
        0 where the model is written, 143 where the job was interrupted and its state saved, 1 where it failed; then
        the failure file's first line says why.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # its own account of a child that failed
    layout = read_layout(environ)
    try:
        hosts = read_hosts(layout, environ)
        _launch(hosts, environ)
    except SignalException as stop:
        return 128 + stop.sigval
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        if first.exitcode in _STOPPED:
            return int(first.exitcode)
        return fail(layout, why(first), traceback_of(first))
    except BintallyError as error:
        return fail(layout, str(error))
    except Exception as error:  # nobody else is there to say it  # noqa: BLE001
        return fail(layout, f"the job's processes could not be started: {type(error).__name__}: {error}")
    return 0


def _launch(hosts: Hosts, environ: Mapping[str, str]) -> None:
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(_SECONDS_TO_SAVE))
    for library in ("GLOO", "NCCL"):
        if hosts.interface:
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", hosts.interface)
    config = LaunchConfig(
        min_nodes=len(hosts.names),
        max_nodes=len(hosts.names),
        nproc_per_node=max(1, hosts.gpus),
        run_id=environ.get("TRAINING_JOB_NAME", "bintally"),
        rdzv_backend="static",
        rdzv_endpoint=f"{hosts.names[0]}:{environ.get(_PORT_VARIABLE, _PORT)}",
        rdzv_configs={"rank": hosts.rank, "timeout": _SECONDS_TO_MEET},
        local_addr=hosts.mine,
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(),
    )
    try:
        elastic_launch(config, sys.executable)("-u", "-m", _WORKER)
    finally:
        # All processes have ended, and what became of them is still to be said.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def why(failure: ProcessFailure) -> str:
    """What made a process fail, in one line.

    A process that another instance's failure took with it can only say that it lost the others.
    """
    if failure.exitcode == -signal.SIGKILL:
        return (
            "a training process was killed (SIGKILL), most often for want of memory: take an instance with more, or "
            "--set cache_mib and batch_size lower"
        )
    if failure.exitcode < 0:
        return f"a training process was ended by signal {-failure.exitcode} ({failure.signal_name()})"
    message = failure.message
    text = message["message"] if isinstance(message, dict) else str(message)
    kind, _, rest = text.partition(": ")
    return rest if _is_ours(kind) else text


def traceback_of(failure: ProcessFailure) -> str:
    """Where it failed; empty where that is not known, or says no more than the sentence."""
    message = failure.message
    if not isinstance(message, dict) or _is_ours(message["message"].partition(": ")[0]):
        return ""
    return str(message["extraInfo"]["py_callstack"])


def fail(layout: Layout, reason: str, more: str = "") -> int:
    """Write the failure file and say it in the log.

    Returns:
        1.
    """
    first = " ".join(reason.split())[:_MOST_CHARACTERS]
    sys.stderr.write(f"failed: {first}\n{more}")
    layout.output.mkdir(parents=True, exist_ok=True)
    with whole_file(layout.failure) as part:
        part.write_text(f"{first}\n{more}", encoding="utf-8")
    return 1


def _is_ours(kind: str) -> bool:
    """Whether an error of that name is raised on purpose, and its text is a sentence."""
    return hasattr(errors, kind)


if __name__ == "__main__":
    sys.exit(main())
