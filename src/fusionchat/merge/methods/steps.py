"""What an element-wise method asks of the engine: looks, and a pass that combines.

Such a method is a generator that reads like its paper. It yields a `Count` and gets the counts of the whole
tensor, as often as it needs to, and ends with a `Combine`:

    coarse = yield Count(high_bits, shape=(2**16,))
    fine = yield Count(partial(low_bits, within=place(coarse)), shape=(2**15,))
    yield Combine(partial(write, threshold=place(fine)))

The engine streams: a step is called with one block after the other, chunks in any order and in parallel,
blocks of one chunk in order, and the chunks' counts are added up in order. So memory is bounded by blocks and
counts, and the result depends on neither threads nor timing.
"""

# N inputs (pivot first), J = N - 1 targets, B elements of a block, K counters of a chunk

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

State = Int64[np.ndarray, " K"]
"""Counters that a step passes from block to block of one chunk.

They say how many more of the elements on a threshold it may select.
"""


class TensorInfo(NamedTuple):
    """What a method knows of a tensor: name (for seeds), shape, targets, chunks."""

    name: str
    shape: tuple[int, ...]
    targets: int
    chunks: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def row(self) -> int:
        """Length of the last axis; for a vector, its size."""
        return self.shape[-1] if self.shape else 1


class Block(NamedTuple):
    """Consecutive elements of one tensor.

    Attributes:
        x_NB: Values of pivot and targets.
        delta_JB: Changes of the targets in float32, for selecting; a step may overwrite them. The result is
            computed from ``x_NB`` in float64; after pruning, only which entries of ``delta_JB`` are 0
            matters.
        aux_JB: The method's auxiliary values (`Method.auxiliary`), one row per target; no rows if there are
            none.
        at: Index of the first element in the flattened tensor.
        chunk: Number of the chunk that it is in.
    """

    x_NB: Float32[np.ndarray, "N B"]
    delta_JB: Float32[np.ndarray, "J B"]
    aux_JB: Float32[np.ndarray, "A B"]
    at: int
    chunk: int


def no_state(chunk: int) -> State:
    """No counters."""
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Count:
    """One look at all blocks.

    Attributes:
        see: Adds a block's counts to those of its chunk.
        shape: The shape of the counts, which begin at 0.
        dtype: The dtype of the counts.
        start: The state at the beginning of a chunk.
    """

    see: Callable[[Block, State, np.ndarray], object]
    shape: tuple[int, ...]
    dtype: type[np.generic] = np.int32
    start: Callable[[int], State] = no_state


@dataclass(frozen=True)
class Combine:
    """The last pass.

    Attributes:
        write: Writes the fused values of a block; returns how many elements of each target took part.
        start: The state at the beginning of a chunk.
        ties: How many elements of each target are exactly on a selection's threshold; empty without a
            selection.
    """

    write: Callable[[Block, State, Float64[np.ndarray, " B"]], Sequence[int] | Int64[np.ndarray, " J"]]
    start: Callable[[int], State] = no_state
    ties: tuple[int, ...] = ()


Steps = Generator[Count | Combine, np.ndarray, None]
"""Any number of looks, then the pass that combines."""
