# M models, U units
"""Fusion rules: settings that turn the models' scores into their weights. PURE."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

Per = Literal["conversation", "turn", "token"]
Unit = Literal["bits_per_byte", "nats_per_token"]
Column = Literal["domain", "id"]
"""What a rule can use of a conversation besides its turns."""
STRICT: dict[str, str] = {"extra": "forbid"}
PIVOT = "pivot"


class Units(NamedTuple):
    """The units of text that a rule weighs, each as one.

    Attributes:
        ce: [M, U], cross-entropy in the rule's unit, smaller is better; NaN where a model is not compared.
        names: The models, the pivot first.
        labels: The value of the rule's ``column`` for each unit's conversation, "" if it has none.
        entropy: [M, U], in bits: of a token, or the mean of the rows in which all models have a
            distribution; NaN where there is none. None unless the rule asks for it.
    """

    ce: Float[np.ndarray, "M U"]
    names: Sequence[str]
    labels: Sequence[str]
    entropy: Float[np.ndarray, "M U"] | None = None


@dataclass(frozen=True)
class BaseRule:
    """The base of all rules; each has its own ``method``.

    Rules that compare scores derive from `Rule`.

    Attributes:
        method: The rule's name in a recipe.
        temperatures: The temperature of each named model's distributions, see `fusionchat.fuse.temper`; 1 for
            others. Scores do not change.
    """

    method: str
    temperatures: dict[str, float] = field(default_factory=dict, kw_only=True)
    mixes: ClassVar[bool] = False
    """Whether rows can have weights other than 0 and 1."""
    asks_entropy: ClassVar[bool] = False
    """Whether it needs the entropies of the models' distributions."""
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def __post_init__(self) -> None:
        for name, value in self.temperatures.items():
            if not 0 < value < np.inf:
                raise ValueError(f"temperatures.{name} must be greater than 0, not {value:g}")

    @property
    def per(self) -> Per:
        """The unit of text that is weighed as one."""
        return "conversation"

    @property
    def unit(self) -> Unit:
        """The unit of CE."""
        return "bits_per_byte"

    @property
    def column(self) -> Column:
        """The column of the corpus that the rule uses, if it uses one."""
        return "domain"

    def weigh(self, units: Units) -> Float[np.ndarray, "M U"]:
        """Weight of each model in each unit, float32, columns summing to 1."""
        raise NotImplementedError

    def to_pivot(self, units: Units) -> Mapping[str, int]:
        """How many units go to the pivot for lack of another model, by reason."""
        return {}

    @property
    def models(self) -> dict[str, str]:
        """The models that its settings name, by the key that names them; the recipe must have them."""
        return {f"temperatures.{name}": name for name in self.temperatures}

    @property
    def labels(self) -> Sequence[str]:
        """The values of its column that its settings name: some conversation should have each."""
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
        """Weight of each model in each unit, float32, from the scores alone."""
        return self.weights(units.ce)

    def weights(self, ce_MU: Float[np.ndarray, "M U"]) -> Float[np.ndarray, "M U"]:
        """Weight of each model in each unit, float32, columns summing to 1.

        Args:
            ce_MU: Cross-entropy in the rule's unit, smaller is better; NaN where a model is not compared.
                Scores are compared in fp32; a NaN never wins; ties, and units without a score, go to model 0,
                the pivot.
        """
        raise NotImplementedError


def take_least(scores_MU: Float[np.ndarray, "M U"]) -> Float[np.ndarray, "M U"]:
    """Weight 1 for the model with the least score, compared in fp32.

    Ties, and units without scores, go to the first.
    """
    best_U = np.argmin(comparable(scores_MU), axis=0)
    return (np.arange(len(scores_MU))[:, None] == best_U).astype(np.float32)


def comparable(ce_MU: Float[np.ndarray, "M U"]) -> Float[np.ndarray, "M U"]:
    """Scores in fp32, infinite where a model has none."""
    scores: np.ndarray = np.where(np.isnan(ce_MU), np.inf, ce_MU).astype(np.float32)
    return scores
