"""Memory that a training on a CPU has freed is used again, or returns to the system.

glibc asks the system for each large block and returns it when it is freed; smaller ones share a heap, and
stay with the process while blocks after them are in use.

A high bound is fast and takes more memory. With a bound of 128 KiB a step of SmolLM2-135M on an Intel
processor with AMX takes 1.3 times as long as with 4 MiB, since the system makes new pages for every block
(benchmarks/cpu_training.py). So the bound is 4 MiB while the machine has memory to spare,
and 128 KiB once it has not.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from fusionchat import machine_memory

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h; glibc does not raise them once they are set."""
USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
"""The environment variables by which a user sets these bounds."""
EVERY = 4
"""Steps after which all that is free returns, so that the gaps between blocks in use do not add up."""
SPARE = 0.25
"""The share of the machine's memory that must be available for the higher bounds."""


class Bounds(NamedTuple):
    """Bytes: of a block that is returned by itself, and of the free end of the heap that is returned."""

    block: int
    end: int


LOW, HIGH = Bounds(128 * 2**10, 128 * 2**10), Bounds(4 * 2**20, 256 * 2**20)
AFTERWARDS = Bounds(32 * 2**20, 64 * 2**20)
"""The highest that glibc sets itself."""


@contextmanager
def freed_goes_back() -> Iterator[Callable[[], None]]:
    """Set the bounds, and return first what was freed before; yields what to call after a step.

    Once the machine has little memory available, what is free is returned and the bounds are low until the
    end. Another malloc, and bounds that the user has set, are left alone. No bit of a result depends on it.
    """
    libc = ctypes.CDLL(None)
    if any(name in os.environ for name in USER) or not hasattr(libc, "gnu_get_libc_version"):
        yield lambda: None
        return
    is_low, steps = False, 0

    def settle() -> None:
        nonlocal is_low, steps
        steps += 1
        if is_low:
            return
        if machine_memory.available() < SPARE * machine_memory.total():
            is_low = True
            _set(libc, LOW)
        elif steps % EVERY:
            return
        libc.malloc_trim(0)

    libc.malloc_trim(0)
    _set(libc, HIGH)
    settle()
    try:
        yield settle
    finally:
        _set(libc, AFTERWARDS)
        libc.malloc_trim(0)


def _set(libc: ctypes.CDLL, bounds: Bounds) -> None:
    libc.mallopt(MMAP_THRESHOLD, bounds.block)
    libc.mallopt(TRIM_THRESHOLD, bounds.end)
