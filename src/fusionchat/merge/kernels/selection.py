"""Magnitudes counted and marked by their float32 bit patterns, which sort like the values.

    s eeeeeeeemmmmmmmm mmmmmmmmmmmmmmm     without the sign: 16 high bits, 15 low bits

`fusionchat.merge.methods.largest` finds the k largest of a stream with them.
"""

# B elements of a block

import numpy as np

from fusionchat.merge.kernels.compiled import SPAN, compiled

HIGH, LOW = 2**16, 2**15
"""Number of patterns of the high bits, and of the low bits."""
_MAGNITUDE = np.uint32(0x7FFFFFFF)
_LOW_MASK, _LOW_BITS = np.uint32(0x7FFF), np.uint32(15)
NOTHING = 2**32 - 1
"""A threshold that no magnitude reaches."""


@compiled
def count_high_bits(value_B: np.ndarray, count: np.ndarray) -> None:
    """Count elements by the upper 16 bits of their magnitude; one more entry at the end counts zeros."""
    bits = value_B.view(np.uint32)
    zeros = 0
    for i in range(bits.size):
        zeros += (bits[i] & _MAGNITUDE) == 0
    count[HIGH] += zeros
    for i in range(bits.size):
        count[(bits[i] & _MAGNITUDE) >> _LOW_BITS] += 1


@compiled
def count_low_bits(value_B: np.ndarray, high: int, count: np.ndarray) -> None:
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
    """Mark the elements above the threshold and the first ``quota`` on it; returns the rest of the quota."""
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
