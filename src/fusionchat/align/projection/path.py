# N pivot rows, M source rows, K source slots, S entries of one row, O output slots
"""The observed path: what the source's own tokens say of the pivot's label, by the chain rule. PURE.

docs/alignment.md has the rule. Where a prefix ends inside a token, all tokens that begin with it count, and
so does their even share of the tail (docs/decisions/alignment_tail.md).
"""

import numpy as np

from fusionchat.align.positions import Places
from fusionchat.align.projection.arrays import Entries, Known, Lookup, Prefix, Side
from fusionchat.compiled import njit
from fusionchat.tokens.spans import Array, Words


@njit(nogil=True)
def starts_with(data: Array, offsets: Array, token: int, low: int, length: int) -> bool:
    """Whether a token begins with data[low:low + length]."""
    at, stop = offsets[token], low + length
    same = offsets[token + 1] - at >= length
    while same and low < stop:
        same = data[at] == data[low]
        low, at = low + 1, at + 1
    return same


@njit(nogil=True)
def tail_share(tail: float, matched: int, known: int, prefix: Prefix, lookup: Lookup) -> float:
    """The share of the tail whose tokens begin with a text token's bytes data[low:low + length].

    The tail is spread evenly over its tokens. ``matched`` of the row's ``known`` text tokens begin with these
    bytes; all other tokens of the vocabulary are in the tail.
    """
    others = lookup.text_tokens - known
    return (
        tail * max(lookup.alike[prefix.low + prefix.length - 1] - matched, 0) / others if others > 0 else 0.0
    )


@njit(nogil=True, inline="always")
def goal_mass(scratch: Entries, count: int, token: int) -> float:
    """Mass of the entries that go to a pivot token."""
    total = 0.0
    for e in range(count):
        if scratch.goal[e] == token:
            total += scratch.mass[e]
    return total


@njit(nogil=True)
def prefix_mass(source: Side, j: int, length: int, words: Words, lookup: Lookup) -> float:
    """Mass of the tokens of row j that share their first ``length`` bytes with its label.

    The tail's share is included.
    """
    label, low = source.labels[j], words.offsets[source.labels[j]]
    total, seen, matched, known = 0.0, False, 0, 0
    for k in range(source.ids.shape[1]):
        bits = source.logprobs[j, k]
        if source.values[bits] > -np.inf:
            token = source.ids[j, k]
            seen = seen or token == label
            known += words.in_text[token]
            if words.in_text[token] and starts_with(words.data, words.offsets, token, low, length):
                total += source.exps[bits]
                matched += 1
    tail = np.float64(source.exps[source.tail[j]])
    if not seen:
        mass = np.exp(np.float64(source.label_logprob[j]))
        total, tail, matched, known = total + mass, max(tail - mass, 0.0), matched + 1, known + 1
    return total + tail_share(tail, matched, known, Prefix(low, length), lookup)


@njit(nogil=True)
def swallows(source: Places | Side, j: int, words: Words) -> bool:
    """Whether row j's label is an added token that swallows the spaces around it.

    The bytes inside it are then unknown.
    """
    label = source.labels[j]
    length: int = words.offsets[label + 1] - words.offsets[label]
    return source.end[j] - source.begin[j] > length


@njit(nogil=True)
def chain(source: Side, j: int, end: int, words: Words, lookup: Lookup) -> float:
    """Probability of the source tokens after row j up to byte ``end`` of the turn.

    NaN where the chain breaks.
    """
    product, at = 1.0, j
    while source.end[at] < end:
        follower = at + 1
        if follower >= len(source.turn) or source.turn[follower] != source.turn[j]:
            return np.nan
        if source.text[follower] != source.end[at] or not source.present[follower]:
            return np.nan
        at = follower
        if source.end[at] <= end:
            product *= np.exp(np.float64(source.label_logprob[at]))
        elif swallows(source, at, words):
            return np.nan
        else:
            product *= prefix_mass(source, at, end - source.begin[at], words, lookup)
    return product


@njit(nogil=True)
def give(scratch: Entries, count: int, pivot_label: int, mass: float) -> int:
    """Append an entry for the pivot's label; returns the number of entries."""
    scratch.token[count], scratch.goal[count], scratch.mass[count] = -1, pivot_label, mass
    scratch.logprob[count] = np.float32(np.nan)
    return count + 1


@njit(nogil=True)
def observe_inside(
    scratch: Entries, known: Known, prefix: Prefix, words: Words, lookup: Lookup
) -> tuple[int, float, float]:
    """The observed path if the label ends inside the source token: (entries, mass, taken from the tail).

    All tokens that begin as the source's label does, with the bytes ``prefix``, go to ``known.goal``.
    """
    total, matched = 0.0, 0
    for e in range(known.entries):
        token = scratch.token[e]
        if words.in_text[token] and starts_with(words.data, words.offsets, token, prefix.low, prefix.length):
            total += scratch.mass[e]
            matched += 1
            if known.goal >= 0:
                scratch.goal[e] = known.goal
    share = tail_share(known.tail, matched, known.text, prefix, lookup)
    if known.goal < 0 or share <= 0.0:
        return known.entries, total + share, 0.0
    return give(scratch, known.entries, known.goal, share), total + share, share


@njit(nogil=True)
def observe_whole(scratch: Entries, known: Known, goal: int, mass: float, same: bool) -> int:
    """The observed path if the label covers the source's token: entries.

    ``mass`` is the label's by the chain rule. With ``same`` the label of the source is the pivot's; else what
    the pivot's label lacks of its mass is taken from the source's.
    """
    label = known.label
    if same:
        scratch.goal[label] = goal
    if known.goal < 0 or np.isnan(mass) or scratch.goal[label] == goal:
        return known.entries
    need = mass - goal_mass(scratch, known.entries, goal)
    if need <= 0.0:
        return known.entries
    scratch.mass[label] -= need
    scratch.logprob[label] = np.float32(np.nan)
    return give(scratch, known.entries, goal, need)
