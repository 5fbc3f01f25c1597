"""Fisher merging: every parameter averaged with its Fisher information as weight."""

# J targets, B elements of a block

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64, Int64

from fusionchat.errors import MergeError
from fusionchat.merge.methods.base import BlockMethod
from fusionchat.merge.methods.checks import check_weights, weights_for
from fusionchat.merge.methods.steps import Block, Combine, State, Steps, TensorInfo


@dataclass(frozen=True)
class Fisher(BlockMethod):
    """``sum_j w_j F_j target_j / sum_j w_j F_j``, element by element (Eq. 2, arXiv 2111.09832).

    Where all information is 0, the weighted average is used. `fusionchat fisher TARGET CORPUS --out FOLDER`
    makes the folders. A recipe's merge needs them beforehand: `fusionchat distill RECIPE`, then `fusionchat
    fisher` for each target (`runs/NAME/distill/SOURCE@WEIGHT/model`), then `fusionchat run RECIPE`.

    Attributes:
        fisher: Folder with each target's diagonal, one tensor per parameter under the parameter's name, in
            the targets' order (a recipe's: its sources'), relative to the working directory.
        weight: One per target; None is the same for all.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2111.09832"
    needs_auxiliary: ClassVar[bool] = True
    method: Literal["fisher"] = "fisher"
    fisher: tuple[str, ...] = ()
    weight: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if weights cannot be used."""
        check_weights(self.weight, positive_sum=True)
        if self.weight is not None and min(self.weight) < 0:
            raise ValueError("`weight` must not be negative")

    def auxiliary(self) -> tuple[str, ...]:
        """The folders with the diagonals."""
        return self.fisher

    def steps(self, tensor: TensorInfo) -> Steps:
        """One pass (Eq. 2); raises MergeError if information is negative."""
        from fusionchat.merge.kernels.elements import average_by_information

        weight_J = weights_for(self.weight, tensor.targets)

        def write(block: Block, _: State, out_B: Float64[np.ndarray, " B"]) -> Int64[np.ndarray, " J"]:
            kept_J = np.zeros(tensor.targets, np.int64)
            if average_by_information(block.x_NB, block.aux_JB, weight_J, kept_J, out_B):
                first = next(j for j, fisher_B in enumerate(block.aux_JB) if (fisher_B < 0).any())
                raise MergeError(
                    f"The Fisher information of tensor {tensor.name} has negative values, which a mean of squares cannot have",
                    where=self.fisher[first] if self.fisher else "",
                    do="use the folders that `fusionchat fisher` writes, not models",
                )
            return kept_J

        yield Combine(write)
