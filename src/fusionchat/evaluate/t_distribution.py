"""Student's t: how many standard errors a 95 % interval reaches to either side. PURE."""

import math
from collections.abc import Callable
from functools import lru_cache

LEVEL = 0.95  # of every interval in a report
LARGEST = 1e6  # degrees of freedom from which on t is the normal distribution to six digits
_TINY = 1e-300


@lru_cache(maxsize=1024)
def critical(df: float) -> float:
    """The t that |T| exceeds with probability 1 - `LEVEL` at ``df`` degrees of freedom.

    It is 12.71 at 1, and 4.30 at 2.

    Found by bisection of `outside`, which falls with t.
    """
    assert df > 0, "no degrees of freedom"
    low, high = 0.0, 1.0
    while outside(high, df) > 1 - LEVEL:
        low, high = high, 2 * high
    return _bisect(lambda t: outside(t, df) > 1 - LEVEL, low, high)


def degrees(t: float) -> float:
    """The degrees of freedom at which `critical` is ``t``, at most `LARGEST`."""
    if t <= critical(LARGEST):
        return LARGEST
    low = high = 1.0
    while critical(low) < t:
        low /= 2
    while critical(high) > t:
        high *= 2
    return _bisect(lambda df: critical(df) > t, low, high)


def outside(t: float, df: float) -> float:
    """P(|T| > t) = I_x(df / 2, 1 / 2) at x = df / (df + t^2) (Abramowitz & Stegun, 26.7.1)."""
    return incomplete_beta(df / (df + t * t), df / 2, 0.5)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function I_x(a, b).

    By its continued fraction (DLMF 8.17.22), which converges fast for x < (a + 1) / (a + b + 2); beyond it
    I_x(a, b) = 1 - I_{1-x}(b, a).
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / (a * _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """1 + d1 / (1 + d2 / (1 + ...)), by Lentz's method as Thompson and Barnett give it.

    J. Comput. Phys. 64:490 (1986).
    """
    value = ratio = 1.0
    inverse = 0.0
    for n in range(1, 1000):
        m = n // 2
        if n % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        inverse = 1 / (1 + term * inverse or _TINY)
        ratio = 1 + term / ratio or _TINY
        value *= inverse * ratio
        if abs(inverse * ratio - 1) < 1e-14:
            break
    return value


def _bisect(above: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``above`` turns from true (at ``low``) to false (at ``high``)."""
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) else (low, middle)
    return (low + high) / 2
