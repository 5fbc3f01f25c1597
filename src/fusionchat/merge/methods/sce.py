"""SCE: select the elements on which targets differ most, calculate weights, erase."""

# J targets, B elements of a block

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Float64

from fusionchat.merge.methods.base import BlockMethod
from fusionchat.merge.methods.checks import check_range
from fusionchat.merge.methods.largest import largest
from fusionchat.merge.methods.steps import Block, Combine, Count, State, Steps, TensorInfo
from fusionchat.merge.weights import variation_ratio


@dataclass(frozen=True)
class Sce(BlockMethod):
    """The elements on which targets differ most, weighted by squared change, minorities erased.

    Selects the elements with the largest variance over the targets, weights each target with its share of the
    squared changes there, and averages, element by element, the changes with the elected sign (arXiv
    2408.07990). It is scale-free. With one target nothing differs, and all elements are selected.

    Attributes:
        select_topk: Share of the elements to select, among those whose variance is not 0.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2408.07990"
    method: Literal["sce"] = "sce"
    select_topk: float = 0.1

    def __post_init__(self) -> None:
        """Raise ValueError if a setting is out of range."""
        check_range("select_topk", self.select_topk, 0, 1)

    def steps(self, tensor: TensorInfo) -> Steps:
        """Section 3.3 of the paper, whose tau is select_topk."""
        from fusionchat.merge.kernels.consensus import Elected, add_elected
        from fusionchat.merge.kernels.gram import add_squares
        from fusionchat.merge.kernels.selection import keep_marked

        share = self.select_topk if tensor.targets > 1 else 1.0

        # 1. select: the tau * n elements of largest nonzero variance over the targets
        top = yield from largest(
            np.array([[share]]), tensor, lambda block: variance(block.delta_JB)[None], of_nonzero=share < 1
        )

        def select(block: Block, quota: State) -> int:
            if share >= 1:
                return block.delta_JB.shape[1]
            mask_B = top.mark(0, variance(block.delta_JB), quota)
            return [keep_marked(delta_B, mask_B, True) for delta_B in block.delta_JB][-1]

        # 2. calculate: eta_j = sum delta_j^2 / sum_i sum delta_i^2 over the selected elements
        def squares(block: Block, quota: State, total_J: Float64[np.ndarray, " J"]) -> None:
            select(block, quota)
            add_squares(block.delta_JB, total_J)

        total_J = yield Count(squares, shape=(tensor.targets,), dtype=np.float64, start=top.quota)
        eta_J = variation_ratio(total_J, 1.0)
        elected = Elected(vote_J=np.ones(tensor.targets), weight_J=eta_J, share_J=eta_J)

        # 3. erase: each element's changes against the sign of their sum; the mean of the others, weighted by eta
        def write(block: Block, quota: State, out_B: Float64[np.ndarray, " B"]) -> list[int]:
            kept = select(block, quota)
            add_elected(block.x_NB, block.delta_JB, elected, out_B)
            return [kept] * tensor.targets

        yield Combine(write, start=top.quota, ties=top.ties * tensor.targets)


def variance(delta_JB: Float32[np.ndarray, "J B"]) -> Float32[np.ndarray, " B"]:
    """Variance over the targets of every element, in float32: mean of squared distances from the mean."""
    from fusionchat.merge.kernels import consensus

    out_B = np.empty(delta_JB.shape[1:], np.float32)
    consensus.variance(delta_JB, out_B)
    return out_B
