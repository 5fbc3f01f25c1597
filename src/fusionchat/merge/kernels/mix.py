"""One weight per target: the mixture of a block, in float64 from the stored inputs, rounded once.

    out = pivot_scale * pivot + scale * (sum_j weight_j * v_j) / divisor

v_j is the target, or its change against the pivot. The order of operations is the formula's, so that exact
halves between two stored values (common among bfloat16 inputs) stay exact and are rounded to even.
"""

# N inputs (pivot first), J = N - 1 targets, B elements of a block

from typing import NamedTuple

import numpy as np

from fusionchat.merge.kernels.bf16 import Scratch, store_span
from fusionchat.merge.kernels.compiled import SPAN, exact


class Factors(NamedTuple):
    """The factors of the formula.

    Attributes:
        weight_J: One weight per target, float64.
        of_changes: Whether v_j is the target's change, not the target.
        pivot_scale: Multiplies the pivot.
        scale: Multiplies the sum.
        divisor: Divides the sum.
    """

    weight_J: np.ndarray
    of_changes: bool
    pivot_scale: float
    scale: float
    divisor: float


@exact
def mix_span(x_NB: np.ndarray, begin: int, factors: Factors, out: np.ndarray) -> None:
    """`mix` of the elements from ``begin`` on, for the length of ``out``."""
    weight_J, of_changes, pivot_scale, scale, divisor = factors
    end, own = begin + out.size, 1.0 if of_changes else 0.0
    pivot = x_NB[0, begin:end]
    for i in range(out.size):
        out[i] = 0.0
    for j in range(weight_J.size):
        weight, target = weight_J[j], x_NB[j + 1, begin:end]
        for i in range(out.size):
            out[i] += weight * (np.float64(target[i]) - own * np.float64(pivot[i]))
    if divisor == 1.0:
        for i in range(out.size):
            out[i] = out[i] * scale + pivot_scale * np.float64(pivot[i])
    else:  # slow, so only if multiplying by the inverse would not be exact
        for i in range(out.size):
            out[i] = out[i] * scale / divisor + pivot_scale * np.float64(pivot[i])


@exact
def mix(x_NB: np.ndarray, factors: Factors, out_B: np.ndarray) -> None:
    """Write the mixture in float64, one operation at a time."""
    for begin in range(0, out_B.size, SPAN):
        out = out_B[begin : min(out_B.size, begin + SPAN)]
        mix_span(x_NB, begin, factors, out)


@exact
def mix_bf16(x_NB: np.ndarray, factors: Factors, raw_B: np.ndarray, sums: np.ndarray) -> None:
    """`mix` and `fusionchat.merge.kernels.bf16.store` in one pass, within the first-level cache."""
    space, wide, narrow = np.empty(SPAN, np.float64), np.empty(SPAN, np.float64), np.empty(SPAN, np.float32)
    for begin in range(0, raw_B.size, SPAN):
        end = min(raw_B.size, begin + SPAN)
        value, scratch = space[: end - begin], Scratch(wide[: end - begin], narrow[: end - begin])
        mix_span(x_NB, begin, factors, value)
        store_span(value, x_NB[0, begin:end], scratch, raw_B[begin:end], sums)
