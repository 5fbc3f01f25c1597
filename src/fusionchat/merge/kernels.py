"""The inner loops of merging: decode, mix, round, sum. Compiled once, cached on disk, free of the interpreter's lock.

All of them work on one block of flattened elements that fits the second-level cache. Loops run over slices that
begin at 0, because the compiler vectorises only those. Sums are fp32 inside `SPAN` elements and fp64 above, in
a fixed order, so that a result depends on neither threads nor block size.
"""

# N inputs (pivot first), J = N - 1 targets, B elements of a block

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

BLOCK = 32768
SPAN = 1024

_MANTISSA_ROUND = np.uint32(0x7FFF)
_ONE, _SIXTEEN = np.uint32(1), np.uint32(16)
_UPPER = np.uint32(0xFFFF0000)
_EXPONENT = np.int32(0x7F800000)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel: cached on disk, without the lock, sums may be reordered and fused but NaN and inf are kept."""
    return njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})(
        function
    )


def exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel without any licence to change the arithmetic."""
    return njit(cache=True, nogil=True, error_model="numpy")(function)


@compiled
def decode_bf16(raw_B: np.ndarray, out_B: np.ndarray) -> None:
    """Write bfloat16 bit patterns (uint16) as float32."""
    bits = out_B.view(np.uint32)
    for i in range(raw_B.size):
        bits[i] = np.uint32(raw_B[i]) << _SIXTEEN


@compiled
def subtract(x_NB: np.ndarray, delta_JB: np.ndarray) -> None:
    """Write every target's change against the pivot, float32."""
    pivot = x_NB[0]
    for j in range(delta_JB.shape[0]):
        target, delta = x_NB[j + 1], delta_JB[j]
        for i in range(delta.size):
            delta[i] = target[i] - pivot[i]


@compiled
def products(pivot_B: np.ndarray, delta_JB: np.ndarray, with_pivot: bool, gram_NN: np.ndarray) -> None:
    """Add the inner products of pivot (index 0, only if asked for) and changes to the lower triangle of ``gram_NN``."""
    targets, size = delta_JB.shape
    for begin in range(0, size, SPAN):
        end = min(size, begin + SPAN)
        for j in range(targets):
            left = delta_JB[j, begin:end]
            for k in range(j + 1):
                right = delta_JB[k, begin:end]
                total = np.float32(0)
                for i in range(left.size):
                    total += left[i] * right[i]
                gram_NN[j + 1, k + 1] += total
        if with_pivot:
            right = pivot_B[begin:end]
            for n in range(targets + 1):
                left = pivot_B[begin:end] if n == 0 else delta_JB[n - 1, begin:end]
                total = np.float32(0)
                for i in range(left.size):
                    total += left[i] * right[i]
                gram_NN[n, 0] += total


@compiled
def conflicts(delta_JB: np.ndarray) -> int:
    """Number of elements that one target raises and another lowers."""
    targets, size = delta_JB.shape
    least, most = np.empty(SPAN, np.float32), np.empty(SPAN, np.float32)
    count = 0
    for begin in range(0, size, SPAN):
        end = min(size, begin + SPAN)
        first = delta_JB[0, begin:end]
        for i in range(first.size):
            least[i] = first[i]
            most[i] = first[i]
        for j in range(1, targets):
            delta = delta_JB[j, begin:end]
            for i in range(delta.size):
                least[i] = min(least[i], delta[i])
                most[i] = max(most[i], delta[i])
        here = 0
        for i in range(first.size):
            here += (least[i] < 0) & (most[i] > 0)
        count += here
    return count


@exact
def mix(
    x_NB: np.ndarray,
    weight_J: np.ndarray,
    of_changes: bool,
    pivot_scale: float,
    scale: float,
    divisor: float,
    out_B: np.ndarray,
) -> None:
    """Write ``pivot_scale * pivot + scale * (sum_j weight_j * v_j) / divisor`` in float64, one operation at a time.

    v_j is the target, or its change against the pivot. The order of operations is the formula's, so that exact
    halves between two stored values (common among bfloat16 inputs) stay exact and are rounded to even.
    """
    for begin in range(0, out_B.size, SPAN):
        out = out_B[begin : min(out_B.size, begin + SPAN)]
        pivot = x_NB[0, begin : begin + out.size]
        for i in range(out.size):
            out[i] = 0.0
        for j in range(weight_J.size):
            weight, target = weight_J[j], x_NB[j + 1, begin : begin + out.size]
            if of_changes:
                for i in range(out.size):
                    out[i] += weight * (np.float64(target[i]) - np.float64(pivot[i]))
            else:
                for i in range(out.size):
                    out[i] += weight * np.float64(target[i])
        if scale != 1.0 or divisor != 1.0:
            for i in range(out.size):
                out[i] = scale * out[i] / divisor
        if pivot_scale != 0.0:
            for i in range(out.size):
                out[i] += pivot_scale * np.float64(pivot[i])


@exact
def to_odd(value_B: np.ndarray, out_B: np.ndarray) -> None:
    """Round float64 to float32 toward zero, with the last bit set where it was inexact.

    Rounding that again to bfloat16 or float16 gives the correctly rounded value (Boldo and Melquiond, 2008).
    """
    bits = out_B.view(np.int32)
    for i in range(value_B.size):
        out_B[i] = np.float32(value_B[i])
    for i in range(value_B.size):
        back, value = np.float64(out_B[i]), value_B[i]
        bits[i] = (bits[i] - np.int32(abs(back) > abs(value))) | np.int32(back != value)


@exact
def round_bf16(odd_B: np.ndarray, raw_B: np.ndarray) -> None:
    """Round float32 to bfloat16, to nearest, ties to even: bit patterns to ``raw_B``, values back to ``odd_B``."""
    bits = odd_B.view(np.uint32)
    for i in range(raw_B.size):
        value = (bits[i] + _MANTISSA_ROUND + ((bits[i] >> _SIXTEEN) & _ONE)) & _UPPER
        raw_B[i] = np.uint16(value >> _SIXTEEN)
        bits[i] = value


@compiled
def account(value_B: np.ndarray, pivot_B: np.ndarray, stored_B: np.ndarray, sums: np.ndarray) -> None:
    """Add to ``sums``: squared change against the pivot, squared rounding error, number of values not finite."""
    change, loss, bad = 0.0, 0.0, 0
    bits = stored_B.view(np.int32)
    for i in range(value_B.size):
        moved = value_B[i] - np.float64(pivot_B[i])
        error = np.float64(stored_B[i]) - value_B[i]
        change += moved * moved
        loss += error * error
    for i in range(value_B.size):
        bad += (bits[i] & _EXPONENT) == _EXPONENT
    sums[0] += change
    sums[1] += loss
    sums[2] += bad
