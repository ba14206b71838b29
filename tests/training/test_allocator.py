"""Memory that a step frees is kept: seen where it counts, in the faults of a block taken again and again."""

import subprocess
import sys

from bintally.training.allocator import keep_freed_memory

SCRIPT = """
import resource, sys, torch
from bintally.training.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(40):
    torch.ones(8 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(8 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_pages_are_faulted_in_once() -> None:
    assert isinstance(keep_freed_memory(), bool)
    if sys.platform == "linux":
        assert faults("keep") * 10 < faults("leave")
