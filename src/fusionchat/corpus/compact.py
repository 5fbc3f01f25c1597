# N supervised tokens (rows) of some conversations, R runs, E escapes
"""The places of supervised tokens, in about a byte each. PURE.

Most rows continue the row before: the next token of the same turn, which begins where the last one ended and
is a few bytes long. So places and turns are stored as **runs** of such tokens, and a row's bytes as its
**size**; sizes add up to begin and end. A row that does not begin where the row before it in its run ended
(the first: at 0), or is not 0 to 254 bytes long, has size 255: its begin and end are the next **escape**. Any
integers can be stored without loss, but unusual ones need more bytes.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from numpy.typing import NDArray

from fusionchat.compiled import njit

ESCAPED = 255
Span = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]


class Compact(NamedTuple):
    """The places of supervised tokens.

    Attributes:
        runs: int32 [R, 3], how many tokens follow each other, the place of the first, their turn.
        run_ends: int64 [C + 1], runs of conversation c are run_ends[c]:run_ends[c + 1].
        sizes: uint8 [N], bytes of each token, 255 for an escape.
        escapes: int32 [E, 2], begin and end of those.
        escape_ends: int64 [C + 1], as run_ends.
    """

    runs: NDArray[np.int32]
    run_ends: NDArray[np.int64]
    sizes: NDArray[np.uint8]
    escapes: NDArray[np.int32]
    escape_ends: NDArray[np.int64]


def pack(
    places: Int[np.ndarray, " N"],
    turn: Int[np.ndarray, " N"],
    begin: Int[np.ndarray, " N"],
    end: Int[np.ndarray, " N"],
    offsets: NDArray[np.int64],
) -> Compact:
    """The rows in compact form; rows of conversation c are offsets[c]:offsets[c + 1]."""
    n = len(places)
    first = np.ones(n, bool)
    first[1:] = (turn[1:] != turn[:-1]) | (np.diff(places.astype(np.int64)) != 1)
    first[offsets[:-1][offsets[:-1] < n]] = True
    at = np.flatnonzero(first)
    length = np.diff(np.append(at, n))
    before = np.zeros(n, np.int64)
    before[1:] = end[:-1]
    before[first] = 0
    size = end.astype(np.int64) - begin
    escaped = (begin != before) | (size < 0) | (size >= ESCAPED)
    return Compact(
        runs=np.stack([length, places[at], turn[at]], axis=1).astype(np.int32).reshape(-1, 3),
        run_ends=np.searchsorted(at, offsets).astype(np.int64),
        sizes=np.where(escaped, ESCAPED, size).astype(np.uint8),
        escapes=np.stack([begin[escaped], end[escaped]], axis=1).astype(np.int32),
        escape_ends=np.append(0, np.cumsum(escaped))[offsets].astype(np.int64),
    )


def unpack(compact: Compact, offsets: NDArray[np.int64], first: int, last: int) -> Span:
    """Places, turns, begins and ends, int32 each, of the rows of the conversations first..last-1."""
    sizes = compact.sizes[offsets[first] : offsets[last]]
    out_4N = np.empty((4, len(sizes)), np.int32)
    fill(
        compact.runs[compact.run_ends[first] : compact.run_ends[last]],
        sizes,
        compact.escapes[compact.escape_ends[first] : compact.escape_ends[last]],
        out_4N,
    )
    return out_4N[0], out_4N[1], out_4N[2], out_4N[3]


@njit(nogil=True)
def fill(
    runs: Int[np.ndarray, "R 3"],
    sizes: UInt8[np.ndarray, " N"],
    escapes: Int[np.ndarray, "E 2"],
    out_4N: Int[np.ndarray, "4 N"],
) -> None:  # pragma: no cover (compiled)
    """Write places, turns, begins and ends of whole runs."""
    row, escape = 0, 0
    for run in range(len(runs)):
        length, place, turn = runs[run]
        at = 0
        for step in range(length):
            begin, end = at, at + sizes[row]
            if sizes[row] == ESCAPED:
                begin, end = escapes[escape]
                escape += 1
            out_4N[0, row], out_4N[1, row] = place + step, turn
            out_4N[2, row], out_4N[3, row] = begin, end
            at = end
            row += 1
