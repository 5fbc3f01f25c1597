# N rows, T tokens of a tile, K kept tokens
"""The loops of `fusionchat.represent.select`: one pass over the logits of a row. PURE.

They find a row's largest logits and the sum of the others.

A row's K + 1 largest logits so far are a heap with the worst at its root. A logit larger than the root is
swapped with it, so that a tile, once scanned, holds exactly the rest, and no element of the rest is larger
than the root. The root is therefore the reference of the rest's sum, ``1 + sum of exp(x - root)``, which is
exact however small the rest is beside the kept: it is never a difference.

The heap has one entry more than is kept: its root is the largest logit of the rest.

Sums are in a fixed order (`sum_exp`), and numba may not reorder the arithmetic: the machine code, loaded from
disk or compiled afresh, gives the same bits on every processor.

Ties are broken by the lower id. NaN is never larger than anything; it stays in the tile and makes the sum
NaN.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from fusionchat.compiled import njit

SPAN = 4096
"""Tokens that are scanned and then summed: 16 KiB, which fit in the first-level cache."""
BLOCK = 64
"""Tokens that are compared with the root at a time; few blocks have a larger one."""
LANES, NARROW = 64, 8
"""Sums that are kept side by side: four AVX-512 vectors at a time.

With them, the compiler can use vectors without reordering the additions.
"""

_LOG2E = np.float32(1.4426950408889634)
_SHIFT, _MANTISSA = np.float32(1.5 * 2**23), np.int32(23)
_LEAST = np.float32(-87.0)
"""exp of anything less is taken as exp(-87) = 1.6e-38, negligible beside a sum of at least 1."""
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_C1, _C2, _C3, _C4, _C5 = (
    np.float32(c)
    for c in (0.6931470036506653, 0.24022242426872253, 0.05550733581185341, 0.009671512991189957, 0.001326472731307149)
)  # fmt: skip
"""2^g = 1 + g (C1 + ...) for g in [-1/2, 1/2], with the least largest relative error, 9.2e-8.

