"""Averages with given weights: of the models (linear) and of their changes (task arithmetic)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fusionchat.merge.methods.base import Gram, Mixture, MixtureMethod
from fusionchat.merge.methods.checks import check_weights, weights_for


@dataclass(frozen=True)
class Linear(MixtureMethod):
    """The weighted average of the targets, ``sum_j w_j target_j`` (model soups, arXiv 2203.05482).

    Attributes:
        weight: One per target; None is the same for all.
        normalize: Divide the weights by their sum.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2203.05482"
    method: Literal["linear"] = "linear"
    weight: tuple[float, ...] | None = None
    normalize: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError if weights cannot be used."""
        check_weights(self.weight, positive_sum=self.normalize)

    def mixture(self, gram: Gram) -> Mixture:
        """The weights, the same for every tensor."""
        weight_J = weights_for(self.weight, gram.targets)
        return Mixture(
            weight_J, "models", pivot=0.0, divisor=float(weight_J.sum()) if self.normalize else 1.0
        )


@dataclass(frozen=True)
class TaskArithmetic(MixtureMethod):
    """The pivot plus the weighted sum of the changes, ``pivot + scale * sum_j w_j delta_j``.

    This is task arithmetic (arXiv 2212.04089).

    Attributes:
        weight: One per target; None is 1 for all.
        scale: Multiplies the sum (mergekit's ``lambda``).
        normalize: Divide the weights by their sum.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2212.04089"
    method: Literal["task_arithmetic"] = "task_arithmetic"
    weight: tuple[float, ...] | None = None
    scale: float = 1.0
    normalize: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError if weights cannot be used."""
        check_weights(self.weight, positive_sum=self.normalize)
        check_weights((self.scale,))

    def mixture(self, gram: Gram) -> Mixture:
        """The weights, the same for every tensor."""
        weight_J = weights_for(self.weight, gram.targets)
        return Mixture(weight_J, scale=self.scale, divisor=float(weight_J.sum()) if self.normalize else 1.0)
