"""The sums and counts made while a tensor is read."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# N inputs (pivot first), J targets, B elements of a chunk


@dataclass
class Tally:
    """Sums over the elements that were read.

    Attributes:
        gram_NN: Inner products, lower triangle (`fusionchat.merge.kernels.gram`).
        kept_J: How many elements of each target took part.
        sums: Squared change of the result against the pivot, squared rounding error, and number of non-finite
            spans.
        conflicts: How many elements one target raises and another lowers.
    """

    gram_NN: np.ndarray
    kept_J: np.ndarray
    sums: np.ndarray
    conflicts: int = 0

    @classmethod
    def blank(cls, targets: int) -> "Tally":
        """A tally of zeros."""
        return cls(np.zeros((targets + 1, targets + 1)), np.zeros(targets, np.int64), np.zeros(3))

    def add(self, other: "Tally") -> None:
        """Add the counts of one more chunk."""
        self.gram_NN += other.gram_NN
        self.kept_J += other.kept_J
        self.sums += other.sums
        self.conflicts += other.conflicts


class Made(NamedTuple):
    """The result for a chunk: the values as they are stored, and the tally."""

    values_B: np.ndarray
    tally: Tally
