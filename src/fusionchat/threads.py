"""CPU threads: how idle ones wait, and how many work at a time."""

import os
from collections.abc import Iterable
from functools import cache

SMALL = 2_000_000
"""Parameters below which a second thread slows the first more than it helps.

It was measured at 0.5 million on two cores.
"""


def wait_passively() -> None:
    """Let idle OpenMP threads sleep instead of spin; call it before torch is loaded, which reads it once.

    Spinning threads take the processor away from busy ones: beside two busy processes the demo took ten times
    as long. A policy that the user has set is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pick_threads(wanted: int, parameters: Iterable[int | None]) -> int:
    """The threads to use: ``wanted``, but 1 instead of 0 if all models are known to be small.

    0 means all cores.
    """
    sizes = list(parameters)
    small = bool(sizes) and all(size is not None and size < SMALL for size in sizes)
    return wanted or int(small)


def set_threads(threads: int) -> None:
    """Let torch and numba use ``threads`` threads; 0 for the number that torch starts with.

    Both share one OpenMP, and numba sets its number when it starts and at every call, so numba comes first,
    with the same number.
    """
    first = _first_threads()  # before numba starts
    wanted = threads or first
    import numba
    import torch

    numba.set_num_threads(min(wanted, int(numba.config.NUMBA_NUM_THREADS)))  # type: ignore[attr-defined]
    torch.set_num_threads(wanted)


@cache
def _first_threads() -> int:
    """The number of threads that torch starts with."""
    import torch

    return torch.get_num_threads()
