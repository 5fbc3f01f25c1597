"""What an element-wise method asks of the engine: looks, and a pass that combines.

Such a method is a generator that reads like its paper. It yields a `Count` and gets the counts of the whole tensor, as
often as it needs to, and ends with a `Combine`:

    coarse = yield Count(high_bits, shape=(2**16,))
    fine = yield Count(partial(low_bits, within=place(coarse)), shape=(2**15,))
    yield Combine(partial(write, threshold=place(fine)))

The engine streams: a step is called with one block after the other, chunks in any order and at the same time, blocks of
one chunk in order, and what the chunks have counted is added up in their order. So memory is bounded by blocks and counts,
and the result depends on neither threads nor timing.
"""

# N inputs (pivot first), J = N - 1 targets, B elements of a block, K counters of a chunk

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

State = Int64[np.ndarray, " K"]
"""Counters that a step carries from block to block of one chunk: how many more of the elements on a threshold it may take."""


class TensorInfo(NamedTuple):
    """What a method may know of a tensor: name (for seeds), shape, targets, chunks."""

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
        """Length of the last axis; all of a vector."""
        return self.shape[-1] if self.shape else 1


class Block(NamedTuple):
    """Consecutive elements of one tensor.

    Attributes:
        x_NB: Values of pivot and targets.
        delta_JB: Changes of the targets in float32, to select by; a step may overwrite them. What is written is worked out
            from ``x_NB`` in float64: after pruning only what is 0 in ``delta_JB`` counts.
        aux_JB: The method's auxiliary values (`Method.auxiliary`), one row per target; no rows where there are none.
        at: Index of the first element in the flattened tensor.
        chunk: Number of the chunk it is in.
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
        see: Adds what a block shows to the counts of its chunk.
        shape: Of the counts, which begin at 0.
        dtype: Of the counts.
        start: The state at the begin of a chunk.
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
        start: The state at the begin of a chunk.
        ties: How many elements of each target are exactly on a selection's threshold; empty where nothing is selected.
    """

    write: Callable[[Block, State, Float64[np.ndarray, " B"]], Sequence[int] | Int64[np.ndarray, " J"]]
    start: Callable[[int], State] = no_state
    ties: tuple[int, ...] = ()


Steps = Generator[Count | Combine, np.ndarray, None]
"""Any number of looks, then the pass that combines."""
