# M models, U units
"""Confidence: the model that is surest of the next token wins the row. PURE."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

from fusionchat.fuse.rules.base import BaseRule, Per, Units, take_least


@dataclass(frozen=True)
class Confidence(BaseRule):
    """The distribution of least entropy; the label is not used, so a sure model may be wrong.

    Attributes:
        per: What is compared and taken as one; by default each token. The entropy of more than a token is the
            mean over the rows in which all models have a distribution.
    """

    method: Literal["confidence"] = "confidence"
    per: Per = "token"
    asks_entropy: ClassVar[bool] = True

    def weigh(self, units: Units) -> Float[np.ndarray, "M U"]:
        """1 for the model with the least entropy, 0 for the others.

        Ties, and rows that a model lacks, go to the pivot.
        """
        assert units.entropy is not None, "it asks for entropies"
        return take_least(units.entropy)