The coefficients were found by reweighted least squares.
"""


class Best(NamedTuple):
    """The state of rows whose tokens have been seen in part.

    Attributes:
        values: fp32 [N, K + 1], the largest logits, a heap: the root is the worst. -inf where nothing was
            larger.
        ids: int32 [N, K + 1], their tokens.
        sums: fp64 [N], the sum of exp(x - root) over all others that were seen.
        labels: int64 [N], the tokens that follow.
        own: fp32 [N], their logits.
        padding: fp64 [N, 2], the largest logit m past the tokenizer's tokens and the sum of exp(x - m) over
            those.
    """

    values: NDArray[np.float32]
    ids: NDArray[np.int32]
    sums: NDArray[np.float64]
    labels: NDArray[np.int64]
    own: NDArray[np.float32]
    padding: NDArray[np.float64]


def _multiply_add(_: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once.

    One instruction, with the same bits whatever the compiler makes of the code around it.
    """

    def generate(_: Any, builder: ir.IRBuilder, __: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


_fma: Any = intrinsic(_multiply_add)


@njit(nogil=True, error_model="numpy", inline="always")
def exp_under(x: np.float32, reference: np.float32) -> np.float32:
    """exp(x - reference) for x at most the reference, in fp32; NaN for NaN.

    exp(t) = 2^n 2^g with n the integer nearest to t / ln 2; 2^n is made from the exponent's bits. The
    relative error is under 2e-7 + 8e-8 |t|. Without branches and calls, a loop over it is vectorised.
    """
    t = x - reference
    t = _LEAST if t < _LEAST else t  # NaN stays
    m = t * _LOG2E
    n = np.rint(m)
    g = m - n
    power = np.float32(_fma(g, _fma(g, _fma(g, _fma(g, _fma(g, _C5, _C4), _C3), _C2), _C1), _ONE))
    exponent = np.int32(np.float32(n + _SHIFT).view(np.int32) << _MANTISSA)
    return np.int32(power.view(np.int32) + exponent).view(np.float32)


@njit(nogil=True, error_model="numpy", inline="always")
def add_lanes(x_T: NDArray[np.float32], reference: np.float32, lanes: NDArray[np.float32]) -> int:
    """Add exp(x_i - reference) to lane i mod L; returns how many x were added, a multiple of L."""
    whole = x_T.size // lanes.size * lanes.size
    for at in range(0, whole, lanes.size):
        part = x_T[at : at + lanes.size]
        for i in range(lanes.size):
            lanes[i] += exp_under(part[i], reference)
    return whole


@njit(nogil=True, error_model="numpy")
def fold(lanes: NDArray[np.float32], size: int) -> np.float32:
    """The sum of the first ``size`` lanes, a power of two.

    The upper half is added to the lower until one lane is left.
    """
    half = size // 2
    while half:
        for i in range(half):
            lanes[i] += lanes[half + i]
        half //= 2
    return lanes[0]


@njit(nogil=True, error_model="numpy")
def sum_exp(x_T: NDArray[np.float32], reference: np.float32) -> np.float32:
    """The sum of exp(x - reference) for x at most the reference, in fp32; NaN where one is NaN.

    The order is fixed: 64 lanes, then 8 for what is left, then one by one. It is the order that LLVM chose
    for AVX-512 when it could reorder, so that older captures keep their bits.
    """
    lanes = np.zeros(LANES, np.float32)
    # 1. the lanes as four vectors of 16, which are added up one after the other
    done, quarter = add_lanes(x_T, reference, lanes), LANES // 4
    for i in range(quarter):
        lanes[i] = lanes[i] + lanes[quarter + i] + lanes[2 * quarter + i] + lanes[3 * quarter + i]
    total = fold(lanes, quarter)
    if done == x_T.size:
        return total
    # 2. what is left, in narrow lanes of which the first begins with the total
    lanes[0], lanes[1:NARROW] = total, _ZERO
    done += add_lanes(x_T[done:], reference, lanes[:NARROW])
    total = fold(lanes, NARROW)
    # 3. and one by one
    for x in x_T[done:]:
        total += exp_under(x, reference)
    return total


@njit(nogil=True, error_model="numpy")
def next_larger(x_T: NDArray[np.float32], begin: int, least: np.float32) -> int:
    """The start of the first block at or after ``begin`` with an element over ``least``; T if none."""
    for at in range(begin, x_T.size, BLOCK):
        block = x_T[at : at + BLOCK]
        found = np.int32(0)
        for i in range(block.size):
            found |= np.int32(block[i] > least)
        if found:
            return at
    return x_T.size


@njit(nogil=True, error_model="numpy", inline="always")
def is_worse(value: float, token: int, other: float, other_token: int) -> bool:
    """Whether a token ranks below another: it is less likely, or as likely with a higher id."""
    return value < other or (value == other and token > other_token)


@njit(nogil=True, error_model="numpy")
def sink(values: NDArray[np.float32], ids: NDArray[np.int32], size: int) -> None:
    """Sift the root of a heap of ``size`` entries down to its place."""
    value, token, at = values[0], ids[0], 0
    while 2 * at + 1 < size:
        below = 2 * at + 1
        if below + 1 < size and is_worse(values[below + 1], ids[below + 1], values[below], ids[below]):
            below += 1
        if not is_worse(values[below], ids[below], value, token):
            break
        values[at], ids[at] = values[below], ids[below]
        at = below
    values[at], ids[at] = value, token


@njit(nogil=True, error_model="numpy")
def exchange(
    x_T: NDArray[np.float32], begin: int, first: int, values: NDArray[np.float32], ids: NDArray[np.int32]
) -> None:
    """Swap the elements of the block at ``begin`` that are larger than the heap's root with it."""
    for i in range(begin, min(begin + BLOCK, x_T.size)):
        if x_T[i] > values[0]:
            x_T[i], values[0] = values[0], x_T[i]
            ids[0] = first + i
            sink(values, ids, values.size)


@njit(nogil=True, error_model="numpy")
def add_tokens(x_T: NDArray[np.float32], first: int, row: int, best: Best) -> None:
    """Add the logits of tokens first..first + T - 1 to a row; the tile then holds the rest."""
    values, ids = best.values[row], best.ids[row]
    for begin in range(0, x_T.size, SPAN):
        span, root = x_T[begin : begin + SPAN], values[0]
        # 1. swap elements that are larger than the root with it
        at = next_larger(span, 0, values[0])
        while at < span.size:
            exchange(span, at, first + begin, values, ids)
            at = next_larger(span, at + BLOCK, values[0])
        # 2. the sum's reference is the new root; while that is -inf, the rest has only -inf and NaN
        if values[0] > root:
            best.sums[row] *= np.exp(np.float64(root) - np.float64(values[0]))
        reference = values[0] if values[0] > -np.inf else np.float32(0.0)
        # 3. the rest of the span
        total = sum_exp(span, reference)
        if values[0] > -np.inf or np.isnan(total):
            best.sums[row] += np.float64(total)


@njit(nogil=True, error_model="numpy")
def add_padding(x_T: NDArray[np.float32], row: int, best: Best) -> None:
    """Add the logits of the head's padding past the tokenizer to a row's tail."""
    largest, total = best.padding[row]
    for x in x_T:
        if x > largest:
            total *= np.exp(largest - x)
            largest = np.float64(x)
        total += np.exp(x - largest) if x != -np.inf else 0.0
    best.padding[row, 0], best.padding[row, 1] = largest, total


@njit(nogil=True, error_model="numpy")
def add_rows(
    logits_NT: NDArray[np.float32], first: int, vocabulary: int, rows: tuple[int, int], best: Best
) -> None:
    """Add a tile to the rows low..high-1 of ``best``; row 0 of the tile is row ``low``.

    Args:
        logits_NT: Logits of the tokens first..first + T - 1; overwritten.
        first: The tile's first token.
        vocabulary: Tokens of the tokenizer.
        rows: low and high.
        best: The state of all rows; updated.
    """
    low, high = rows
    inside = min(max(vocabulary - first, 0), logits_NT.shape[1])
    for row in range(low, high):
        tile = logits_NT[row - low]
        own = best.labels[row] - first
        if 0 <= own < tile.size:
            best.own[row] = tile[own]
        add_tokens(tile[:inside], first, row, best)
        add_padding(tile[inside:], row, best)


@njit(nogil=True, error_model="numpy")
def finish(best: Best, rows: tuple[int, int], tail: NDArray[np.float32], label: NDArray[np.float32]) -> None:
    """Turn the heaps of rows low..high-1 into sorted log-probabilities; write tails and labels.

    In fp64, rounded once: with the kept values v_j, the root r and the sum s of the others, the tail is
    log(exp(r) (1 + s)), to which padding adds, and log Z = log(sum of exp(v_j) + the tail).
    """
    for row in range(rows[0], rows[1]):
        values, ids = best.values[row], best.ids[row]
        # 1. heap sort: the root goes to the end, again and again
        for size in range(values.size - 1, 0, -1):
            values[0], values[size] = values[size], values[0]
            ids[0], ids[size] = ids[size], ids[0]
            sink(values, ids, size)
        # 2. all masses relative to the largest logit
        root, padding = np.float64(values[-1]), best.padding[row]
        peak = max(np.float64(values[0]), padding[0])
        rest = np.exp(root - peak) * (1.0 + best.sums[row]) if root > -np.inf else best.sums[row]
        rest += np.exp(padding[0] - peak) * padding[1] if padding[0] > -np.inf else padding[1]
        kept = 0.0
        for j in range(values.size - 1):
            kept += np.exp(values[j] - peak)
        # 3. the tail on its own, so that it is exact where exp(root - peak) is 0
        log_z = peak + np.log(kept + rest)
        log_root = root + np.log1p(best.sums[row]) if root > -np.inf else root + best.sums[row]
        log_padding = padding[0] + np.log(padding[1]) if padding[0] > -np.inf else padding[0] + padding[1]
        tail[row] = np.logaddexp(log_root, log_padding) - log_z
        label[row] = best.own[row] - log_z
        for j in range(values.size - 1):
            values[j] = values[j] - log_z
