# N rows, E entries of all rows, K kept tokens
"""Kept tokens, tail and label of each row, from the entries that vLLM or a server returns. PURE.

For each token of a prompt they return the log-probability of the token itself and of the k most likely. The
tail is the rest: 1 minus the kept masses, in fp64. Each log-probability is rounded to fp32, by up to 6e-8 of
its size, so a tail under about 1e-6 is noise. It is at least `LEAST`, and at least the label's own mass where
the label is not kept. Our own capture sums the rest itself and has no such limit.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

LEAST = 2.0**-24
"""Half the rounding step of fp32 just under 1: the least tail that differs from none."""
MOST = 1.0 + 1e-3
"""The most that the masses of one row may add up to, rounding included."""


class Entries(NamedTuple):
    """Token ids with their log-probabilities, row after row, in any order; a token may occur twice.

    Attributes:
        ids: int64 [E].
        logprobs: float64 [E].
        counts: int64 [N], entries of each row.
    """

    ids: Int[np.ndarray, " E"]
    logprobs: Float[np.ndarray, " E"]
    counts: Int[np.ndarray, " N"]


class Kept(NamedTuple):
    """The kept tokens of each row, as `fusionchat.represent.select.Selected`; empty slots have -inf.

    Attributes:
        ids: int32 [N, K], most likely first, ties by id.
        logprobs: float32 [N, K].
        tail: float32 [N].
        label_logprob: float32 [N]; NaN where the label has no entry, and where an entry of the row is NaN.
    """

    ids: Int[np.ndarray, "N K"]
    logprobs: Float[np.ndarray, "N K"]
    tail: Float[np.ndarray, " N"]
    label_logprob: Float[np.ndarray, " N"]


def keep(entries: Entries, labels: Int[np.ndarray, " N"], k: int, *, vocabulary: int) -> Kept:
    """The k most likely tokens among the entries of each row.

    Args:
        entries: What the program returned.
        labels: The tokens that follow.
        k: At most ``vocabulary``.
        vocabulary: Tokens of the tokenizer; the mass of ids past them is tail.

    Raises:
        ValueError: The masses of a row add up to more than 1, so these are no log-probabilities.
    """
    n = len(labels)
    row_E = np.repeat(np.arange(n), entries.counts)
    ids_E, logprobs_E = entries.ids, entries.logprobs
    # 1. The label's own log-probability, wherever it is among the entries.
    label_N = np.full(n, np.nan)
    own_E = ids_E == labels[row_E]
    label_N[row_E[own_E]] = logprobs_E[own_E]
    label_N[row_E[np.isnan(logprobs_E)]] = np.nan
    # 2. One entry per token, only of tokens that the tokenizer has and with mass above 0.
    order = np.lexsort((-logprobs_E, ids_E, row_E))
    row, ids, logprobs = row_E[order], ids_E[order], logprobs_E[order]
    first = np.ones(len(row), dtype=bool)
    first[1:] = (row[1:] != row[:-1]) | (ids[1:] != ids[:-1])
    first &= (ids < vocabulary) & (logprobs > -np.inf)
    row, ids, logprobs = row[first], ids[first], logprobs[first]
    # 3. The k most likely of each row.
    order = np.lexsort((ids, -logprobs, row))
    row, ids, logprobs = row[order], ids[order], logprobs[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    taken = rank < k
    row, ids, logprobs, rank = row[taken], ids[taken], logprobs[taken], rank[taken]
    kept_ids, kept_NK = np.zeros((n, k), np.int32), np.full((n, k), -np.inf)
    kept_ids[row, rank], kept_NK[row, rank] = ids, logprobs
    # 4. The tail: 1 - sum of the kept, within its known bounds.
    mass_N = np.exp(kept_NK).sum(axis=1)
    if (mass_N > MOST).any():
        raise ValueError(f"masses of the {k} most likely tokens add up to {mass_N.max():.4g}")
    there_N = np.bincount(row[ids == labels[row]], minlength=n) > 0
    least_N = np.where(
        there_N | np.isnan(label_N), 0.0, np.exp(label_N, where=~np.isnan(label_N), out=np.zeros(n))
    )
    whole_N = np.bincount(row, minlength=n) == vocabulary
    rest_N = np.maximum(np.maximum(1.0 - mass_N, least_N), np.where(whole_N, 0.0, LEAST))
    tail_N = np.log(rest_N, where=rest_N > 0, out=np.full(n, -np.inf))
    return Kept(kept_ids, kept_NK.astype(np.float32), tail_N.astype(np.float32), label_N.astype(np.float32))
