# N pivot tokens, M source tokens of a turn; U and W unique ones
"""Positions by dynamic time warping over token strings, as FuseLLM and FuseChat publish it. PURE.

A baseline for comparison.

The cost of a pair is the edit distance of the two tokens without their leading blank; the path through the N
x M costs is walked back from the end, preferring the diagonal, then a step on the pivot's side (arXiv
2401.10491, section 3.2). A pivot token takes the distribution of the first source token it is matched with.
The distance of a pair of tokens is computed once.
"""

import numpy as np
from numpy.typing import NDArray

from fusionchat.align.baselines.min_edit import clear_masks, distance, make_pattern
from fusionchat.align.positions import Attached
from fusionchat.compiled import njit
from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.tokens.spans import Array, ByteTable, Words


def attach_by_dtw(
    pivot: SupervisedTokens, source: SupervisedTokens, pivot_table: ByteTable, source_table: ByteTable
) -> Attached:
    """The first source row matched with every pivot row, turn by turn; residuals are always 0.

    A turn that one side lacks is not attached.
    """
    row = np.full(pivot.rows, -1, np.int64)
    for c in range(pivot.conversations):
        mine, theirs = turns(pivot, c), turns(source, c)
        for turn, (first, last) in mine.items():
            if turn not in theirs:
                continue
            low, high = theirs[turn]
            matched = warp(pivot_table, pivot.labels[first:last], source_table, source.labels[low:high])
            row[first:last] = matched + low
    return Attached(row, np.zeros(pivot.rows, np.int32))


def turns(tokens: SupervisedTokens, conversation: int) -> dict[int, tuple[int, int]]:
    """The rows first..last-1 of each turn of a conversation."""
    low, high = int(tokens.offsets[conversation]), int(tokens.offsets[conversation + 1])
    starts = np.flatnonzero(np.diff(tokens.turn[low:high], prepend=-1)) + low
    return {int(tokens.turn[a]): (int(a), int(b)) for a, b in zip(starts, [*starts[1:], high], strict=True)}


def warp(
    pivot: ByteTable, mine: NDArray[np.int32], source: ByteTable, theirs: NDArray[np.int32]
) -> NDArray[np.int64]:
    """For each pivot token of a turn, the first source token it is matched with: int64 [N]."""
    unique_N, mine_N = np.unique(mine, return_inverse=True)
    unique_M, theirs_M = np.unique(theirs, return_inverse=True)
    costs = _distances(pivot.words, unique_N, source.words, unique_M)
    first_N: NDArray[np.int64] = _walk(costs, mine_N.astype(np.int64), theirs_M.astype(np.int64))
    return first_N


@njit(nogil=True)
def _bare(data: Array, offsets: Array, token: int) -> tuple[int, int]:
    low, high = offsets[token], offsets[token + 1]
    return low + (1 if low < high and data[low] == 32 else 0), high


@njit(nogil=True)
def _distances(words_N: Words, ids_N: Array, words_M: Words, ids_M: Array) -> Array:
    data_N, offsets_N, data_M, offsets_M = words_N.data, words_N.offsets, words_M.data, words_M.offsets
    costs = np.zeros((len(ids_N), len(ids_M)), np.int32)
    masks = np.zeros(256, np.uint64)
    for i in range(len(ids_N)):
        low, high = _bare(data_N, offsets_N, ids_N[i])
        pattern = make_pattern(masks, data_N, low, high)
        for j in range(len(ids_M)):
            first, last = _bare(data_M, offsets_M, ids_M[j])
            costs[i, j] = distance(pattern, data_M, first, last, 1 << 40)
        clear_masks(pattern)
    return costs


@njit(nogil=True)
def _walk(costs_UW: Array, mine_N: Array, theirs_M: Array) -> Array:
    # 1. the least cost of every pair of prefixes, row by row, and the move that led to it
    n, m = len(mine_N), len(theirs_M)
    move_NM = np.zeros((n, m), np.uint8)
    above = np.full(m + 1, 1 << 40, np.int64)
    above[0] = 0
    here = np.empty(m + 1, np.int64)
    for i in range(n):
        here[0] = 1 << 40
        for j in range(m):
            best, move = above[j], 0
            if above[j + 1] < best:
                best, move = above[j + 1], 1
            if here[j] < best:
                best, move = here[j], 2
            here[j + 1] = best + costs_UW[mine_N[i], theirs_M[j]]
            move_NM[i, j] = move
        above, here = here, above
    # 2. back along the moves from the end; the last visit of a row is its first partner
    first_N = np.zeros(n, np.int64)
    i, j = n - 1, m - 1
    while True:
        first_N[i] = j
        if i == 0 and j == 0:
            return first_N
        if i == 0 or (j > 0 and move_NM[i, j] == 2):
            j -= 1
        elif j == 0 or move_NM[i, j] == 1:
            i -= 1
        else:
            i, j = i - 1, j - 1
