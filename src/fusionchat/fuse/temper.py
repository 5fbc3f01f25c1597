# N rows, K kept tokens
"""A model's distributions at another temperature, and their entropy. PURE."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from fusionchat.represent.bits import NATS_PER_BIT
from fusionchat.represent.events import add_up
from fusionchat.represent.topk import TopK


def temper(topk: TopK, temperature: float) -> TopK:
    """The distributions with their kept tokens at a temperature T; the tail keeps its mass.

    q_i = m p_i^(1/T) / sum_j p_j^(1/T) over the kept tokens, with m = sum_j p_j. Above 1 they are flatter,
    below 1 sharper. Only the mass of the tail is known, so nothing moves into it or out of it.
    """
    if temperature == 1:
        return topk
    logprobs = topk.logprobs.astype(np.float64)
    hot = logprobs / temperature
    with np.errstate(invalid="ignore"):  # a row without a kept token is -inf throughout
        shift = log_sum(logprobs) - log_sum(hot)
    made = hot + np.where(np.isnan(shift), 0, shift)
    return replace(topk, logprobs=made.astype(np.float16))


def log_sum(logprobs: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N 1"]:
    """log sum exp of each row; -inf where all values are."""
    most = np.max(logprobs, axis=1, keepdims=True)
    base = np.where(np.isfinite(most), most, 0)
    with np.errstate(divide="ignore"):
        summed: np.ndarray = base + np.log(np.exp(logprobs - base).sum(axis=1, keepdims=True))
    return summed


def entropy(topk: TopK) -> Float[np.ndarray, " N"]:
    """H = -sum_i p_i log2 p_i in bits, the tail counted as one token; NaN without a distribution.

    The tokens in the tail would add to it, so models are comparable where the same number of tokens is kept
    of each.
    """
    logprobs = np.concatenate([topk.logprobs, topk.tail[:, None]], axis=1).astype(np.float64)
    mass = np.exp(logprobs)
    bits = -(mass * np.where(mass > 0, logprobs, 0)).sum(axis=1) / NATS_PER_BIT
    return np.where(topk.present, bits, np.nan)


def entropy_of_rows(topks: Sequence[TopK]) -> Float[np.ndarray, "M N"]:
    """The entropy of each model in each row, NaN where it has no distribution."""
    return np.stack([entropy(topk) for topk in topks])


def mean_entropy(
    topks: Sequence[TopK], unit_N: Int[np.ndarray, " N"], units: int
) -> Float[np.ndarray, "M U"]:
    """Mean entropy of each model in each unit, over rows where all have a distribution; NaN if none."""
    shared_N = np.logical_and.reduce([topk.present for topk in topks])
    unit, rows = unit_N[shared_N], add_up(np.ones(int(shared_N.sum())), unit_N[shared_N], units)
    sums_MU = np.stack([add_up(entropy(topk)[shared_N], unit, units) for topk in topks])
    return np.divide(sums_MU, rows, out=np.full(sums_MU.shape, np.nan), where=rows > 0)
