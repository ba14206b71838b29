"""Lets the process keep memory that a training step frees, for the next step to take.

glibc gives large blocks back to the kernel as soon as they are freed and asks for them anew a moment later; on a CPU,
faulting their pages in again cost a third of a step of `mobilenetv2` in fp32 (results/README.md). The numbers that are
computed stay the same. Refuses nothing: where the C library is another one, nothing happens.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_KEEP_BELOW = 1 << 30  # bytes


def keep_freed_memory() -> bool:
    """For the rest of the process; whether it could be had."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _KEEP_BELOW) and mallopt(_TRIM_THRESHOLD, _KEEP_BELOW))
