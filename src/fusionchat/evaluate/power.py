# S points of a grid
"""How large a gain must be to be called clear in 4 of 5 cases. PURE."""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from fusionchat.evaluate.noise import Gain
from fusionchat.evaluate.statistics import ENOUGH
from fusionchat.evaluate.t_distribution import critical

POWER = 0.8
AIM = 0.83
"""The power that the formula aims at, so that the real one reaches `POWER`.

With few items and mixed noises, the formula's assumptions do not hold exactly.
"""
POINTS = 96
"""Points of the grid of standard errors, which determine the power to 0.1 %."""
REACH = 25.0
"""The density of the grid's logarithm counts as 0 below exp(-REACH) of its maximum."""


def detectable(gain: Gain, own: float = 0.0) -> float | None:
    """The true gain that another experiment like this one would call clear with probability `POWER`.

    None if it would call nothing clear, because the training noise is unknown or there are fewer than
    `ENOUGH` items. The errors that sampling and training need are weighted by their variances.

    Args:
        gain: The result of this experiment.
        own: What a gain of 1 adds to the variance of one item's difference: 1 for a share of right answers,
            which cannot rise without items that change, and 0 for bits.
    """
    if gain.se is None or gain.t is None or gain.n < ENOUGH:
        return None
    errors = sampling = errors_needed(gain.n - 1)
    if gain.df is not None and gain.training_se and gain.se:
        share = gain.training_se**2 / gain.se**2
        errors = (1 - share) * errors + share * errors_needed(gain.df)
    added = own * sampling**2 / (2 * gain.n)  # size^2 = (errors se)^2 + sampling^2 own size / n
    return added + math.sqrt(added**2 + (errors * gain.se) ** 2)


@lru_cache(maxsize=1024)
def errors_needed(df: float) -> float:
    """The size of a true gain, in one experiment's standard errors, to be clear in another experiment.

    k with P(Z + k s1 > t s2) = `AIM`: Z is a standard normal, s1 and s2 are the standard errors that the two
    experiments find, each the root of a chi squared over its degrees of freedom ``df``, at which Student's t
    is t. If the error is known exactly, k is t + 0.95 (Cohen, *Statistical Power Analysis*, 2nd ed. 1988,
    section 12.3; 0.84 for 80 %). With three seeds it is more than twice t, since one experiment's error may
    be half the other's.
    """
    t, (grid_S, weights_S) = critical(df), chi_grid(df)
    low, high = t, t + 1.0
    while power(high, t, grid_S, weights_S) < AIM:
        low, high = high, 2 * high
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, t, grid_S, weights_S) < AIM else (low, middle)
    return high


def power(k: float, t: float, grid_S: Float[np.ndarray, " S"], weights_S: Float[np.ndarray, " S"]) -> float:
    """P(Z + k s1 > t s2) for two independent standard errors on a grid with its weights."""
    above_SS = normal_below(k * grid_S[:, None] - t * grid_S[None, :])
    return float(weights_S @ above_SS @ weights_S)


def chi_grid(df: float) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]]:
    """Points and weights of s = sqrt(chi squared / df).

    The density of u = ln s is proportional to exp(df (u - exp(2u) / 2)); the trapezoidal rule is exact to many digits for it.
    """

    def log_density(u: float) -> float:
        return df * (u - math.expm1(2 * u) / 2)  # 0 at its maximum, u = 0

    def edge(step: float) -> float:
        u = step
        while log_density(u) > -REACH:
            u += step
        return u

    width = 1 / math.sqrt(2 * df)
    u_S = np.linspace(edge(-width / 4), edge(width / 4), POINTS)
    weights_S = np.exp(df * (u_S - np.expm1(2 * u_S) / 2))
    return np.exp(u_S), weights_S / weights_S.sum()


def normal_below(x: Float[np.ndarray, "S S"]) -> Float[np.ndarray, "S S"]:
    """The standard normal distribution function."""
    flat = [0.5 * math.erfc(-value / math.sqrt(2)) for value in x.ravel().tolist()]
    return np.array(flat).reshape(x.shape)
