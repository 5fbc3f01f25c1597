"""Small made-up values for tests."""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.represent.topk import Scored, TopK


def make_scored(seed, rows, *, k=3, vocabulary=11, label_logprob=None, turn=None, present=None, width=1):
    """Random distributions for conversations with so many rows each; tokens are ``width`` bytes wide."""
    rng = np.random.default_rng(seed)
    n = sum(rows)
    logits = rng.normal(0, 2, (n, vocabulary))
    logprobs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    ids = np.argsort(-logprobs, axis=1)[:, :k]
    kept = np.take_along_axis(logprobs, ids, 1)
    begin = np.concatenate([np.arange(r) * width for r in rows]) if rows else np.zeros(0)
    labels = rng.integers(0, vocabulary, n)
    own = np.take_along_axis(logprobs, labels[:, None], 1)[:, 0]
    tokens = SupervisedTokens(
        labels=labels.astype(np.int32),
        turn=np.asarray(np.ones(n) if turn is None else turn, np.int32),
        begin=begin.astype(np.int32),
        end=(begin + width).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(rows)]).astype(np.int64),
    )
    topk = TopK(
        ids=ids.astype(np.int32),
        logprobs=kept.astype(np.float16),
        tail=np.log(1 - np.exp(kept).sum(1)).astype(np.float16),
        present=np.ones(n, bool) if present is None else np.asarray(present),
    )
    return Scored(tokens, topk, np.asarray(own if label_logprob is None else label_logprob, np.float32))


def make_topk(seed, rows, **options):
    """The same distributions without the tokens."""
    return make_scored(seed, rows, **options).topk


def by_conversation(scored):
    """The distributions of each conversation."""
    ends = scored.tokens.offsets
    return [scored.topk.slice(low, high) for low, high in pairwise(ends.tolist())]


def moved(scored, begin, end, **others):
    """The same rows with other spans, and other turns where given."""
    arrays = {"begin": begin, "end": end, **others}
    arrays = {name: np.asarray(value, np.int32) for name, value in arrays.items()}
    return scored._replace(tokens=replace(scored.tokens, **arrays))


def lengths(scored):
    """The bytes of every message, where every turn is as long as its rows say, without an end of turn."""
    own = scored.tokens
    table = np.zeros((own.conversations, int(own.turn.max()) + 1), np.int32)
    np.maximum.at(table, (np.repeat(np.arange(own.conversations), np.diff(own.offsets)), own.turn), own.end)
    return table
