"""Averages with weights for every element: by its changes (VaRM), or by its Fisher information."""

# N inputs (pivot first), J = N - 1 targets, B elements of a block

import numpy as np

from fusionchat.merge.kernels.compiled import SPAN, exact


@exact
def _raise(ratio: np.ndarray, power: float) -> None:
    """Powers in place.

    1, 2 and 1/2 avoid the library's function, whose last bit differs from machine to machine.
    """
    if power == 2.0:
        for i in range(ratio.size):
            ratio[i] *= ratio[i]
    elif power == 0.5:
        for i in range(ratio.size):
            ratio[i] = np.sqrt(ratio[i])
    elif power != 1.0:
        for i in range(ratio.size):
            ratio[i] = ratio[i] ** power


@exact
def add_by_change(x_NB: np.ndarray, power: float, kept_J: np.ndarray, out_B: np.ndarray) -> None:
    """Write ``pivot + sum_j w_j delta_j`` in float64, with `variation_ratio` of each element as weights.

    Adds to ``kept_J`` how many elements of each target differ from the pivot's.
    """
    targets = kept_J.size
    square_JS, raised_JS = np.empty((targets, SPAN), np.float64), np.empty((targets, SPAN), np.float64)
    largest, total = np.empty(SPAN, np.float64), np.empty(SPAN, np.float64)
    for begin in range(0, out_B.size, SPAN):
        out = out_B[begin : min(out_B.size, begin + SPAN)]
        pivot = x_NB[0, begin : begin + out.size]
        for i in range(out.size):
            out[i] = 0.0
            largest[i] = 0.0
            total[i] = 0.0
        # 1. squared changes, and the largest of every element
        for j in range(targets):
            target, square, kept = x_NB[j + 1, begin : begin + out.size], square_JS[j], 0
            for i in range(out.size):
                delta = np.float64(target[i]) - np.float64(pivot[i])
                square[i] = delta * delta
                largest[i] = max(largest[i], square[i])
                kept += delta != 0
            kept_J[j] += kept
        # 2. (square / largest)^power, and its sum over the targets
        for j in range(targets):
            square, raised = square_JS[j], raised_JS[j]
            for i in range(out.size):
                raised[i] = square[i] / (largest[i] if largest[i] > 0 else 1.0)
            _raise(raised[: out.size], power)
            for i in range(out.size):
                raised[i] = raised[i] if square[i] > 0 else 0.0
                total[i] += raised[i]
        # 3. the weighted changes, added to the pivot
        for j in range(targets):
            target, raised = x_NB[j + 1, begin : begin + out.size], raised_JS[j]
            for i in range(out.size):
                weight = raised[i] / (total[i] if total[i] > 0 else 1.0)
                out[i] += weight * (np.float64(target[i]) - np.float64(pivot[i]))
        for i in range(out.size):
            out[i] += np.float64(pivot[i])


@exact
def average_by_information(
    x_NB: np.ndarray, fisher_JB: np.ndarray, weight_J: np.ndarray, kept_J: np.ndarray, out_B: np.ndarray
) -> int:
    """Write ``sum_j w_j F_j target_j / sum_j w_j F_j`` in float64; without ``F`` if all are 0.

    Adds to ``kept_J`` how many elements of each target have a weight other than 0. Returns how many of the
    information's values are negative, which makes the average meaningless; where one is NaN, so is the
    average.
    """
    negative = 0
    informed, total = np.empty(SPAN, np.float64), np.empty(SPAN, np.float64)
    for begin in range(0, out_B.size, SPAN):
        out = out_B[begin : min(out_B.size, begin + SPAN)]
        for i in range(out.size):
            out[i] = 0.0
            informed[i] = 0.0
            total[i] = 0.0
        for j in range(weight_J.size):
            weight, fisher = weight_J[j], fisher_JB[j, begin : begin + out.size]
            for i in range(out.size):
                informed[i] += weight * np.float64(fisher[i])
                negative += fisher[i] < 0
        for j in range(weight_J.size):
            weight, fisher = weight_J[j], fisher_JB[j, begin : begin + out.size]
            target, kept = x_NB[j + 1, begin : begin + out.size], 0
            for i in range(out.size):
                own = weight * np.float64(fisher[i]) if informed[i] != 0 else weight
                out[i] += own * np.float64(target[i])
                total[i] += own
                kept += own != 0
            kept_J[j] += kept
        for i in range(out.size):
            out[i] /= total[i]
    return negative
