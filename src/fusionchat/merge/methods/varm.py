"""VaRM, variation ratio merge: each parameter matrix weighs the targets by how much they changed it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64, Int64

from fusionchat.merge.methods.base import Block, Gram, Mixture, MixtureMethod, Program, TensorInfo
from fusionchat.merge.weights import Scope, variation_ratio

Granularity = Literal["model", "layer", "module", "matrix", "element"]


@dataclass(frozen=True)
class Varm(MixtureMethod):
    """Weights ``w_j = mean(delta_j^2)^power / sum_i mean(delta_i^2)^power`` (section 3.3, arXiv 2402.16107v6).

    Scale-free: there is no epsilon. A target that did not change a group has weight 0 there; where none did, the
    pivot stays.

    Attributes:
        granularity: What shares one set of weights: the whole model, a layer, a module of a layer (attention, MLP),
            a parameter matrix (the paper's choice), or every element by itself. Groups are weighted by element count.
        power: 1 is the paper's ratio, 0 the plain average of the targets that changed something, large values the
            target that changed most.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2402.16107"
    statistics: ClassVar[Literal["none", "changes", "all"]] = "changes"
    method: Literal["varm"] = "varm"
    granularity: Granularity = "matrix"
    power: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError where the power is negative or not finite."""
        if not 0 <= self.power < np.inf:
            raise ValueError(f"`power` must be 0 or more and finite, not {self.power:g}")

    @property
    def scope(self) -> Scope:
        """The group of tensors that share weights."""
        return "matrix" if self.granularity == "element" else self.granularity

    def mixture(self, gram: Gram) -> Mixture:
        """The variation ratios of one group."""
        return Mixture(variation_ratio(gram.squares_J / max(gram.count, 1), self.power))

    def program(self, info: TensorInfo) -> Program | None:
        """The work where every element has its own weights, None otherwise."""
        return ElementProgram(self.power) if self.granularity == "element" else None


class ElementProgram(Program):
    """VaRM with each element a group of its own."""

    def __init__(self, power: float) -> None:
        self.power = power

    def combine(
        self,
        block: Block,
        state: Int64[np.ndarray, " K"],
        kept_J: Int64[np.ndarray, " J"],
        out_B: Float64[np.ndarray, " B"],
    ) -> None:
        """Write ``pivot + sum_j w_j delta_j`` with the ratios taken element by element."""
        from fusionchat.merge.kernels.elements import add_by_change

        add_by_change(block.x_NB, self.power, kept_J, out_B)
