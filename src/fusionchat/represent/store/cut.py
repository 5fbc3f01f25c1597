# C conversations
"""Where a store is cut into shards: by rows, so that a shard takes minutes for any model. PURE."""

import numpy as np
from numpy.typing import NDArray

WORK = 2**44
"""Rows times parameters of a shard: 18 minutes on a processor with 1e11 operations a second.

A row of the corpus needs the pass of about three tokens (the prompt's included) with two operations a
parameter.
"""
FEWEST, MOST = 2**13, 2**16
"""Rows of a shard: with fewer, batches on a GPU are not full; more has no advantage."""
USUAL = 2**14
"""Rows of a shard of a model of unknown size."""


def shard_rows(parameters: int | None) -> int:
    """Rows of a shard of a model: clip(WORK / parameters, FEWEST, MOST), as a power of two.

    With a power of two, a few parameters more or less (a head that is counted or not) do not move the cuts.
    """
    if not parameters:
        return USUAL
    rows = max(1, WORK // parameters)
    return min(MOST, max(FEWEST, 1 << (rows.bit_length() - 1)))


def cut(offsets: NDArray[np.int64], rows: int) -> list[range]:
    """All conversations, in order, in ranges of at most ``rows`` rows but at least one conversation.

    Args:
        offsets: int64 [C + 1], rows of conversation c are offsets[c]:offsets[c + 1].
        rows: At least 1.
    """
    assert rows > 0, "a shard has rows"
    ranges, first, last = list[range](), 0, len(offsets) - 1
    while first < last:
        stop = int(np.searchsorted(offsets, offsets[first] + rows, side="right")) - 1
        stop = max(stop, first + 1)
        ranges.append(range(first, stop))
        first = stop
    return ranges
