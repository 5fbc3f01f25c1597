# M models, N rows of a model, C conversations, T messages of the longest conversation, U units, R regions
"""Events: what a model scores of a text, and what all models score of it. PURE.

A supervised turn of s bytes has s + 1 events: its bytes 0 .. s - 1, and its end, at place s. A row (one
token) scores the events from its begin to its end. Not every model scores every event: nothing predicts the
first token of a rendering, a template may write no end of turn, a turn may be cut inside a model's token.

**Models are compared over the events that all of them score.** Probabilities belong to whole tokens, so
events are included or excluded by region: the smallest stretch of a turn whose bounds no row of any model
straddles. A region is common if the rows of every model tile it. A row without a counterpart in another model
is in no common region, and changes no comparison.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from fusionchat.compiled import njit

NO_ROW = np.iinfo(np.int64).max


@runtime_checkable
class Rows(Protocol):
    """The attributes of a `TopK` that are read here; see there."""

    @property
    def turn(self) -> NDArray[np.int32]:
        """Message of each row."""
        ...

    @property
    def begin(self) -> NDArray[np.int32]:
        """First byte of each row."""
        ...

    @property
    def end(self) -> NDArray[np.int32]:
        """Byte after each row."""
        ...

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Rows of each conversation."""
        ...


class Events(NamedTuple):
    """The events that each row of a model scores.

    Attributes:
        conversation: int64 [N].
        turn: int32 [N], message of the conversation.
        begin, end: int32 [N], the events, without bytes outside the turn (`text_begins`).
        bytes: int32 [N], how many of the events are bytes.
    """

    conversation: NDArray[np.int64]
    turn: NDArray[np.int32]
    begin: NDArray[np.int32]
    end: NDArray[np.int32]
    bytes: NDArray[np.int32]

    @property
    def ends(self) -> int:
        """How many ends of turns are among the events."""
        return int((self.end - self.begin > self.bytes).sum())


def message_bytes(sizes: Sequence[Sequence[int]]) -> Int[np.ndarray, "C T"]:
    """The number of UTF-8 bytes of every message of some conversations, 0 where there is no message."""
    table = np.zeros((len(sizes), max(map(len, sizes), default=0)), np.int32)
    for row, own in zip(table, sizes, strict=True):
        row[: len(own)] = own
    return table


def text_begins(rows: Rows) -> NDArray[np.int32]:
    """The first byte of its turn that each row covers, int32 [N].

    It is after ``begin`` where the token begins with bytes outside the turn: bytes of the template before the
    turn, or the space that some tokenizers put after an added token, which then overlaps the row before. A
    row that is only that space covers no byte.
    """
    before = np.zeros(len(rows.turn), np.int32)
    before[1:] = np.where(rows.turn[1:] == rows.turn[:-1], rows.end[:-1], 0)
    first = rows.offsets[:-1]
    before[first[first < len(before)]] = 0
    return np.maximum(rows.begin, before)


def events_of(rows: Rows, bytes_CT: Int[np.ndarray, "C T"]) -> Events:
    """The events that rows score, given the bytes of their conversations' messages (`message_bytes`)."""
    conversation = np.repeat(np.arange(len(rows.offsets) - 1, dtype=np.int64), np.diff(rows.offsets))
    begin = text_begins(rows)
    size = np.minimum(rows.end, bytes_CT[conversation, rows.turn]) - begin
    return Events(conversation, rows.turn, begin, rows.end, np.maximum(size, 0).astype(np.int32))


def common(
    models: Sequence[Events],
    units: Sequence[Int[np.ndarray, " _"]] | None = None,
    compared_MU: Bool[np.ndarray, "M U"] | None = None,
) -> list[Bool[np.ndarray, " _"]]:
    """Which rows of each model are in regions that the rows of all models tile.

    Args:
        models: Rows of the same conversations, in the order of the text.
        units: The unit of each row, where not all models are compared in all units; a unit contains whole
            turns.
        compared_MU: Which models are compared in which unit; rows of other models are ignored.
    """
    if units is None or compared_MU is None:
        unit, compared_MU = np.zeros(0, np.int64), np.ones((len(models), 1), bool)
    else:
        unit = np.concatenate(units)
    bounds = np.cumsum([0, *(len(model.turn) for model in models)])
    begin, end = _one_line(models)
    good = mark_common(begin, end, unit, compared_MU, bounds)
    return np.split(good, bounds[1:-1])


