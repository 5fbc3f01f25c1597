"""Fisher merging: every parameter averaged with its Fisher information as weight."""

# J targets, B elements of a block

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64, Int64

from fusionchat.merge.methods.base import Block, BlockMethod, Program, TensorInfo, check_weights, weights_for


@dataclass(frozen=True)
class Fisher(BlockMethod):
    """``sum_j w_j F_j target_j / sum_j w_j F_j``, element by element (Eq. 2, arXiv 2111.09832).

    Where all information is 0 the weighted average is taken. `fusionchat.merge.fisher.write_fisher` makes the folders.

    Attributes:
        fisher: Folder with each target's diagonal, one tensor per parameter under the parameter's name, in order.
        weight: One per target; None is the same for all.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2111.09832"
    needs_auxiliary: ClassVar[bool] = True
    method: Literal["fisher"] = "fisher"
    fisher: tuple[str, ...] = ()
    weight: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where weights cannot be used."""
        check_weights(self.weight, positive_sum=True)
        if self.weight is not None and min(self.weight) < 0:
            raise ValueError("`weight` must not be negative")

    def auxiliary(self) -> tuple[str, ...]:
        """The folders with the diagonals."""
        return self.fisher

    def program(self, info: TensorInfo) -> Program:
        """The work on one tensor."""
        return FisherProgram(weights_for(self.weight, info.targets))


class FisherProgram(Program):
    """One look that combines."""

    def __init__(self, weight_J: Float64[np.ndarray, " J"]) -> None:
        self.weight_J = weight_J

    def combine(
        self,
        block: Block,
        state: Int64[np.ndarray, " K"],
        kept_J: Int64[np.ndarray, " J"],
        out_B: Float64[np.ndarray, " B"],
    ) -> None:
        """Write the weighted average."""
        from fusionchat.merge.elements import average_by_information

        average_by_information(block.x_NB, block.aux_JB, self.weight_J, kept_J, out_B)
