# N pivot rows, M source rows, K source slots, S entries of one row, O output slots
"""The observed path: what the source's own tokens say of the pivot's label, by the chain rule. PURE.

docs/alignment.md has the rule. Where a prefix ends inside a token, all tokens that begin with it count, and
so does their even share of the tail (docs/decisions/alignment_tail.md).
"""

import numpy as np

from fusionchat.align.positions import Places
from fusionchat.align.projection.arrays import Entries, Lookup, Rules, Side
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
def tail_share(tail: float, matched: int, known: int, low: int, length: int, lookup: Lookup) -> float:
    """The share of the tail whose tokens begin with a text token's bytes data[low:low + length].

    The tail is spread evenly over its tokens. ``matched`` of the row's ``known`` text tokens begin with these
    bytes; all other tokens of the vocabulary are in the tail.
    """
    others = lookup.text_tokens - known
    return tail * max(lookup.alike[low + length - 1] - matched, 0) / others if others > 0 else 0.0


@njit(nogil=True, inline="always")
def goal_mass(scratch: Entries, count: int, token: int) -> float:
    """Mass of the entries that go to a pivot token."""
    total = 0.0
    for e in range(count):
        if scratch.goal[e] == token:
            total += scratch.mass[e]
    return total


@njit(nogil=True)
def prefix_mass(source: Side, j: int, length: int, words: Words, lookup: Lookup, rules: Rules) -> float:
    """Mass of the tokens of row j that share their first ``length`` bytes with its label.

    The tail's share is included.
    """
    label, low = source.labels[j], words.offsets[source.labels[j]]
    total, seen, matched, known = 0.0, False, 0, 0
    for k in range(source.ids.shape[1]):
        bits = source.logprobs[j, k]
        if rules.values[bits] > -np.inf:
            token = source.ids[j, k]
            seen = seen or token == label
            known += words.in_text[token]
            if words.in_text[token] and starts_with(words.data, words.offsets, token, low, length):
                total += rules.exps[bits]
                matched += 1
    tail = np.float64(rules.exps[source.tail[j]])
    if not seen:
        mass = np.exp(np.float64(source.label_logprob[j]))
        total, tail, matched, known = total + mass, max(tail - mass, 0.0), matched + 1, known + 1
    return total + tail_share(tail, matched, known, low, length, lookup)


@njit(nogil=True)
def swallows(source: Places | Side, j: int, words: Words) -> bool:
    """Whether row j's label is an added token that swallows the spaces around it.

    The bytes inside it are then unknown.
    """
    label = source.labels[j]
    length: int = words.offsets[label + 1] - words.offsets[label]
    return source.end[j] - source.begin[j] > length


@njit(nogil=True)
def chain(source: Side, j: int, turn: int, end: int, words: Words, lookup: Lookup, rules: Rules) -> float:
    """Probability of the source tokens after row j up to byte ``end`` of the turn.

    NaN where the chain breaks.
    """
    product, at = 1.0, j
    while source.end[at] < end:
        follower = at + 1
        if follower >= len(source.turn) or source.turn[follower] != turn:
            return np.nan
        if source.text[follower] != source.end[at] or not source.present[follower]:
            return np.nan
        at = follower
        if source.end[at] <= end:
            product *= np.exp(np.float64(source.label_logprob[at]))
        elif swallows(source, at, words):
            return np.nan
        else:
            product *= prefix_mass(source, at, end - source.begin[at], words, lookup, rules)
    return product


@njit(nogil=True)
def give(scratch: Entries, count: int, pivot_label: int, mass: float) -> int:
    """Append an entry for the pivot's label; returns the number of entries."""
    scratch.token[count], scratch.goal[count], scratch.mass[count] = -1, pivot_label, mass
    scratch.logprob[count] = np.float32(np.nan)
    return count + 1


@njit(nogil=True)
def observe_inside(
    scratch: Entries,
    count: int,
    pivot_label: int,
    low: int,
    length: int,
    tail: float,
    known: int,
    words: Words,
    lookup: Lookup,
    rules: Rules,
) -> tuple[int, float, float]:
    """The observed path if the label ends inside the source's token: (entries, its mass, tail mass used).

    All tokens that share their first ``length`` bytes with the source's label go to ``pivot_label``.
    """
    total, matched = 0.0, 0
    for e in range(count):
        token = scratch.token[e]
        if words.in_text[token] and starts_with(words.data, words.offsets, token, low, length):
            total += scratch.mass[e]
            matched += 1
            if rules.observed_path:
                scratch.goal[e] = pivot_label
    share = tail_share(tail, matched, known, low, length, lookup)
    if not rules.observed_path or share <= 0.0:
        return count, total + share, 0.0
    return give(scratch, count, pivot_label, share), total + share, share


@njit(nogil=True)
def observe_whole(
    source: Side,
    j: int,
    turn: int,
    end: int,
    label: int,
    pivot_label: int,
    scratch: Entries,
    count: int,
    words: Words,
    lookup: Lookup,
    rules: Rules,
) -> tuple[int, float]:
    """The observed path if the label covers the source's token: (entries, chain-rule mass or NaN)."""
    first = scratch.mass[label]
    if end == source.end[j]:
        if rules.observed_path or not words.in_text[source.labels[j]]:
            scratch.goal[label] = pivot_label
        return count, first
    mass = first * chain(source, j, turn, end, words, lookup, rules)
    if rules.observed_path and not np.isnan(mass) and scratch.goal[label] != pivot_label:
        need = mass - goal_mass(scratch, count, pivot_label)
        if need > 0.0:
            scratch.mass[label] -= need
            scratch.logprob[label] = np.float32(np.nan)
            count = give(scratch, count, pivot_label, need)
    return count, mass
