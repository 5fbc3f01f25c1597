"""Tensors in memory, as merges read them."""

import dataclasses
from itertools import pairwise

import numpy as np


@dataclasses.dataclass(eq=False)
class Memory:
    """An array as a source; ``asked`` collects what is asked of it."""

    values: np.ndarray
    origin: str = "memory"
    is_float: bool = True
    asked: list = dataclasses.field(default_factory=list)

    @property
    def shape(self):
        return self.values.shape

    def decode(self, begin, out_B):
        out_B[:] = self.values.reshape(-1)[begin : begin + out_B.size]

    def read_ahead(self, begin):
        self.asked.append(("ahead", begin))

    def release(self):
        self.asked.append("release")


def numbered(rows, width, first=0):
    """Rows of whole numbers from ``first`` on."""
    return Memory((first + np.arange(rows * width, dtype=np.float32)).reshape(rows, width))


def read(source, pieces=1):
    """All values of a source, read in a number of pieces of unequal size."""
    size = int(np.prod(source.shape))
    cuts = sorted({0, size, *(size * n // pieces + n % 2 for n in range(1, pieces))})
    parts = []
    for begin, end in pairwise(cuts):
        parts.append(np.full(end - begin, np.nan, np.float32))
        source.decode(begin, parts[-1])
    return np.concatenate(parts).reshape(source.shape)
