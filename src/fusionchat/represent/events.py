# M models, N rows of a model, C conversations, T messages of the longest conversation, U units, R regions
"""Events: what a model scores of a text, what all models score of it, and bits per byte. PURE.

A supervised turn of s bytes has s + 1 events: its bytes 0 .. s - 1, and its end, at place s. A row (one token) scores the
events from its begin to its end. Not every model scores every event: nothing predicts the first token of a rendering, a
template may write no end of turn, a turn may be cut inside a model's token.

**Bits per byte**, everywhere: the bits of the scored events, ends of turns included, over the UTF-8 bytes among them.
An end of turn adds bits and no byte. Where there is no byte (a row that is an end of turn), bits count: length 1.

**Models are compared over the events that all of them score.** Probabilities are of whole tokens, so events are taken or
left by region: the smallest stretch of a turn that no row of any model straddles. A region is common if the rows of every
model tile it; a row of one model that another has nothing for is in no common region, and changes no comparison.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

NATS_PER_BIT = float(np.log(2.0))


class Rows(Protocol):
    """What is needed of a `TopK`: see there."""

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
        begin, end: int32 [N], the events, template bytes in front of a turn left out.
        bytes: int32 [N], how many of them are bytes.
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
    """The UTF-8 bytes of every message of some conversations as one array, 0 where there is no message."""
    table = np.zeros((len(sizes), max(map(len, sizes), default=0)), np.int32)
    for row, own in zip(table, sizes, strict=True):
        row[: len(own)] = own
    return table


def events_of(rows: Rows, bytes_CT: Int[np.ndarray, "C T"]) -> Events:
    """The events that rows score, given the bytes of every message of their conversations (`message_bytes`)."""
    conversation = np.repeat(np.arange(len(rows.offsets) - 1, dtype=np.int64), np.diff(rows.offsets))
    begin = np.maximum(rows.begin, 0).astype(np.int32)
    size = np.minimum(rows.end, bytes_CT[conversation, rows.turn]) - begin
    return Events(conversation, rows.turn, begin, rows.end, np.maximum(size, 0).astype(np.int32))


def common(
    models: Sequence[Events],
    units: Sequence[Int[np.ndarray, " N"]] | None = None,
    compared_MU: Bool[np.ndarray, "M U"] | None = None,
) -> list[Bool[np.ndarray, " N"]]:
    """Which rows of each model are in regions that the rows of all models tile.

    Args:
        models: Rows of the same conversations.
        units: The unit of each row, where not all models are compared in all units; a unit holds whole turns.
        compared_MU: Which models are compared in which unit; rows of the others are left out.
    """
    owner = np.repeat(np.arange(len(models)), [len(m.turn) for m in models])
    if units is None or compared_MU is None:
        units, compared_MU = [np.zeros_like(m.conversation) for m in models], np.ones((len(models), 1), bool)
    unit = np.concatenate(units)
    whole = Events(*(np.concatenate(part) for part in zip(*models, strict=True)))
    turns, length = int(whole.turn.max(initial=0)) + 1, int(whole.end.max(initial=0)) + 1
    line = (whole.conversation * turns + whole.turn) * length
    taken = np.flatnonzero(compared_MU[owner, unit])
    order = taken[np.argsort((line + whole.begin)[taken], kind="stable")]
    good = np.zeros(len(owner), dtype=bool)
    if len(order):
        begin, end = (line + whole.begin)[order], (line + whole.end)[order]
        tiled_MR, region = _tiled(owner[order], begin, end, len(models))
        first = np.flatnonzero(np.diff(region, prepend=-1))
        needed = compared_MU[:, unit[order][first]].sum(axis=0)
        good[order] = (tiled_MR.sum(axis=0) == needed)[region]
    return np.split(good, np.cumsum([len(m.turn) for m in models])[:-1])


def _tiled(
    owner: NDArray[np.int64], begin: NDArray[np.int64], end: NDArray[np.int64], models: int
) -> tuple[Bool[np.ndarray, "M R"], NDArray[np.int64]]:
    """Which models tile which region, and the region of each row; rows are given in the order of their begins.

    A region begins where no row before reaches. Rows of one model never overlap, so they tile a region if their lengths
    add up to its length. A row of no length belongs to what begins where it is.
    """
    reach = np.maximum.accumulate(end)
    opens = np.ones(len(begin), dtype=bool)
    opens[1:] = (begin[1:] >= reach[:-1]) & (begin[1:] > begin[:-1])
    region = np.cumsum(opens) - 1
    first = np.flatnonzero(opens)
    length = np.maximum.reduceat(end, first) - begin[first]
    place = owner * len(first) + region
    covered = np.bincount(place, end - begin, minlength=models * len(first)).reshape(models, -1)
    return (covered == length) & (length > 0), region


def bits_per_byte(bits: float, size: int) -> float:
    """Bits over UTF-8 bytes; over 1 where there is no byte."""
    return bits / max(size, 1)


def add_up(
    values: Float[np.ndarray, " N"] | Int[np.ndarray, " N"], places: Int[np.ndarray, " N"], count: int
) -> Float[np.ndarray, " U"]:
    """Sums of the rows' values by place, fp64 [count]."""
    return np.bincount(places, values.astype(np.float64), minlength=count)
