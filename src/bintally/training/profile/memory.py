"""Memory and processor over time: a thread that looks now and then.

Its samples are few however long a run is: when there are too many, every second one is dropped and it looks half as
often. Refuses to look at other processes' names or arguments: only at how much is used.
"""

import threading
import time

import psutil
import torch

from bintally.training.profile.result import Sample

_FIRST_INTERVAL = 0.25  # seconds
_MOST = 600


class Sampler:
    """Looks from `start` to `stop`.

    Attributes:
        samples: in order.
        cores_used: by this run's processes, on average.
        cores_of_others: by everything else on the machine.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_gpu = device.type == "cuda"
        self.samples: list[Sample] = []
        self.cores_used = self.cores_of_others = 0.0
        self._interval = _FIRST_INTERVAL
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory sampler", daemon=True)
        self._me = psutil.Process()
        self._begun, self._own, self._all = 0.0, 0.0, 0.0

    def start(self) -> None:
        """Begin."""
        self._begun, (self._own, self._all) = time.perf_counter(), self._processor()
        self._look()
        self._thread.start()

    def stop(self) -> None:
        """End; may be called twice."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._thread.join()
        self._look()
        own, every = self._processor()
        seconds = max(1e-9, time.perf_counter() - self._begun)
        self.cores_used = max(0.0, own - self._own) / seconds
        self.cores_of_others = max(0.0, every - self._all - (own - self._own)) / seconds

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self._look()
            if len(self.samples) >= _MOST:
                self.samples = self.samples[::2]
                self._interval *= 2

    def _look(self) -> None:
        allocated = torch.cuda.memory_allocated() if self._is_gpu else 0
        peak = torch.cuda.max_memory_allocated() if self._is_gpu else 0
        self.samples.append(
            Sample(
                seconds=round(time.perf_counter() - self._begun, 2),
                rss_mib=round(sum(memory_of(each) for each in self._tree()) / 2**20, 1),
                gpu_mib=round(allocated / 2**20, 1),
                gpu_peak_mib=round(peak / 2**20, 1),
            )
        )

    def _tree(self) -> list[psutil.Process]:
        return [self._me, *self._me.children(recursive=True)]

    def _processor(self) -> tuple[float, float]:
        """Seconds of processor so far: of this run's processes, and of all."""
        own = self._me.cpu_times()
        mine = own.user + own.system + own.children_user + own.children_system
        for child in self._me.children(recursive=True):
            try:
                times = child.cpu_times()
            except psutil.Error:
                continue
            mine += times.user + times.system
        every = psutil.cpu_times()
        return float(mine), float(every.user + every.system + getattr(every, "nice", 0.0))


def memory_of(process: psutil.Process) -> int:
    """Bytes in memory; 0 of one that is gone."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
