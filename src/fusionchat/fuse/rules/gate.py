# M models, U units
"""Gate: a source counts only where it is clearly better on the text. PURE."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

from fusionchat.fuse.rules.base import Per, Rule, comparable, take_least


@dataclass(frozen=True)
class Gate(Rule):
    """The pivot's distribution, or a mixture where the best source beats its CE by more than ``margin``.

    With ``margin: 0, weight: 1`` it is MinCE.

    Attributes:
        per: What is compared and taken as one; by default each token, by the probability of the label.
        unit: As for `MinCE`.
        margin: By how much a source must be better, in the unit of CE.
        weight: The weight of that source in the mixture; the pivot has the rest.
    """

    method: Literal["gate"] = "gate"
    per: Per = "token"
    margin: float = 0.0
    weight: float = 1.0
    mixes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.margin < np.inf:
            raise ValueError("margin must be at least 0")
        if not 0 < self.weight <= 1:
            raise ValueError("weight must be more than 0 and at most 1")

    def weights(self, ce_MU: Float[np.ndarray, "M U"]) -> Float[np.ndarray, "M U"]:
        """w for the best source where CE_pivot - CE_source > margin, 1 - w for the pivot.

        Elsewhere 1 for the pivot.
        """
        scores = comparable(ce_MU)
        best = take_least(np.where(np.arange(len(scores))[:, None] > 0, scores, np.float32(np.nan)))
        least_U = np.min(scores[1:], axis=0, initial=np.inf)
        with np.errstate(invalid="ignore"):  # neither is scored: inf - inf
            open_U = scores[0] - least_U > np.float32(self.margin)
        taken = np.where(open_U, best * np.float32(self.weight), np.float32(0))
        taken[0] = 1 - taken[1:].sum(axis=0)
        return taken
