"""Inner products of the pivot and the targets' changes, and the number of sign conflicts.

Sums are float32 inside a span of 1,024 elements and float64 above.
"""

# N inputs (pivot first), J = N - 1 targets, B elements of a block

import numpy as np

from fusionchat.merge.kernels.compiled import SPAN, compiled

_ONE = np.uint32(1)


@compiled
def subtract(x_NB: np.ndarray, delta_JB: np.ndarray) -> None:
    """Write every target's change against the pivot, float32."""
    pivot = x_NB[0]
    for j in range(delta_JB.shape[0]):
        target, delta = x_NB[j + 1], delta_JB[j]
        for i in range(delta.size):
            delta[i] = target[i] - pivot[i]


@compiled
def _inner(left: np.ndarray, right: np.ndarray) -> np.float32:
    total = np.float32(0)
    for i in range(left.size):
        total += left[i] * right[i]
    return total


@compiled
def _conflicts(delta_JB: np.ndarray, begin: int, end: int, moves: np.ndarray) -> int:
    """Number of elements that one target raises and another lowers, at most `SPAN` of them."""
    for j in range(delta_JB.shape[0]):
        delta = delta_JB[j, begin:end]
        for i in range(delta.size):
            move = np.uint32(delta[i] > 0) | (np.uint32(delta[i] < 0) << _ONE)
            moves[i] = move if j == 0 else moves[i] | move
    count = np.float32(0)  # exact here, and vectorised
    for i in range(end - begin):
        count += np.float32(1) if moves[i] == 3 else np.float32(0)
    return int(count)


@compiled
def measure(x_NB: np.ndarray, delta_JB: np.ndarray, with_pivot: bool, gram_NN: np.ndarray) -> int:
    """Add inner products to the lower triangle of ``gram_NN``; returns the number of sign conflicts.

    Index 0 is the pivot (only with ``with_pivot``), index j the change of target j. ``delta_JB`` is written
    first.
    """
    targets, size = delta_JB.shape
    moves, conflicts = np.empty(SPAN, np.uint32), 0
    for begin in range(0, size, SPAN):
        end = min(size, begin + SPAN)
        pivot = x_NB[0, begin:end]
        for j in range(targets):
            target, delta = x_NB[j + 1, begin:end], delta_JB[j, begin:end]
            for i in range(delta.size):
                delta[i] = target[i] - pivot[i]
            for k in range(j + 1):
                gram_NN[j + 1, k + 1] += _inner(delta, delta_JB[k, begin:end])
            if with_pivot:
                gram_NN[j + 1, 0] += _inner(delta, pivot)
        if with_pivot:
            gram_NN[0, 0] += _inner(pivot, pivot)
        if targets > 1:
            conflicts += _conflicts(delta_JB, begin, end, moves)
    return conflicts


@compiled
def add_squares(delta_JB: np.ndarray, total_J: np.ndarray) -> None:
    """Add the sum of squares of every target's changes."""
    for begin in range(0, delta_JB.shape[1], SPAN):
        end = min(delta_JB.shape[1], begin + SPAN)
        for j in range(delta_JB.shape[0]):
            delta = delta_JB[j, begin:end]
            total = np.float32(0)
            for i in range(delta.size):
                total += delta[i] * delta[i]
            total_J[j] += total
