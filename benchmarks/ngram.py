# N supervised rows, K kept tokens, V vocabulary
"""A small language model for any tokenizer: an interpolated 4-gram with Witten-Bell weights, trained in seconds.

Benchmarks need real next-token distributions over vocabularies of 32k to 152k tokens where no such weights are at
hand. This model is trained with the real tokenizer on real dialogues, and its `TopK` is exact.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from fusionchat.corpus.render import Rendered
from fusionchat.corpus.rendered_part import join
from fusionchat.represent.topk import Scored, TopK

ORDER = 4


class Counts(NamedTuple):
    """Continuations of the contexts of one length: sorted context keys, and for each its tokens with counts."""

    keys: NDArray[np.uint64]
    starts: NDArray[np.int64]
    tokens: NDArray[np.int32]
    counts: NDArray[np.int32]


class NGram(NamedTuple):
    """A trained model: counts by context length 1.., unigram probabilities [V], and the likeliest unigrams."""

    orders: list[Counts]
    unigram: NDArray[np.float64]
    likely: NDArray[np.int32]


def contexts(ids: NDArray[np.int32], length: int) -> NDArray[np.uint64]:
    """A key for the ``length`` tokens before every position (positions with fewer have a key of their own)."""
    padded = np.concatenate([np.full(length, -1, np.int64), ids]).astype(np.uint64)
    key = np.zeros(len(ids), np.uint64)
    with np.errstate(over="ignore"):
        for back in range(length):
            key = key * np.uint64(0x9E3779B97F4A7C15) + padded[back : back + len(ids)] + np.uint64(1)
            key ^= key >> np.uint64(29)
    return key


def train(rendered: Sequence[Rendered], size: int) -> NGram:
    """Count all tokens of some renderings; ``size`` is the number of usable rows of the vocabulary."""
    tokens = np.concatenate([one.input_ids for one in rendered])
    orders = []
    for length in range(1, ORDER):
        keys = np.concatenate([contexts(one.input_ids, length) for one in rendered])
        order = np.lexsort((tokens, keys))
        keys, words = keys[order], tokens[order]
        fresh = np.flatnonzero(np.concatenate([[True], (np.diff(keys) != 0) | (np.diff(words) != 0)]))
        counts = np.diff(np.append(fresh, len(keys))).astype(np.int32)
        keys, words = keys[fresh], words[fresh]
        first = np.flatnonzero(np.concatenate([[True], np.diff(keys) != 0]))
        orders.append(Counts(keys[first], np.append(first, len(keys)), words, counts))
    seen = np.bincount(tokens, minlength=size).astype(np.float64)
    types = float((seen > 0).sum())
    unigram = (seen + types / size) / (seen.sum() + types)
    return NGram(orders, unigram, np.argsort(-unigram)[:64].astype(np.int32))


def capture(model: NGram, rendered: Sequence[Rendered], k: int) -> Scored:
    """The model's exact distributions for the supervised tokens of some renderings."""
    tokens = join(rendered).supervised
    labels, n = tokens.labels, tokens.rows
    spans = np.zeros((n, ORDER - 1, 2), np.int64)
    for m, counts in enumerate(model.orders):
        keys = np.concatenate([contexts(one.input_ids, m + 1)[one.rows] for one in rendered])
        at = np.minimum(np.searchsorted(counts.keys, keys), len(counts.keys) - 1)
        found = counts.keys[at] == keys
        spans[:, m, 0] = np.where(found, counts.starts[at], 0)
        spans[:, m, 1] = np.where(found, counts.starts[at + 1], 0)
    orders = tuple((c.tokens, c.counts) for c in model.orders)
    ids, probs, label = _score(spans, labels, orders, model.unigram, model.likely, k)
    with np.errstate(divide="ignore"):
        tail = np.log(np.maximum(1.0 - probs.sum(axis=1), 0.0))
        logprobs = np.log(probs)
    topk = TopK(ids, logprobs.astype(np.float16), tail.astype(np.float16), np.ones(n, np.bool_))
    return Scored(tokens, topk, np.log(label).astype(np.float32))


@numba.njit(cache=True)
def _mix(span, orders, mass, touched):  # noqa: ANN001
    """Add up the continuations of all context lengths of one row: (tokens touched, what is left for the unigram)."""
    used, base = 0, 1.0
    for m in range(len(orders)):
        tokens, counts = orders[m]
        low, high = span[m]
        if high == low:
            break
        total = high - low + counts[low:high].sum()
        share = (high - low) / total
        base *= share
        for t in range(used):
            mass[touched[t]] *= share
        for c in range(low, high):
            if mass[tokens[c]] == 0.0:
                touched[used] = tokens[c]
                used += 1
            mass[tokens[c]] += counts[c] / total
    return used, base


@numba.njit(cache=True)
def _insert(ids, probs, token, p):  # noqa: ANN001
    """Put a token among the k likeliest of its row, which are in order."""
    at = len(ids) - 1
    if p <= probs[at]:
        return
    while at > 0 and probs[at - 1] < p:
        probs[at], ids[at] = probs[at - 1], ids[at - 1]
        at -= 1
    probs[at], ids[at] = p, token


@numba.njit(cache=True)
def _score(spans, labels, orders, unigram, likely, k):  # noqa: ANN001
    n = len(labels)
    ids, probs, label = np.zeros((n, k), np.int32), np.zeros((n, k)), np.zeros(n)
    mass, touched = np.zeros(len(unigram)), np.zeros(len(unigram), np.int32)
    for i in range(n):
        used, base = _mix(spans[i], orders, mass, touched)
        label[i] = mass[labels[i]] + base * unigram[labels[i]]
        for t in range(used):
            _insert(ids[i], probs[i], touched[t], mass[touched[t]] + base * unigram[touched[t]])
        for token in likely:
            if mass[token] == 0.0:
                _insert(ids[i], probs[i], token, base * unigram[token])
        mass[touched[:used]] = 0.0
    return ids, probs, label
