# C conversations, R trainings that differ in their seeds alone
"""Gains with errors from both the sampling of conversations and the noise of training. PURE.

Another test part and other seeds would both change a gain. With s trainings on one side and r on the other

    se^2 = [V - sum_k a_k W_k]+ + sum_k a_k S_k^2,      a = 1 / s and 1 / r,

V: sampling variance of the paired difference of the sides' means; S^2: variance between trainings, seen on
these conversations; W: the part of S^2 that V contains already, since seeds differ by conversation, too. That
is the two-way clustered variance (Cameron, Gelbach & Miller 2011, JBES 29:238): by conversation, plus by
seed, minus by both. docs/decisions/training_noise.md says what is assumed and how often the intervals are
wrong.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fusionchat.evaluate.statistics import ENOUGH, Estimate, break_down, sized
from fusionchat.evaluate.t_distribution import critical

Scores = Float[np.ndarray, " C"]
Runs = Float[np.ndarray, "R C"]
Sizes = Float[np.ndarray, " C"] | Int[np.ndarray, " C"]


class Gain(NamedTuple):
    """The gain of a model over another, positive if it is better.

    Attributes:
        value: The gain.
        se: Its standard error; of sampling alone if the training noise is unknown, None if neither is known.
        n: The number of conversations.
        sampling_se: Standard error over conversations, for the given trained models.
        training_se: Standard error over seeds; None if no side was trained twice.
        t: Standard errors to either side of a 95 % interval; None if the training noise is unknown.
        df: Degrees of freedom of ``training_se``; None if it is 0 or unknown.
    """

    value: float
    se: float | None
    n: int
    sampling_se: float | None = None
    training_se: float | None = None
    t: float | None = None
    df: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval; None if an error is unknown."""
        if self.se is None or self.t is None:
            return None
        return self.value - self.t * self.se, self.value + self.t * self.se

    @property
    def is_clear(self) -> bool:
        """Whether the 95 % interval, from at least `ENOUGH` conversations, excludes zero."""
        if self.n < ENOUGH or not self.se or self.t is None:
            return False
        return abs(self.value) > self.t * self.se


class Gains(NamedTuple):
    """A gain over all conversations, and over those of each domain (in order of first appearance)."""

    overall: Gain
    domains: dict[str, Gain]


class Side(NamedTuple):
    """One side of a comparison.

    Attributes:
        scores_C: Its bits, or its share of right answers; the mean over its trainings.
        share: Its variance in units of one training's: 1 / trainings; 0 for a model that was not trained
            here.
        runs_RC: Scores of trainings that differ only in their seeds and show the noise of one; None if there
            are none.
    """

    scores_C: Scores
    share: float = 0.0
    runs_RC: Runs | None = None

    def at(self, rows: np.ndarray) -> "Side":
        """The side on some of the conversations."""
        runs_RC = None if self.runs_RC is None else self.runs_RC[:, rows]
        return Side(self.scores_C[rows], self.share, runs_RC)


class Spread(NamedTuple):
    """The spread of trainings: S^2 of one, the part W of it due to sampling, and R - 1."""

    variance: float
    own: float
    df: int


def paired(
    model: Side,
    baseline: Side,
    sizes_C: Sizes,
    domains: Sequence[str],
    difference: Callable[[Scores, Scores, Sizes], Estimate],
) -> Gains:
    """The gain of a model over a baseline on the same conversations, overall and by domain, see `gain`.

    Args:
        model: One side.
        baseline: The other.
        sizes_C: The divisors of both sides' scores: bytes, or ones.
        domains: The conversations' domains; one without size has no gain.
        difference: The gain of the first scores over the second and its sampling error, given their sizes.
    """

    def one(rows: np.ndarray) -> Gain:
        ours, theirs, size_C = model.at(rows), baseline.at(rows), sizes_C[rows]
        sampled = difference(ours.scores_C, theirs.scores_C, size_C)
        return gain(sampled, ours, theirs, size_C, one_noise(model, baseline))

    return Gains(*break_down(sized(domains, sizes_C), one))


def one_noise(model: Side, baseline: Side) -> bool:
    """Whether the same trainings show the noise of both sides, so that it is one estimate, not two."""
    return model.runs_RC is baseline.runs_RC


