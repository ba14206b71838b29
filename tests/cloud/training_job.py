"""SageMaker's side of a training job, without Docker: lays out `/opt/ml` under a folder for each instance, starts the
container's `train` there as a process, copies checkpoints to and from a folder that stands for the bucket.

Instances are loopback addresses: each its own, and all can be reached, without touching the machine's names. What
SageMaker does when one fails or is interrupted: the others get SIGTERM, and SIGKILL after the grace period.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil


class TrainingJob:
    """One job; starting it again is what SageMaker does after a spot interruption.

    Args:
        folder: where the instances and the bucket's checkpoints lie.
        channels: folders by name.
        hyperparameters: as in the request.
        hosts: how many instances.
        name: of the job.
        limit: seconds after which a job that hangs is killed.
    """

    def __init__(
        self,
        folder: Path,
        channels: Mapping[str, Path],
        hyperparameters: Mapping[str, str],
        *,
        hosts: int = 1,
        name: str = "a-job",
        limit: float = 240,
    ) -> None:
        self.folder, self.channels, self.hyperparameters = folder, dict(channels), dict(hyperparameters)
        self.hosts = [f"127.0.0.{number}" for number in range(1, hosts + 1)]
        self.name, self.limit = name, limit
        self.bucket = folder / "checkpoints-in-the-bucket"
        self.bucket.mkdir(parents=True, exist_ok=True)
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.sittings = 0

    def root(self, host: str) -> Path:
        return self.folder / f"sitting-{self.sittings}" / host

    @property
    def model(self) -> Path:
        return self.root(self.hosts[0]) / "model"

    @property
    def reports(self) -> Path:
        return self.root(self.hosts[0]) / "output" / "data"

    def start(self) -> None:
        self.sittings += 1
        with socket.create_server((self.hosts[0], 0)) as taken:
            port = taken.getsockname()[1]
        for host in self.hosts:
            self._lay_out(host)
            self.processes[host] = subprocess.Popen(
                [sys.executable, "-m", "bintally.cloud.container.launch"],
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith("SM_")},
                    "BINTALLY_ML_ROOT": str(self.root(host)),
                    "BINTALLY_MASTER_PORT": str(port),
                    "TRAINING_JOB_NAME": self.name,
                    "OMP_NUM_THREADS": "1",
                    "CUDA_VISIBLE_DEVICES": "",
                },
                stdout=(self.root(host) / "log").open("w", encoding="utf-8"),
                stderr=subprocess.STDOUT,
                text=True,
                cwd=self.root(host),
                start_new_session=True,
            )

    def _lay_out(self, host: str) -> None:
        root = self.root(host)
        for folder in ("input/config", "input/data", "model", "output/data"):
            (root / folder).mkdir(parents=True)
        for name, folder in self.channels.items():
            (root / "input/data" / name).symlink_to(folder, target_is_directory=True)
        channel = {"TrainingInputMode": "FastFile", "S3DistributionType": "FullyReplicated"}
        files = {
            "hyperparameters": self.hyperparameters,
            "inputdataconfig": dict.fromkeys(self.channels, channel),
            "resourceconfig": {
                "current_host": host,
                "current_instance_type": "ml.m5.large",
                "current_group_name": "homogeneousCluster",
                "hosts": self.hosts,
                "instance_groups": [
                    {"instance_group_name": "homogeneousCluster", "instance_type": "ml.m5.large", "hosts": self.hosts}
                ],
                "network_interface_name": "lo",
            },
        }
        for name, held in files.items():
            (root / "input/config" / f"{name}.json").write_text(json.dumps(held), encoding="utf-8")
        shutil.copytree(self.bucket, root / "checkpoints")

    def wait(self, *, grace: float = 60) -> dict[str, int]:
        """Exit codes by instance, once all have ended; checkpoints are in the bucket then."""
        end = time.monotonic() + self.limit
        while all(process.poll() is None for process in self.processes.values()) and time.monotonic() < end:
            time.sleep(0.05)
        if any(process.poll() != 0 for process in self.processes.values() if process.poll() is not None):
            self._end(signal.SIGTERM)
            end = time.monotonic() + grace
        while any(process.poll() is None for process in self.processes.values()) and time.monotonic() < end:
            time.sleep(0.05)
        self._end(signal.SIGKILL)
        codes = {host: process.wait() for host, process in self.processes.items()}
        for host in self.hosts:
            self._upload(self.root(host) / "checkpoints")
        return codes

    def _upload(self, checkpoints: Path) -> None:
        """What the instance wrote; what it only got stays as it is in the bucket."""
        for path in (each for each in checkpoints.rglob("*") if each.is_file()):
            held = self.bucket / path.relative_to(checkpoints)
            if not held.exists() or held.stat().st_mtime_ns < path.stat().st_mtime_ns:
                held.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, held)

    def interrupt(self, host: str) -> None:
        """What an instance gets that is taken away."""
        self.processes[host].send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """All instances go at once, with all their processes."""
        for process in self.processes.values():
            if process.poll() is None:
                _kill_all(process.pid)

    def _end(self, signum: signal.Signals) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                if signum is signal.SIGKILL:
                    _kill_all(process.pid)
                else:
                    process.send_signal(signum)

    def log(self, host: str | None = None) -> str:
        return (self.root(host or self.hosts[0]) / "log").read_text(encoding="utf-8")

    def failure(self, host: str | None = None) -> str:
        path = self.root(host or self.hosts[0]) / "output" / "failure"
        return path.read_text(encoding="utf-8") if path.exists() else ""


def _kill_all(pid: int) -> None:
    """As a container ends with its first process; torchrun's children have sessions of their own."""
    first = psutil.Process(pid)
    first.suspend()  # or it would see its children go, and say so
    for process in [*first.children(recursive=True), first]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
