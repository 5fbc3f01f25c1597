# P pairs of tokens
"""How often source and pivot tokens meet at the corpus's aligned positions. PURE.

These are FuseChat's mapping statistics (arXiv 2402.16107v6, section 3.2.1): a source token goes to the pivot
token that it meets most often.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusionchat.align.baselines.min_edit import clear_masks, distance, make_pattern
from fusionchat.align.trie import MIX
from fusionchat.compiled import njit
from fusionchat.tokens.spans import Array, ByteTable, Words


class PairCounts(NamedTuple):
    """How often tokens meet.

    Attributes:
        source, pivot: int32 [P], the two tokens of a pair; pairs in ascending order.
        times: int64 [P].
    """

    source: NDArray[np.int32]
    pivot: NDArray[np.int32]
    times: NDArray[np.int64]


def count_pairs(source_labels: NDArray[np.int32], pivot_labels: NDArray[np.int32]) -> PairCounts:
    """How often each pair of tokens meets, given the two labels of every aligned position."""
    keys, counts = _count(source_labels, pivot_labels)
    order = np.argsort(keys)
    return unpack(keys[order], counts[order])


def unpack(keys: NDArray[np.int64], counts: NDArray[np.int64]) -> PairCounts:
    """Pairs from their keys, source << 32 | pivot."""
    return PairCounts((keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32), counts)


def merge_counts(parts: list[PairCounts]) -> PairCounts:
    """The sum of several counts, of shards for example."""
    keys = np.concatenate([p.source.astype(np.int64) << 32 | p.pivot for p in parts])
    unique, inverse = np.unique(keys, return_inverse=True)
    total = np.zeros(len(unique), np.int64)
    np.add.at(total, inverse, np.concatenate([p.times for p in parts]))
    return unpack(unique, total)


def most_frequent(source: ByteTable, pivot: ByteTable, counts: PairCounts) -> NDArray[np.int32]:
    """The most frequent partner of each source token, -1 if it has none.

    Ties go by edit distance, then to the lower id.
    """
    partners: NDArray[np.int32] = _partners(source.words, pivot.words, counts)
    return partners


@njit(nogil=True)
def _count(source_labels: Array, pivot_labels: Array) -> tuple[Array, Array]:
    room, used = 1 << 16, 0
    keys, counts = np.full(room, -1, np.int64), np.zeros(room, np.int64)
    for i in range(len(source_labels)):
        key = int(source_labels[i]) << 32 | int(pivot_labels[i])
        slot = _find(keys, key)
        if keys[slot] == -1:
            if 2 * used >= len(keys):
                old, tally = keys, counts
                keys, counts = np.full(2 * len(old), -1, np.int64), np.zeros(2 * len(old), np.int64)
                for j in range(len(old)):
                    if old[j] != -1:
                        moved = _find(keys, old[j])
                        keys[moved], counts[moved] = old[j], tally[j]
                slot = _find(keys, key)
            keys[slot] = key
            used += 1
        counts[slot] += 1
    full = keys != -1
    return keys[full], counts[full]


@njit(nogil=True)
def _find(keys: Array, key: int) -> int:
    mask = len(keys) - 1
    mixed = key * MIX
    slot = (mixed >> 32) & mask
    while keys[slot] != -1 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@njit(nogil=True)
def _partners(words: Words, words_W: Words, counts: PairCounts) -> Array:
    left, right, count = counts.source, counts.pivot, counts.times
    data, offsets = words.data, words.offsets
    data_W, offsets_W, text_W = words_W.data, words_W.offsets, words_W.in_text
    out = np.full(len(offsets) - 1, -1, np.int32)
    masks = np.zeros(256, np.uint64)
    first = 0
    while first < len(left):
        # 1. the pairs of one source token, and how often the most frequent of them was seen
        token = left[first]
        last, most = first, 0
        while last < len(left) and left[last] == token:
            if text_W[right[last]]:
                most = max(most, count[last])
            last += 1
        # 2. of those seen as often, the pivot token at the least edit distance; ties to the lower id, which comes first
        pattern = make_pattern(masks, data, offsets[token], offsets[token + 1])
        best = 1 << 40
        for pair in range(first, last):
            other = right[pair]
            if count[pair] == most and text_W[other]:
                found = distance(pattern, data_W, offsets_W[other], offsets_W[other + 1], best)
                if found < best:
                    best, out[token] = found, other
        clear_masks(pattern)
        first = last
    return out
