# M models, U units
"""AvgCE: a mixture of all models, where better ones weigh more. PURE."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

from fusionchat.fuse.rules.base import Rule, comparable


@dataclass(frozen=True)
class MeanCE(Rule):
    """A mixture of all models' distributions, weighted by softmax(-CE / temperature).

    This is AvgCE of arXiv 2402.16107v6, section 3.2.

    Attributes:
        per: What is scored as one.
        unit: As for `MinCE`.
        temperature: tau, in the unit of CE; 1 is the paper's.
        most: Mix at most this many models, those with the least CE; unset: all of them.
    """

    method: Literal["mean_ce"] = "mean_ce"
    temperature: float = 1.0
    most: int | None = None
    mixes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most is not None and self.most < 1:
            raise ValueError("most must be at least 1")
        if not self.temperature > 0:
            raise ValueError("temperature must be greater than 0")

    def weights(self, ce_MU: Float[np.ndarray, "M U"]) -> Float[np.ndarray, "M U"]:
        """softmax(-CE / temperature) over the best models; a unit without a score goes to the pivot."""
        scores = comparable(ce_MU)
        if self.most is not None:
            # Of equally good models the first counts as better.
            rank_MU = np.argsort(np.argsort(scores, axis=0, kind="stable"), axis=0)
            scores = np.where(rank_MU < self.most, scores, np.float32(np.inf))
        best = scores.min(axis=0)
        weight = np.exp(-(scores - np.where(np.isfinite(best), best, 0)) / np.float32(self.temperature))
        weight[0, ~np.isfinite(best)] = 1
        return (weight / weight.sum(axis=0)).astype(np.float32)
