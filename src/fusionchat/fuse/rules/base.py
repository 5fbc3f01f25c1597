# M models, U units
"""What a fusion rule is: settings that turn the models' scores into their weights. PURE."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

Per = Literal["conversation", "turn", "token"]
Unit = Literal["bits_per_byte", "nats_per_token"]
STRICT: dict[str, str] = {"extra": "forbid"}
PIVOT = "pivot"


class Units(NamedTuple):
    """What is known of the units of text that a rule weighs as one.

    Attributes:
        ce: [M, U], cross-entropy in the rule's unit, smaller is better; NaN where a model is not compared.
        names: The models, the pivot first.
        domains: The domain of each unit's conversation, "" where it has none.
    """

    ce: Float[np.ndarray, "M U"]
    names: Sequence[str]
    domains: Sequence[str]


@dataclass(frozen=True)
class BaseRule:
    """What all rules have; each has a ``method`` of its own. Rules that compare scores are made of `Rule`.

    Attributes:
        method: The rule's name in a recipe.
    """

    method: str
    mixes: ClassVar[bool] = False
    """Whether rows can have weights other than 0 and 1."""
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    @property
    def per(self) -> Per:
        """What is weighed as one."""
        return "conversation"

    @property
    def unit(self) -> Unit:
        """What CE is measured in."""
        return "bits_per_byte"

    def weigh(self, units: Units) -> Float[np.ndarray, "M U"]:
        """Weight of each model in each unit, float32, columns summing to 1."""
        raise NotImplementedError

    def to_pivot(self, units: Units) -> Mapping[str, int]:
        """How many units the pivot has for want of another model, by reason."""
        return {}

    @property
    def models(self) -> Mapping[str, str]:
        """The models that its settings name, by the key that names them: the recipe must have them."""
        return {}

    @property
    def domains(self) -> Sequence[str]:
        """The domains that its settings name: some conversation should have them."""
        return ()


@dataclass(frozen=True)
class Rule(BaseRule):
    """The base of the rules that compare the models' scores.

    Attributes:
        method: The rule's name in a recipe.
        per: What is scored and weighed as one: the whole conversation (the paper), a turn, or a token; over the text
            that all models score.
        unit: ``bits_per_byte`` compares what tokenizers cannot change; ``nats_per_token`` is the paper's and favours
            finer tokenizers.
    """

    per: Per = "conversation"
    unit: Unit = "bits_per_byte"

    def weigh(self, units: Units) -> Float[np.ndarray, "M U"]:
        """Weights from the scores alone."""
        return self.weights(units.ce)

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
