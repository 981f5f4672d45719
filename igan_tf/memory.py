"""What a process does with memory that it has freed."""

from __future__ import annotations

import ctypes
import os
import sys

# From glibc's malloc.h: parameters of `mallopt`.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> None:
    """Has glibc keep freed memory for what is allocated next, instead of giving it back to the system.

    Each training step, and each image, allocates anew what the one before has freed. Given back, its first use makes a
    page fault for every 4 kB: with Eigen's kernels 2 GB, two CPU seconds, in each step of ImageNet's networks
    (`docs/results/speed.md`).
    Blocks of 256 MB and more still go back, which keeps the heap from growing where few of them follow one another.

    It is for a whole process, so programs call it and the library does not. They call it after the import of
    TensorFlow, which sets M_MMAP_THRESHOLD itself, and before TensorFlow starts its threads: each thread would have a
    heap of its own. A user's own MALLOC_... variables and tunables stand.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        # The heaps of threads, and blocks that have a mapping of their own, are given back whatever the last one says.
        libc.mallopt(_M_ARENA_MAX, 1)
        # Before 2.35 glibc takes no more than 32 MB.
        libc.mallopt(_M_MMAP_THRESHOLD, 2**28) or libc.mallopt(_M_MMAP_THRESHOLD, 2**25)
        # Never.
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
