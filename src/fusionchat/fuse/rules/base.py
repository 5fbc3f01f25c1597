# M models, U units
"""What a fusion rule is: settings that turn the models' scores into their weights. PURE."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

Per = Literal["conversation", "turn", "token"]
Unit = Literal["bits_per_byte", "nats_per_token"]
STRICT: dict[str, str] = {"extra": "forbid"}


@dataclass(frozen=True)
class Rule:
    """The base of all rules; each has a ``method`` of its own.

    Attributes:
        method: The rule's name in a recipe.
        per: What is scored and weighed as one: the whole conversation (the paper), a turn, or a token; over the text
            that all models score.
        unit: ``bits_per_byte`` compares what tokenizers cannot change; ``nats_per_token`` is the paper's and favours
            finer tokenizers.
    """

    method: str
    per: Per = "conversation"
    unit: Unit = "bits_per_byte"
    mixes: ClassVar[bool] = False
    """Whether rows can have weights other than 0 and 1."""
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def weights(self, ce_MU: Float[np.ndarray, "M U"]) -> Float[np.ndarray, "M U"]:
        """Weight of each model in each unit, float32, columns summing to 1.

        Args:
            ce_MU: Cross-entropy in the rule's unit, smaller is better; NaN where a model is not compared. Scores are
                compared in fp32; a NaN never wins; ties, and units that nobody scored, go to model 0, the pivot.
        """
        raise NotImplementedError


def comparable(ce_MU: Float[np.ndarray, "M U"]) -> Float[np.ndarray, "M U"]:
    """Scores in fp32, infinite where a model has none."""
    scores: np.ndarray = np.where(np.isnan(ce_MU), np.inf, ce_MU).astype(np.float32)
    return scores
