# N pivot rows, M source rows, C conversations
"""Which source row has the context of each pivot row: two pointers over byte offsets, O(N + M). PURE.

For pivot token i the context ends at byte c, where its text begins (`text_begins`). Of the source's tokens of
the same turn, row b is the last one whose text begins at or before c and that covers c; the residual
[begin_b, c) is the part of the source token before c. A pivot token with bytes of its own before c takes the
first of the rows that begin at c: if any has such bytes too, it is that one (docs/alignment.md).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusionchat.compiled import njit
from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.represent.events import text_begins
from fusionchat.tokens.spans import Array

NOWHERE = -1


class Attached(NamedTuple):
    """The source row of every pivot row.

    Attributes:
        row: int64 [N], the source row, `NOWHERE` where no source token covers the context's end.
        residual: int32 [N], bytes of that source token before the context's end, including bytes outside the
            turn.
    """

    row: NDArray[np.int64]
    residual: NDArray[np.int32]


class Places(NamedTuple):
    """The arrays of `SupervisedTokens` for compiled loops; ``text`` is where each row's text begins."""

    labels: NDArray[np.int32]
    turn: NDArray[np.int32]
    begin: NDArray[np.int32]
    text: NDArray[np.int32]
    end: NDArray[np.int32]
    offsets: NDArray[np.int64]


def places(tokens: SupervisedTokens) -> Places:
    """The arrays of supervised tokens for the loops."""
    return Places(tokens.labels, tokens.turn, tokens.begin, text_begins(tokens), tokens.end, tokens.offsets)


def attach(pivot: SupervisedTokens, source: SupervisedTokens) -> Attached:
    """The source row and the residual of every pivot row, for the same conversations in the same order."""
    assert pivot.conversations == source.conversations, "the same conversations on both sides"
    return Attached(*_attach(places(pivot), places(source)))


@njit(nogil=True)
def _attach(pivot: Places, source: Places) -> tuple[Array, Array]:
    turn_N, begin_N, text_N, offsets_C = pivot.turn, pivot.begin, pivot.text, pivot.offsets
    turn_M, begin_M, text_M, end_M = source.turn, source.begin, source.text, source.end
    starts_C = source.offsets
    row_N = np.full(len(turn_N), -1, np.int64)
    residual_N = np.zeros(len(turn_N), np.int32)
    for conversation in range(len(offsets_C) - 1):
        j, stop = starts_C[conversation], starts_C[conversation + 1]
        if j == stop:
            continue
        for i in range(offsets_C[conversation], offsets_C[conversation + 1]):
            turn, context, first = turn_N[i], text_N[i], text_N[i] > begin_N[i]
            while j + 1 < stop and (
                turn_M[j + 1] < turn or (turn_M[j + 1] == turn and text_M[j + 1] <= context)
            ):
                if first and turn_M[j] == turn and text_M[j] == context:
                    break
                j += 1
            if turn_M[j] == turn and (text_M[j] == context or text_M[j] < context < end_M[j]):
                row_N[i] = j
                residual_N[i] = context - begin_M[j]
    return row_N, residual_N
