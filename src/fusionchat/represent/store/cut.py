# C conversations
"""Where a store is cut into shards: by rows, so that one is minutes of work for any model. PURE."""

import numpy as np
from numpy.typing import NDArray

WORK = 2**44
"""Rows times parameters of a shard. A row of the corpus needs about three tokens' pass (the prompt's too) of two
operations a parameter: a processor that does 1e11 a second has a shard after 18 minutes, whatever the model's size."""
FEWEST, MOST = 2**13, 2**16
"""Rows of a shard: fewer make batches that are not full on a GPU, more make no file better."""
USUAL = 2**14
"""Rows of a shard of a model whose size is not known."""


def shard_rows(parameters: int | None) -> int:
    """Rows of a shard of a model with ``parameters`` parameters, a power of two: clip(WORK / parameters, FEWEST, MOST).

    A power of two, so that a few parameters more or less (a head that is counted or not) change no cut.
    """
    if not parameters:
        return USUAL
    rows = max(1, WORK // parameters)
    return min(MOST, max(FEWEST, 1 << (rows.bit_length() - 1)))


def cut(offsets: NDArray[np.int64], rows: int) -> list[range]:
    """Conversations in ranges of at most ``rows`` rows, one conversation at least.

    Together they are all, in order.

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
