# V vocabulary rows, S trie nodes
"""Which token of a vocabulary is the longest prefix of some bytes: a byte trie in flat arrays. PURE.

The children of all nodes are in one open-addressed hash table with the key node * 256 + byte. Of two tokens
with the same bytes, a regular piece is preferred to a byte-fallback piece, then the lower id.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusionchat.compiled import njit
from fusionchat.tokens.spans import FALLBACK, Array, ByteTable, Words

MIX = -7046029254386353131
"""The golden ratio in 64 bits, to spread keys over a table (Fibonacci hashing)."""


class Trie(NamedTuple):
    """A byte trie of the text tokens of a vocabulary.

    Attributes:
        keys: int64 [H], node * 256 + byte or -1; H is a power of two.
        children: int32 [H].
        token: int32 [S], the token that ends at a node, -1 for none.
    """

    keys: NDArray[np.int64]
    children: NDArray[np.int32]
    token: NDArray[np.int32]


@lru_cache(maxsize=8)
def trie_of(table: ByteTable) -> Trie:
    """The trie of a table's text tokens (kept for the last few tables)."""
    ids = np.flatnonzero(table.in_text).astype(np.int64)
    second = (table.flags[ids] & FALLBACK) != 0
    ordered = np.concatenate([ids[~second], ids[second]])
    total = int(np.diff(table.offsets)[ids].sum())
    slots = 1 << max(4, int(np.ceil(np.log2(2 * total + 2))))
    return Trie(*_build(table.data, table.offsets, ordered, slots, total + 1))


@njit(nogil=True, inline="always")
def _slot(key: int, mask: int) -> int:
    mixed = key * MIX
    return (mixed >> 32) & mask


@njit(nogil=True)
def _build(data: Array, offsets: Array, ids: Array, slots: int, most: int) -> tuple[Array, Array, Array]:
    keys = np.full(slots, -1, np.int64)
    children = np.zeros(slots, np.int32)
    token_S = np.full(most, -1, np.int32)
    nodes, mask = 1, slots - 1
    for token in ids:
        node = 0
        for at in range(offsets[token], offsets[token + 1]):
            key = node * 256 + data[at]
            slot = _slot(key, mask)
            while keys[slot] != -1 and keys[slot] != key:
                slot = (slot + 1) & mask
            if keys[slot] == -1:
                keys[slot] = key
                children[slot] = nodes
                nodes += 1
            node = int(children[slot])
        if token_S[node] == -1:
            token_S[node] = token
    return keys, children, token_S[:nodes].copy()


@njit(nogil=True)
def step(keys: Array, children: Array, node: int, byte: int) -> int:
    """The child of ``node`` for ``byte``, -1 for none."""
    mask = len(keys) - 1
    key = node * 256 + byte
    slot = _slot(key, mask)
    while keys[slot] != -1:
        if keys[slot] == key:
            return int(children[slot])
        slot = (slot + 1) & mask
    return -1


@njit(nogil=True)
def longest_prefixes(words: Words, trie: Trie, whole: bool) -> Array:
    """The longest token that is a prefix of a text token's rest, for every byte position: int32.

    One entry a byte of ``data``, -1 for none. With ``whole``, only a token that equals the rest counts.
    """
    data, offsets, in_text = words.data, words.offsets, words.in_text
    keys, children, token_S = trie.keys, trie.children, trie.token
    rest = np.full(len(data), -1, np.int32)
    for token in range(len(in_text)):
        if not in_text[token]:
            continue
        high = offsets[token + 1]
        for low in range(offsets[token], high):
            node = 0
            for at in range(low, high):
                node = step(keys, children, node, data[at])
                if node < 0:
                    break
                if token_S[node] >= 0 and (not whole or at == high - 1):
                    rest[low] = token_S[node]
    return rest


@njit(nogil=True)
def count_alike(words: Words, trie: Trie) -> Array:
    """How many text tokens share each token's prefix, up to each of its bytes: int32.

    ``trie`` is of the same tokens.
    """
    data, offsets, in_text = words.data, words.offsets, words.in_text
    keys, children = trie.keys, trie.children
    passed = np.zeros(len(trie.token), np.int32)
    alike = np.zeros(len(data), np.int32)
    for last in range(2):
        for token in range(len(in_text)):
            if in_text[token]:
                node = 0
                for at in range(offsets[token], offsets[token + 1]):
                    node = step(keys, children, node, data[at])
                    if last:
                        alike[at] = passed[node]
                    else:
                        passed[node] += 1
    return alike
