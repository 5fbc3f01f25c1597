"""The k largest magnitudes of a stream, exactly: two histograms of 16 and 15 bits, no sort, and a rule for ties.

Magnitudes are compared by their float32 bit patterns, which sort like the values. Of elements exactly on the
threshold those with the lowest index are taken.
"""

# R rows selected from independently, B elements of a block, K thresholds a row

import numpy as np
from jaxtyping import Float32, Int64

from fusionchat.merge.kernels.compiled import SPAN, compiled

_HIGH, _LOW = 2**16, 2**15
_MAGNITUDE = np.uint32(0x7FFFFFFF)
_LOW_MASK, _LOW_BITS = np.uint32(0x7FFF), np.uint32(15)
_NOTHING = 2**32 - 1


@compiled
def histogram_high(value_B: np.ndarray, count: np.ndarray) -> None:
    """Count elements by the upper 16 bits of their magnitude; the entry after the last counts zeros."""
    bits = value_B.view(np.uint32)
    zeros = 0
    for i in range(bits.size):
        zeros += (bits[i] & _MAGNITUDE) == 0
    count[_HIGH] += zeros
    for i in range(bits.size):
        count[(bits[i] & _MAGNITUDE) >> _LOW_BITS] += 1


@compiled
def histogram_low(value_B: np.ndarray, high: int, count: np.ndarray) -> None:
    """Count the elements whose upper bits are ``high`` by the lower 15 bits of their magnitude."""
    bits, wanted = value_B.view(np.uint32), np.uint32(high)
    for begin in range(0, bits.size, 64):
        part = bits[begin : begin + 64]
        found = 0
        for i in range(part.size):
            found += ((part[i] & _MAGNITUDE) >> _LOW_BITS) == wanted
        if found:
            for i in range(part.size):
                if ((part[i] & _MAGNITUDE) >> _LOW_BITS) == wanted:
                    count[part[i] & _LOW_MASK] += 1


@compiled
def count_equal(value_B: np.ndarray, threshold: int) -> int:
    """Number of elements whose magnitude is exactly the threshold."""
    bits, wanted = value_B.view(np.uint32), np.uint32(threshold)
    total = 0
    for i in range(bits.size):
        total += (bits[i] & _MAGNITUDE) == wanted
    return total


@compiled
def mark_largest(value_B: np.ndarray, threshold: int, quota: int, mask_B: np.ndarray) -> int:
    """Mark the elements above the threshold and the first ``quota`` on it; returns what is left of the quota."""
    limit = np.uint32(threshold)
    for begin in range(0, value_B.size, SPAN):
        bits = value_B[begin : min(value_B.size, begin + SPAN)].view(np.uint32)
        mask = mask_B[begin : begin + bits.size]
        ties = 0
        for i in range(bits.size):
            ties += (bits[i] & _MAGNITUDE) == limit
        if ties <= quota:
            for i in range(bits.size):
                mask[i] = (bits[i] & _MAGNITUDE) >= limit
            quota -= ties
        elif quota == 0:
            for i in range(bits.size):
                mask[i] = (bits[i] & _MAGNITUDE) > limit
        else:
            for i in range(bits.size):
                size = bits[i] & _MAGNITUDE
                taken = size == limit and quota > 0
                quota -= taken
                mask[i] = size > limit or taken
    return quota


@compiled
def keep_marked(value_B: np.ndarray, mask_B: np.ndarray, wanted: bool) -> int:
    """Zero the elements whose mark is not ``wanted``; returns how many stay."""
    kept = 0
    for i in range(value_B.size):
        stays = mask_B[i] == wanted
        value_B[i] = value_B[i] if stays else np.float32(0)
        kept += stays
    return kept


