"""bfloat16 and float16: decoding, and rounding float64 to them once, to nearest, ties to even.

A bfloat16 is the upper half of a float32, so decoding is a shift. Rounding goes from float64 straight to it:
through float32 it would round twice.

    float64   s eeeeeeeeeee mmmmmmm|mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm     1 + 11 + 52 bits
                            7 kept  45 cut: add half of the last kept place less one, and one more if that place is
                                    odd (ties to even); what carries goes up; clear the 45 (`_CUT`, `_HALF`, `_KEPT`)
    float32   s eeeeeeee    mmmmmmm|mmmmmmmmmmmmmmmm                                   1 + 8 + 23 bits: exact, 16 zeros
    bfloat16  s eeeeeeee    mmmmmmm                                                    1 + 8 + 7 bits: the upper 16

Below 2^-126 a bfloat16's last place is 2^-133 whatever the value. There, adding and subtracting 1.5 * 2^-81
(`_GRID`), whose last place in float64 is 2^-133, does the rounding.
"""

# B elements of a block

from typing import NamedTuple

import numpy as np

from fusionchat.merge.kernels.compiled import SPAN, compiled, exact

_ONE, _SIXTEEN = np.int64(1), np.uint32(16)
_CUT, _HALF, _KEPT = np.int64(45), np.int64(2**44 - 1), np.int64(-(2**45))
_MAGNITUDE = np.int64(2**63 - 1)
_LEAST, _NORMAL = 2.0**-126, np.int64((1023 - 126) << 52)
_BEYOND = np.int64((1023 + 128) << 52)
_GRID = 1.5 * 2.0**-81


class Scratch(NamedTuple):
    """Arrays that `round_bf16` writes besides the bit patterns: the results as float64 and float32."""

    wide: np.ndarray
    narrow: np.ndarray


@compiled
def decode_bf16(raw_B: np.ndarray, out_B: np.ndarray) -> None:
    """Write bfloat16 bit patterns (uint16) as float32."""
    bits = out_B.view(np.uint32)
    for i in range(raw_B.size):
        bits[i] = np.uint32(raw_B[i]) << _SIXTEEN


@exact
def to_odd(value_B: np.ndarray, out_B: np.ndarray) -> None:
    """Round float64 to float32 toward zero, with the last bit set if the result is inexact.

    Rounding that again to bfloat16 or float16 yields the correctly rounded value (Boldo and Melquiond, 2008).
    """
    bits = out_B.view(np.int32)
    for i in range(value_B.size):
        out_B[i] = np.float32(value_B[i])
    for i in range(value_B.size):
        back, value = np.float64(out_B[i]), value_B[i]
        bits[i] = (bits[i] - np.int32(abs(back) > abs(value))) | np.int32(back != value)


@exact
def round_bf16(value_B: np.ndarray, wide_B: np.ndarray, narrow_B: np.ndarray, raw_B: np.ndarray) -> bool:
    """Round float64 to bfloat16, to nearest, ties to even; returns whether all results are finite.

    Args:
        value_B: The values to round.
        wide_B: The results as float64, except those beyond bfloat16's range.
        narrow_B: The results as float32.
        raw_B: Their bit patterns.
    """
    bits, cut = value_B.view(np.int64), wide_B.view(np.int64)
    # 1. round to 7 places, in whole numbers
    for i in range(value_B.size):
        cut[i] = (bits[i] + _HALF + ((bits[i] >> _CUT) & _ONE)) & _KEPT
    # 2. the largest magnitude, and the least one above 0
    largest, smallest = np.int64(0), _MAGNITUDE
    for i in range(value_B.size):
        size = cut[i] & _MAGNITUDE
        largest = max(largest, size)
        smallest = min(smallest, size if size != 0 else _MAGNITUDE)
    # 3. values below the least normal number are rounded on the grid
    if smallest < _NORMAL:
        for i in range(value_B.size):
            if abs(value_B[i]) < _LEAST:
                wide_B[i] = np.copysign((value_B[i] + _GRID) - _GRID, value_B[i])
    # 4. to float32, which is exact, and its upper half
    for i in range(value_B.size):
        narrow_B[i] = np.float32(wide_B[i])
    half = narrow_B.view(np.uint32)
    for i in range(value_B.size):
        raw_B[i] = np.uint16(half[i] >> _SIXTEEN)
    return bool(largest < _BEYOND)


@compiled
def _squares(value_B: np.ndarray, pivot_B: np.ndarray, stored_B: np.ndarray, sums: np.ndarray) -> None:
    """Add to ``sums``: squared change against the pivot, squared rounding error."""
    change, loss = 0.0, 0.0
    for i in range(value_B.size):
        moved = value_B[i] - np.float64(pivot_B[i])
        error = np.float64(stored_B[i]) - value_B[i]
        change += moved * moved
        loss += error * error
    sums[0] += change
    sums[1] += loss


@exact
def store_span(
    value: np.ndarray, pivot: np.ndarray, scratch: Scratch, raw: np.ndarray, sums: np.ndarray
) -> None:
    """Round one span to bfloat16 and add to the sums."""
    if not round_bf16(value, scratch.wide, scratch.narrow, raw):
        sums[2] += 1
    _squares(value, pivot, scratch.wide, sums)


@exact
def _store_bf16(value_B: np.ndarray, pivot_B: np.ndarray, raw_B: np.ndarray, sums: np.ndarray) -> None:
    wide, narrow = np.empty(SPAN, np.float64), np.empty(SPAN, np.float32)
    for begin in range(0, value_B.size, SPAN):
        end = min(value_B.size, begin + SPAN)
        scratch = Scratch(wide[: end - begin], narrow[: end - begin])
        store_span(value_B[begin:end], pivot_B[begin:end], scratch, raw_B[begin:end], sums)


def store(value_B: np.ndarray, pivot_B: np.ndarray, raw_B: np.ndarray, sums: np.ndarray) -> None:
    """Round float64 values once, to the type of ``raw_B`` (uint16 for bfloat16), and add to ``sums``.

    These are the squared change against the pivot, the squared rounding error, and a count if a value is not
    finite.
    """
    if raw_B.dtype == np.uint16:
        _store_bf16(value_B, pivot_B, raw_B, sums)
        return
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # values that are not finite are counted and refused by name
        if raw_B.dtype == np.float32:
            raw_B[:] = value_B
            stored_B = raw_B
        else:
            stored_B = np.empty(value_B.size, np.float32)
            to_odd(value_B, stored_B)
            raw_B[:] = stored_B
            stored_B[:] = raw_B
    _squares(value_B, pivot_B, stored_B, sums)
    sums[2] += not np.isfinite(stored_B).all()