def gain(sampled: Estimate, model: Side, baseline: Side, sizes_C: Sizes, shared: bool) -> Gain:
    """A paired difference with the training noise of its sides.

    t is between those of sampling and of training, see `mixed_t`. With Satterthwaite's degrees of freedom, if
    one variance is known from only two seeds, intervals miss the truth twice as often as they should.

    Args:
        sampled: The difference with its sampling error.
        model: One side, on the conversations of ``sampled``.
        baseline: The other.
        sizes_C: The divisors of their scores: bytes, or ones.
        shared: Whether the noise of both sides is one estimate, see `one_noise`.
    """
    value, error, n = sampled
    if error is None:
        return Gain(value, None, n)
    sides = [side for side in (model, baseline) if side.share > 0]
    if any(side.runs_RC is None for side in sides):
        return Gain(value, error, n, sampling_se=error)
    if shared:
        sides = [Side(model.scores_C, model.share + baseline.share, model.runs_RC)] if sides else []
    spreads = [spread(side.runs_RC, sizes_C) for side in sides if side.runs_RC is not None]
    parts = [
        (side.share * s.variance, side.share * s.own, s.df) for side, s in zip(sides, spreads, strict=True)
    ]
    trained = sum(variance for variance, _, _ in parts)
    known = max(0.0, error**2 - sum(own for _, own, _ in parts))
    t, df = critical(n - 1), None
    if trained > 0:
        df = degrees_of_freedom([(variance, df) for variance, _, df in parts])
        t = mixed_t(t, df, trained / (known + trained))
    return Gain(value, float(np.sqrt(known + trained)), n, error, float(np.sqrt(trained)), t, df)


def mixed_t(sampling_t: float, df: float, share: float) -> float:
    """The t for a variance of which a share is training's, known with ``df`` degrees of freedom.

    t = t_sampling + (t_df - t_sampling) share^p, p = 3/2 - 1/(2 df), at least 1. p = 1 is Cochran and Cox's
    (*Experimental Designs*, 2nd ed. 1957, section 4.14), the mean of both weighted by the variances. It is
    too large if both shares are: with three seeds, equal models are then called different in 2.8 % of cases
    instead of 5. With this p it is 3.4 % to 5.4 %, whatever the share; with one degree of freedom, where a
    larger p leads to up to 8 %, it stays 1.
    """
    return sampling_t + (critical(df) - sampling_t) * share ** max(1.0, 1.5 - 0.5 / df)


def spread(runs_RC: Runs, sizes_C: Sizes) -> Spread:
    """The variance between trainings of their scores' sum over sizes, and the part due to sampling.

    S^2 = sum_r (v_r - v)^2 / (R - 1). W is `ratio`'s variance of v_r - v, summed likewise: half the mean
    sampling variance of the paired difference of two trainings.
    """
    trainings, n = runs_RC.shape
    assert trainings > 1 and n > 1, "no spread of one"
    total = float(np.sum(sizes_C))
    off_RC = runs_RC - runs_RC.mean(axis=0)
    off_R = off_RC.sum(axis=1) / total
    residual_RC = off_RC - off_R[:, None] * sizes_C
    own = n / (n - 1) * float(np.sum(residual_RC**2)) / total**2
    return Spread(float(np.sum(off_R**2)) / (trainings - 1), own / (trainings - 1), trainings - 1)


def degrees_of_freedom(parts: Sequence[tuple[float, int]]) -> float:
    """Degrees of freedom of a sum of variances: the total if all have the same, else Satterthwaite's.

    (sum v)^2 / sum(v^2 / df) (Satterthwaite 1946, Biometrics Bulletin 2:110; Welch 1947, Biometrika 34:28).
    With two trainings on each side it makes t so large that equal models are called different in 2 % of cases
    instead of 5 %. Student's own test, whose variance is the same for equal numbers, does so in 5 to 7 %,
    however unequal their noise is.
    """
    if len({df for _, df in parts}) == 1:
        return float(sum(df for _, df in parts))
    return sum(v for v, _ in parts) ** 2 / sum(v * v / df for v, df in parts)
