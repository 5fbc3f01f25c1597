# C conversations
"""Estimates with standard errors, for one model and for two on the same items. PURE.

The unit of sampling is the conversation: its tokens depend on each other, so a standard error over tokens
would be far too small. `fusionchat.evaluate.noise` adds what other seeds of a training would change.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

Bits = Float[np.ndarray, " C"]
Bytes = Int[np.ndarray, " C"]
Correct = Bool[np.ndarray, " C"] | Float[np.ndarray, " C"]  # a share if it is the mean of several trainings
E = TypeVar("E")
ENOUGH = 10  # conversations from which on a standard error is itself reliable


class Estimate(NamedTuple):
    """A value and its standard error over n conversations.

    ``se`` is None if n is too small to know it.
    """

    value: float
    se: float | None
    n: int


class Breakdown(NamedTuple):
    """An estimate over all conversations, and over those of each domain (in order of first appearance)."""

    overall: Estimate
    domains: dict[str, Estimate]


def ratio(numerators_C: Bits, denominators_C: Bits | Bytes) -> Estimate:
    """The ratio estimator R = sum(y) / sum(x) over conversations and its linearised standard error.

    se = sqrt(n / (n - 1) * sum((y_i - R x_i)^2)) / sum(x), the delta method without finite-population
    correction (Cochran, *Sampling Techniques*, 3rd ed. 1977, sections 2.11 and 6.4). For numerators that are
    the difference of two models it is the standard error of the paired difference.

    Raises:
        ValueError: If there is nothing to divide by.
    """
    n, total = len(denominators_C), float(np.sum(denominators_C, dtype=np.float64))
    if total <= 0:
        raise ValueError("a ratio needs a positive denominator: no conversation carries any bytes")
    value = float(np.sum(numerators_C, dtype=np.float64)) / total
    if n < 2:
        return Estimate(value, None, n)
    residuals_C = numerators_C.astype(np.float64) - value * denominators_C.astype(np.float64)
    return Estimate(value, float(np.sqrt(n / (n - 1) * np.sum(residuals_C**2))) / total, n)


def proportion(correct_C: Correct) -> Estimate:
    """The share that is right, with half the width of Wilson's score interval at z = 1 as standard error.

    se = sqrt(p (1 - p) / n + 1 / (4 n^2)) / (1 + 1 / n) (Wilson 1927, JASA 22:209). Near the middle it is the
    binomial sqrt(p (1 - p) / n); at 0 and 1, where that would claim certainty, it is 1 / (2 (n + 1)). For the
    mean of several trainings p (1 - p) is the variance of the conversations' shares, which it equals for one.

    Raises:
        ValueError: If there is no conversation.
    """
    n = len(correct_C)
    if n == 0:
        raise ValueError("a proportion needs at least one conversation")
    p, variance = float(np.mean(correct_C)), float(np.var(correct_C))
    return Estimate(p, float(np.sqrt(variance / n + 1 / (4 * n * n)) / (1 + 1 / n)), n)


def proportion_gain(correct_C: Correct, baseline_C: Correct) -> Estimate:
    """The share right minus the baseline's on the same conversations, with the paired standard error.

    With b conversations that only the model has right and c that only the baseline has,
    se = sqrt(b + c + 1 - (b - c)^2 / (n + 2)) / (n + 2): the Wald error of matched pairs after adding one half
    to each of the four cells (Agresti & Min 2005, Statistics in Medicine 24:729), which stays above zero
    where the two never differ. For means of several trainings b + c is the sum of the squared differences, and
    b - c their sum, which they equal for one.

    Raises:
        ValueError: If there is no conversation.
    """
    n = len(correct_C)
    if n == 0:
        raise ValueError("a proportion needs at least one conversation")
    difference_C = correct_C.astype(np.float64) - baseline_C.astype(np.float64)
    net, moved = float(np.sum(difference_C)), float(np.sum(difference_C**2))
    return Estimate(net / n, float(np.sqrt(moved + 1 - net**2 / (n + 2)) / (n + 2)), n)


def sized(domains: Sequence[str], sizes_C: Bytes | Bits) -> list[str]:
    """The conversations' domains, "" for one that has no size.

    That is one of which no byte is scored by all models of a comparison.
    """
    there = {name for name, size in zip(domains, sizes_C, strict=True) if size > 0}
    return [name if name in there else "" for name in domains]


def break_down(domains: Sequence[str], estimator: Callable[[NDArray[np.intp]], E]) -> tuple[E, dict[str, E]]:
    """The estimator on all conversations and on those of each domain.

    An empty label belongs to no domain.
    """
    labels_C = np.asarray(domains, dtype=object)
    parts = {name: np.flatnonzero(labels_C == name) for name in dict.fromkeys(domains) if name}
    whole = estimator(np.arange(len(labels_C)))
    return whole, {name: estimator(rows) for name, rows in parts.items()}
