"""The k largest magnitudes of a stream, exactly, in two or three looks.

Of elements exactly on a threshold (ties), those with the lowest index are selected. Chunks run in any order,
so each must know how many ties the chunks before it have, which takes the third look. Inside a chunk the
quota passes from block to block, in order.

    magnitudes    3 2 1 2 | 2 0 2 1      two chunks; k = 3
    threshold     2                      the third largest; one element is above it, so 2 of the 4 ties are needed
    ties          2       | 2            chunk by chunk
    quota         2       | 0            the rest of the 2 after the earlier chunks
    selected      3 2 . 2 | . . . .
"""

# J rows selected from independently (TIES: one a target), K thresholds a row, C chunks, B elements of a block

from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from fusionchat.merge.methods.steps import Block, Count, State, TensorInfo

Values = Callable[[Block], Float32[np.ndarray, "J B"]]
See = Callable[[Block, State, np.ndarray], None]


class Largest(NamedTuple):
    """A selection.

    Attributes:
        threshold_JK: The bit pattern of the least magnitude that is selected.
        need_JK: How many elements on it are selected.
        ties_JK: How many elements are on it.
        ties_JKC: The same chunk by chunk; None if all of them are selected.
    """

    threshold_JK: Int64[np.ndarray, "J K"]
    need_JK: Int64[np.ndarray, "J K"]
    ties_JK: Int64[np.ndarray, "J K"]
    ties_JKC: Int64[np.ndarray, "J K C"] | None = None

    def quota(self, chunk: int) -> State:
        """How many elements on each threshold a chunk may select, after the chunks before it; flattened."""
        if self.ties_JKC is None:
            return self.need_JK.flatten()
        before_JK = self.ties_JKC[:, :, :chunk].sum(2)
        left: State = np.maximum(self.need_JK - before_JK, 0).flatten()
        return left

    def mark(self, j: int, value_B: Float32[np.ndarray, " B"], quota: State) -> np.ndarray:
        """Which elements of row j are selected: above the first threshold, and not above any second one.

        The selected ties are subtracted from ``quota``.
        """
        from fusionchat.merge.kernels.selection import mark_largest

        thresholds = self.threshold_JK.shape[1]
        mask_KB = np.empty((thresholds, len(value_B)), np.bool_)
        for k in range(thresholds):
            jk = j * thresholds + k
            quota[jk] = mark_largest(value_B, self.threshold_JK[j, k], quota[jk], mask_KB[k])
        if thresholds == 2:
            mask_KB[0] &= ~mask_KB[1]
        return mask_KB[0]

    @property
    def ties(self) -> tuple[int, ...]:
        """How many elements of each row are exactly on the (first) threshold."""
        return tuple(int(n) for n in self.ties_JK[:, 0])


def changes(block: Block) -> Float32[np.ndarray, "J B"]:
    """The targets' changes."""
    return block.delta_JB


def largest(
    share_JK: Float64[np.ndarray, "J K"],
    tensor: TensorInfo,
    values: Values = changes,
    *,
    of_nonzero: bool = False,
) -> Generator[Count, np.ndarray, Largest]:
    """The ``int(share * n)`` largest magnitudes of every row of ``values``.

    ``n`` counts all elements, or those that are not zero.

    Float32 bit patterns without the sign sort like the magnitudes. Two histograms find the pattern of the
    k-th largest, its 16 high bits first, then its 15 low bits. This needs no sort, and 400 KB per row for
    each running chunk (whose number `OrderedPool` bounds), whatever the tensor's size.
    """
    from fusionchat.merge.kernels.selection import HIGH, LOW, NOTHING

    zeros_JK = np.zeros(share_JK.shape, np.int64)
    if (share_JK >= 1).all() and not of_nonzero:  # every magnitude is at least 0, so no look is needed
        return Largest(zeros_JK, np.full_like(zeros_JK, tensor.size), zeros_JK)

    # 1. high bits: the bin that holds the k-th largest, and how many of that bin are needed
    coarse = yield Count(magnitude_high_bits(values), shape=(len(share_JK), HIGH + 1))
    wanted_JK, high_JK, need_JK = zeros_JK.copy(), zeros_JK.copy(), zeros_JK.copy()
    for j, k in np.ndindex(share_JK.shape):
        size = tensor.size - int(coarse[j, HIGH]) if of_nonzero else tensor.size
        wanted_JK[j, k] = min(int(share_JK[j, k] * size), tensor.size)
        high_JK[j, k], above = _kth_from_top(coarse[j, :HIGH], int(wanted_JK[j, k]))
        need_JK[j, k] = wanted_JK[j, k] - above

    # 2. low bits inside that bin: the threshold, how many are on it, and how many of these are needed
    fine = yield Count(magnitude_low_bits(values, within=high_JK), shape=(*share_JK.shape, LOW))
    threshold_JK, ties_JK = np.full_like(zeros_JK, NOTHING), zeros_JK.copy()
    for j, k in np.argwhere(wanted_JK > 0):
        low, above = _kth_from_top(fine[j, k], int(need_JK[j, k]))
        threshold_JK[j, k] = (high_JK[j, k] << 15) | low
        need_JK[j, k] -= above
        ties_JK[j, k] = fine[j, k, low]
    if (need_JK == ties_JK).all():
        return Largest(threshold_JK, need_JK, ties_JK)

    # 3. if not all ties are needed: how many each chunk has, so that those with the lowest index are selected
    ties_JKC = yield Count(ties_at(values, threshold_JK), shape=(*share_JK.shape, tensor.chunks))
    return Largest(threshold_JK, need_JK, ties_JK, ties_JKC)


def magnitude_high_bits(values: Values) -> See:
    """A look that counts the high bits of magnitudes, [J, 2^16 + 1]; the last entry counts zeros."""
    from fusionchat.merge.kernels.selection import count_high_bits

    def see(block: Block, _: State, count: np.ndarray) -> None:
        for j, value_B in enumerate(values(block)):
            count_high_bits(value_B, count[j])

    return see


def magnitude_low_bits(values: Values, within: Int64[np.ndarray, "J K"]) -> See:
    """A look that counts the low bits of the magnitudes with these high bits, [J, K, 2^15]."""
    from fusionchat.merge.kernels.selection import count_low_bits

    def see(block: Block, _: State, count: np.ndarray) -> None:
        for j, value_B in enumerate(values(block)):
            for k, high in enumerate(within[j]):
                count_low_bits(value_B, high, count[j, k])

    return see


def ties_at(values: Values, threshold_JK: Int64[np.ndarray, "J K"]) -> See:
    """A look that counts the magnitudes exactly on a threshold, chunk by chunk, [J, K, C]."""
    from fusionchat.merge.kernels.selection import count_equal

    def see(block: Block, _: State, count: np.ndarray) -> None:
        for j, value_B in enumerate(values(block)):
            for k, threshold in enumerate(threshold_JK[j]):
                count[j, k, block.chunk] += count_equal(value_B, threshold)

    return see


def _kth_from_top(count: np.ndarray, k: int) -> tuple[int, int]:
    """The bin of the k-th largest element of a histogram, and how many are in the bins above it.

    The bin is 0 for k = 0.
    """
    if k <= 0:
        return 0, 0
    from_top = np.cumsum(count[::-1])
    down = int(np.searchsorted(from_top, k))
    return len(count) - 1 - down, int(from_top[down] - count[::-1][down])