class Largest:
    """Finds the thresholds above which the k largest of every row are, in up to three looks at all blocks.

    Args:
        share_RK: Share of elements to take, for every row and threshold: ``k = int(share * n)``.
        size: Number of elements of a row.
        chunks: Number of chunks they are read in.
        of_nonzero: Whether n is the number of elements that are not zero, instead of all.
    """

    def __init__(self, share_RK: np.ndarray, size: int, chunks: int, *, of_nonzero: bool = False) -> None:
        self.share_RK, self.size, self.chunks, self.of_nonzero = share_RK, size, chunks, of_nonzero
        shape = share_RK.shape
        self.count_RK = np.zeros(shape, np.int64)
        self.high_RK = np.zeros(shape, np.int64)
        self.threshold_RK = np.zeros(shape, np.int64)
        self.need_RK = np.full(shape, size, np.int64)
        self.ties_RK = np.zeros(shape, np.int64)
        self.ties_RKC: Int64[np.ndarray, "R K C"] | None = None
        self.stages = 0 if (share_RK >= 1).all() and not of_nonzero else 3

    def blank(self, stage: int) -> np.ndarray:
        """Zeros for what a chunk shows in a stage."""
        rows, thresholds = self.share_RK.shape
        shapes = [(rows, _HIGH + 1), (rows, thresholds, _LOW), (rows, thresholds, self.chunks)]
        return np.zeros(shapes[stage], np.int32)

    def observe(
        self, stage: int, value_RB: Float32[np.ndarray, "R B"], chunk: int, counts: np.ndarray
    ) -> None:
        """Count the elements of a block."""
        for r, value_B in enumerate(value_RB):
            if stage == 0:
                histogram_high(value_B, counts[r])
                continue
            for k in range(self.share_RK.shape[1]):
                if stage == 1:
                    histogram_low(value_B, self.high_RK[r, k], counts[r, k])
                else:
                    counts[r, k, chunk] += count_equal(value_B, self.threshold_RK[r, k])

    def settle(self, stage: int, totals: np.ndarray) -> None:
        """Narrow the thresholds down; the third stage is left out where all ties are taken anyway."""
        rows, thresholds = self.share_RK.shape
        if stage == 2:
            self.ties_RKC = totals
            return
        for r in range(rows):
            for k in range(thresholds):
                if stage == 0:
                    basis = self.size - int(totals[r, _HIGH]) if self.of_nonzero else self.size
                    self.count_RK[r, k] = min(int(self.share_RK[r, k] * basis), self.size)
                    self.high_RK[r, k], above = _place(totals[r, :_HIGH], self.count_RK[r, k])
                    self.need_RK[r, k] = self.count_RK[r, k] - above
                else:
                    low, above = _place(totals[r, k], self.need_RK[r, k])
                    self._fix(r, k, low, above, totals[r, k])
        if stage == 1 and (self.need_RK == self.ties_RK).all():
            self.stages = 2

    def _fix(self, r: int, k: int, low: int, above: int, totals: np.ndarray) -> None:
        if self.count_RK[r, k] == 0:
            self.threshold_RK[r, k], self.need_RK[r, k] = _NOTHING, 0
            return
        self.threshold_RK[r, k] = (self.high_RK[r, k] << 15) | low
        self.need_RK[r, k] -= above
        self.ties_RK[r, k] = totals[low]

    def quota(self, chunk: int) -> Int64[np.ndarray, " RK"]:
        """How many elements on each threshold a chunk may take, flattened."""
        if self.ties_RKC is None:
            return np.full(self.need_RK.size, self.size, np.int64)
        before: np.ndarray = self.ties_RKC[:, :, :chunk].sum(2)
        left: np.ndarray = np.maximum(self.need_RK - before, 0)
        return left.reshape(-1)


def _place(count: np.ndarray, k: int | np.integer) -> tuple[int, int]:
    """The entry that has the k-th element from the top (0 for k = 0), and the number of elements above it."""
    if k <= 0:
        return 0, 0
    from_top = np.cumsum(count[::-1])
    place = int(np.searchsorted(from_top, k))
    return len(count) - 1 - place, int(from_top[place] - count[::-1][place])