def _one_line(models: Sequence[Events]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Begin and end of every model's rows, with all turns of all conversations laid end to end."""
    turns = 1 + max((int(model.turn.max(initial=0)) for model in models), default=0)
    length = 1 + max((int(model.end.max(initial=0)) for model in models), default=0)
    begin = np.concatenate([model.conversation for model in models])
    begin *= turns
    begin += np.concatenate([model.turn for model in models])
    begin *= length
    end = begin + np.concatenate([model.end for model in models])
    begin += np.concatenate([model.begin for model in models])
    return begin, end


@njit(nogil=True)
def mark_common(
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    unit: NDArray[np.int64],
    compared_MU: Bool[np.ndarray, "M U"],
    bounds: NDArray[np.int64],
) -> Bool[np.ndarray, " N"]:  # pragma: no cover (compiled)
    """Which rows are in regions that all models tile.

    Model m has the rows from bounds[m] to bounds[m + 1].

    A region begins where no earlier row reaches. Rows of one model never overlap, so they tile a region if
    their lengths add up to its length. An empty row belongs to the region that begins at its place. Without
    ``unit``, all rows are in one.
    """
    models, good = len(compared_MU), np.zeros(bounds[-1], np.bool_)
    # 1. every model's first row, and of all rows the one that begins first
    last, head = bounds[:-1].copy(), np.empty(models, np.int64)
    first, covered = np.empty(models, np.int64), np.empty(models, np.int64)
    for model in range(models):
        last[model] = _next_row(last[model], model, unit, compared_MU, bounds)
        head[model] = begin[last[model]] if last[model] < bounds[model + 1] else NO_ROW
    lead = _first(head)
    while head[lead] < NO_ROW:
        # 2. it opens a region, which grows while a row begins before the end that is reached
        opens, whose = head[lead], unit[last[lead]] if len(unit) else 0
        before, reach = opens, opens
        for model in range(models):
            first[model], covered[model] = last[model], 0
        while head[lead] < NO_ROW and (head[lead] < reach or head[lead] == before):
            row = last[lead]
            before, reach = begin[row], max(reach, end[row])
            covered[lead] += end[row] - begin[row]
            row = _next_row(row + 1, lead, unit, compared_MU, bounds)
            last[lead], head[lead] = row, begin[row] if row < bounds[lead + 1] else NO_ROW
            lead = _first(head)
        # 3. common if the lengths of each compared model's rows add up to the region's: covered = reach - opens
        tiled = reach > opens
        for model in range(models):
            tiled &= covered[model] == reach - opens or not compared_MU[model, whose]
        if tiled:
            for model in range(models):
                for row in range(first[model], last[model]):
                    good[row] = not len(unit) or compared_MU[model, unit[row]]
    return good


@njit(nogil=True, inline="always")
def _next_row(
    row: int,
    model: int,
    unit: NDArray[np.int64],
    compared_MU: Bool[np.ndarray, "M U"],
    bounds: NDArray[np.int64],
) -> int:  # pragma: no cover (compiled)
    """The first row of a model, from ``row`` on, that is compared."""
    while row < bounds[model + 1] and len(unit) and not compared_MU[model, unit[row]]:
        row += 1
    return row


@njit(nogil=True, inline="always")
def _first(head: NDArray[np.int64]) -> int:  # pragma: no cover (compiled)
    """The index of the least value, as ``argmin``, which is slow for a few values."""
    best = 0
    for model in range(1, len(head)):
        if head[model] < head[best]:
            best = model
    return best


def add_up(
    values: Bool[np.ndarray, " N"] | Float[np.ndarray, " N"] | Int[np.ndarray, " N"],
    places: Int[np.ndarray, " N"],
    count: int,
) -> Float[np.ndarray, " U"]:
    """Sums of the rows' values by place, fp64 [count]."""
    return np.bincount(places, values.astype(np.float64), minlength=count).astype(np.float64, copy=False)
