"""Memory that is reused: a thread's scratch arrays, and arrays for results."""

# B elements of a block

import threading
from collections import deque
from typing import Any

import numpy as np

from fusionchat.merge.stream.cut import BLOCK, CHUNK

FIXED = 60 * 2**20


def private_bytes(targets: int, row: int, *, width: int, threads: int) -> int:
    """Approximate bytes of a merge's own memory, which do not grow with the model.

    Args:
        targets: The number of targets.
        row: Elements of the longest row of a matrix.
        width: Bytes of an element of the merged model.
        threads: CPU threads.
    """
    block = max(BLOCK, row) * (targets * 2 + 1 + 4) * 4
    return FIXED + threads * (block + 6 * CHUNK * width)


class Scratch(threading.local):
    """Arrays of one thread, created when first needed."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def get(self, name: str, rows: int, size: int, kind: type[np.generic]) -> np.ndarray:
        """An array of this shape with arbitrary content."""
        held = self.arrays.get(name)
        if held is None or held.shape[0] < rows or held.shape[1] < size:
            held = self.arrays[name] = np.empty((max(rows, 1), max(size, BLOCK)), kind)
        if size == held.shape[1]:
            return held[:rows]
        return held.reshape(-1)[: rows * size].reshape(rows, size)


SCRATCH = Scratch()
"""The scratch arrays of all merges, as a thread works on one block at a time."""


class Spare:
    """Arrays that are passed between threads and reused, since new memory costs a page fault every 4 KB."""

    def __init__(self) -> None:
        self._free: deque[np.ndarray] = deque()
        self._lent: dict[int, np.ndarray] = {}

    def take(self, size: int, kind: np.dtype[Any]) -> np.ndarray:
        """An array with arbitrary content; buffers that are too small are replaced by larger ones."""
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = np.empty(0, np.uint8)
        need = size * kind.itemsize
        if buffer.size < need:
            buffer = np.empty(need, np.uint8)
        array = buffer[:need].view(kind)
        self._lent[id(array)] = buffer
        return array

    def give(self, array: np.ndarray) -> None:
        """Return an array that is not needed any more; one from elsewhere is ignored."""
        buffer = self._lent.pop(id(array), None)
        if buffer is not None:
            self._free.append(buffer)
