"""Adding pruned changes to the pivot: all of them, or only those with the elected sign."""

# J targets, B elements of a block

from typing import NamedTuple

import numpy as np

from fusionchat.merge.kernels.compiled import SPAN, exact


class All(NamedTuple):
    """How `add_all` adds.

    Attributes:
        weight_J: Factor of each target's changes, float64.
        scale: Multiplies the sum.
        divisor: Divides the sum.
        by_chance: Whether pruning left, instead of a change, the chance that it is divided by.
    """

    weight_J: np.ndarray
    scale: float = 1.0
    divisor: float = 1.0
    by_chance: bool = False


class Elected(NamedTuple):
    """How `add_elected` adds.

    Attributes:
        vote_J: Factor of each target's changes in the vote on the sign, float64.
        weight_J: Their factor in the sum.
        share_J: What a target that agrees adds to the divisor.
        scale: Multiplies the sum.
        normalize: Whether to divide by the shares.
        by_chance: As in `All`.
    """

    vote_J: np.ndarray
    weight_J: np.ndarray
    share_J: np.ndarray
    scale: float = 1.0
    normalize: bool = True
    by_chance: bool = False


@exact
def _change(
    pivot: np.ndarray, target: np.ndarray, kept: np.ndarray, by_chance: bool, out: np.ndarray
) -> None:
    """Write a target's kept changes in float64, from the stored values; 0 where a change was dropped."""
    if by_chance:
        for i in range(out.size):
            chance = np.float64(kept[i])
            change = (np.float64(target[i]) - np.float64(pivot[i])) / (chance if chance != 0 else 1.0)
            out[i] = change if chance != 0 else 0.0
    else:
        for i in range(out.size):
            out[i] = np.float64(target[i]) - np.float64(pivot[i]) if kept[i] != 0 else 0.0


@exact
def add_all(x_NB: np.ndarray, kept_JB: np.ndarray, how: All, out_B: np.ndarray) -> None:
    """Write ``pivot + scale * (sum_j weight_j * change_j) / divisor`` in float64.

    ``kept_JB`` is 0 where a change was dropped. The changes themselves are computed from ``x_NB``.
    """
    weight_J, scale, divisor, by_chance = how
    space = np.empty(SPAN, np.float64)
    for begin in range(0, out_B.size, SPAN):
        end = min(out_B.size, begin + SPAN)
        out, change, pivot = out_B[begin:end], space[: end - begin], x_NB[0, begin:end]
        for i in range(out.size):
            out[i] = 0.0
        for j in range(weight_J.size):
            weight = weight_J[j]
            _change(pivot, x_NB[j + 1, begin:end], kept_JB[j, begin:end], by_chance, change)
            for i in range(out.size):
                out[i] += weight * change[i]
        if divisor != 1.0:
            for i in range(out.size):
                out[i] = np.float64(pivot[i]) + scale * out[i] / divisor
        else:
            for i in range(out.size):
                out[i] = np.float64(pivot[i]) + scale * out[i]


@exact
def add_elected(x_NB: np.ndarray, kept_JB: np.ndarray, how: Elected, out_B: np.ndarray) -> None:
    """Write ``pivot + scale * sum_agreeing(weight_j * change_j)``, averaged if asked.

    The average divides by the sum of the agreeing shares.

    The sign of an element is that of ``sum_j vote_j * change_j``, positive where it is 0; a change agrees if
    ``vote_j * change_j`` is not 0 and has that sign. All in float64. ``kept_JB`` is as in `add_all`.
    """
    vote_J, weight_J, share_J, scale, normalize, by_chance = how
    ballots, totals = np.empty(SPAN, np.float64), np.empty(SPAN, np.float64)
    change_JS = np.empty((weight_J.size, SPAN), np.float64)
    for begin in range(0, out_B.size, SPAN):
        end = min(out_B.size, begin + SPAN)
        out, ballot, total = out_B[begin:end], ballots[: end - begin], totals[: end - begin]
        pivot = x_NB[0, begin:end]
        for i in range(out.size):
            out[i] = 0.0
            ballot[i] = 0.0
            total[i] = 0.0
        # 1. the ballot of every element: sum_j vote_j * change_j
        for j in range(weight_J.size):
            vote, change = vote_J[j], change_JS[j, : out.size]
            _change(pivot, x_NB[j + 1, begin:end], kept_JB[j, begin:end], by_chance, change)
            for i in range(out.size):
                ballot[i] += vote * change[i]
        # 2. weighted changes and shares of those with its sign
        for j in range(weight_J.size):
            vote, weight, share, change = vote_J[j], weight_J[j], share_J[j], change_JS[j, : out.size]
            for i in range(out.size):
                voice = vote * change[i]
                agrees = (voice > 0) if ballot[i] >= 0 else (voice < 0)
                out[i] += weight * change[i] if agrees else 0.0
                total[i] += share if agrees else 0.0
        # 3. added to the pivot, divided by the shares if requested
        if normalize:
            for i in range(out.size):
                out[i] = np.float64(pivot[i]) + scale * (out[i] / (total[i] if total[i] != 0 else 1.0))
        else:
            for i in range(out.size):
                out[i] = np.float64(pivot[i]) + scale * out[i]


@exact
def variance(delta_JB: np.ndarray, out_B: np.ndarray) -> None:
    """Write the variance of every element over the targets, in float32."""
    mean = np.empty(SPAN, np.float32)
    count = np.float32(delta_JB.shape[0])
    for begin in range(0, out_B.size, SPAN):
        out = out_B[begin : min(out_B.size, begin + SPAN)]
        for i in range(out.size):
            out[i] = np.float32(0)
            mean[i] = np.float32(0)
        for j in range(delta_JB.shape[0]):
            delta = delta_JB[j, begin : begin + out.size]
            for i in range(out.size):
                mean[i] += delta[i]
        for i in range(out.size):
            mean[i] /= count
        for j in range(delta_JB.shape[0]):
            delta = delta_JB[j, begin : begin + out.size]
            for i in range(out.size):
                out[i] += (delta[i] - mean[i]) * (delta[i] - mean[i])
        for i in range(out.size):
            out[i] /= count
