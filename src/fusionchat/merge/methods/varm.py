"""VaRM, variation ratio merge: the targets' weights for a matrix are their shares of its change."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64, Int64

from fusionchat.merge.methods.base import Gram, Mixture, MixtureMethod
from fusionchat.merge.methods.steps import Block, Combine, State, Steps, TensorInfo
from fusionchat.merge.weights import Scope, variation_ratio

Granularity = Literal["model", "layer", "module", "matrix", "element"]


@dataclass(frozen=True)
class Varm(MixtureMethod):
    """``pivot + sum_j w_j delta_j``, ``w_j = mean(delta_j^2)^power / sum_i mean(delta_i^2)^power``.

    This is VaRM of arXiv 2402.16107v6.

    It is scale-free, without an epsilon. A target that did not change a group has weight 0 there; if none
    did, the result is the pivot.

    Attributes:
        granularity: What shares one set of weights: the whole model, a layer, a module of a layer (attention,
            MLP), a parameter matrix (the paper's choice), or every element by itself. Groups are weighted by
            element count.
        power: 1 is the paper's ratio, 0 the plain average of the targets that changed something, large values
            the target that changed most.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2402.16107"
    statistics: ClassVar[Literal["none", "changes", "all"]] = "changes"
    method: Literal["varm"] = "varm"
    granularity: Granularity = "matrix"
    power: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError if the power is negative or not finite."""
        if not 0 <= self.power < np.inf:
            raise ValueError(f"`power` must be 0 or more and finite, not {self.power:g}")

    @property
    def scope(self) -> Scope:
        """The group of tensors that share weights."""
        return "matrix" if self.granularity == "element" else self.granularity

    def mixture(self, gram: Gram) -> Mixture:
        """The variation ratios of one group."""
        return Mixture(variation_ratio(gram.squares_J / max(gram.count, 1), self.power))

    def steps(self, tensor: TensorInfo) -> Steps | None:
        """One pass if every element has its own weights; otherwise None."""
        return by_element(self.power, tensor.targets) if self.granularity == "element" else None


def by_element(power: float, targets: int) -> Steps:
    """VaRM with each element as a group of its own."""
    from fusionchat.merge.kernels.elements import add_by_change

    def write(block: Block, _: State, out_B: Float64[np.ndarray, " B"]) -> Int64[np.ndarray, " J"]:
        kept_J = np.zeros(targets, np.int64)
        add_by_change(block.x_NB, power, kept_J, out_B)
        return kept_J

    yield Combine(write)
