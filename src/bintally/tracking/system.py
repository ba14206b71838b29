"""What the machine does while a run trains: processor, memory, network, disk and GPUs, as MLflow's own monitors see it.

Where NVIDIA's library for Python is missing, of a GPU only its memory is seen. Refuses to raise: a figure that cannot
be had is left out.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

import torch

from bintally.tracking.journal import Point
from bintally.tracking.record import now_ms

PREFIX = "system/"
EVERY_SECONDS = 10.0
_log = logging.getLogger(__name__)


class MachineWatch(threading.Thread):
    """Looks at the machine now and then, in a thread of its own.

    Args:
        keep: is given what was seen.
        first: the number of the first look.
        every: seconds from one look to the next.
    """

    def __init__(self, keep: Callable[[list[Point]], None], *, first: int = 0, every: float = EVERY_SECONDS) -> None:
        super().__init__(name="machine-watch", daemon=True)
        self._keep, self._number, self._every = keep, first, every
        self._ended = threading.Event()
        self._monitors: list[Any] = []

    def run(self) -> None:
        """Until it is ended; the last look is then."""
        self._monitors = _monitors()  # in this thread: a processor's share is since the thread's last look
        while True:
            ended = self._ended.wait(self._every)
            self._look()
            if ended:
                return

    def end(self) -> None:
        """Look once more, and end."""
        self._ended.set()
        self.join(self._every)

    def _look(self) -> None:
        try:
            seen = self._see()
        except Exception as error:  # noqa: BLE001 - drivers fail in many ways, and none is worth a run
            _log.info("the machine could not be looked at: %s", error)
            return
        now = now_ms()
        self._keep([Point(now, self._number, PREFIX + key, float(value)) for key, value in seen.items()])
        self._number += 1

    def _see(self) -> dict[str, float]:
        seen: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            seen.update(monitor.aggregate_metrics())
            monitor.clear_metrics()
        return seen


class _GpuMemory:
    """In the manner of MLflow's monitors."""

    def __init__(self) -> None:
        self._metrics: dict[str, float] = {}

    def collect_metrics(self) -> None:
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            self._metrics[f"gpu_{number}_memory_usage_megabytes"] = round((total - free) / 1e6, 1)
            self._metrics[f"gpu_{number}_memory_usage_percentage"] = round((1 - free / total) * 100, 1)

    def aggregate_metrics(self) -> dict[str, float]:
        return dict(self._metrics)

    def clear_metrics(self) -> None:
        self._metrics.clear()


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor  # noqa: PLC0415 - see store.py
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor  # noqa: PLC0415
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor  # noqa: PLC0415
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor  # noqa: PLC0415

    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        monitors.append(GPUMonitor())
    except (ImportError, RuntimeError):  # no such library, or no such card
        monitors.append(_GpuMemory())
    monitors[0].collect_metrics()  # the first share of the processor is since never
    monitors[0].clear_metrics()
    return monitors
