"""SCE (select, calculate, erase): the elements on which targets differ most, weighted by how much each changed them."""

# J targets, B elements of a block

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64

from fusionchat.merge.methods.base import Block, BlockMethod, Program, TensorInfo, check_range
from fusionchat.merge.weights import variation_ratio


@dataclass(frozen=True)
class Sce(BlockMethod):
    """Select, calculate, erase (section 3.3, arXiv 2408.07990).

    Selects the elements with the largest variance over the targets, gives each target the share of its squared
    changes there as weight, and averages, element by element, the changes that have the elected sign. Scale-free.
    With one target nothing differs and all is selected.

    Attributes:
        select_topk: Share of the elements that is selected, of those whose variance is not 0.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2408.07990"
    method: Literal["sce"] = "sce"
    select_topk: float = 0.1

    def __post_init__(self) -> None:
        """Raise ValueError where a setting is out of range."""
        check_range("select_topk", self.select_topk, 0, 1)

    def program(self, info: TensorInfo) -> Program:
        """The work on one tensor."""
        return SceProgram(self.select_topk if info.targets > 1 else 1.0, info)


class SceProgram(Program):
    """Three looks to find the variance's threshold, one to sum the selected squares."""

    def __init__(self, share: float, info: TensorInfo) -> None:
        from fusionchat.merge.kernels.selection import Largest

        self.all = share >= 1
        self.largest = Largest(np.array([[share]]), info.size, info.chunks, of_nonzero=not self.all)
        self.targets = info.targets
        self.weight_J = np.zeros(info.targets)

    @property
    def stages(self) -> int:  # type: ignore[override]
        """The selection's looks and one more."""
        return self.largest.stages + 1

    def blank(self, stage: int) -> np.ndarray:
        """Histograms; at last one sum per target and the number of ties left."""
        return self.largest.blank(stage) if stage < self.largest.stages else np.zeros(self.targets + 1)

    def observe(self, stage: int, block: Block, counts: np.ndarray) -> None:
        """Count variances; at last sum the selected squares."""
        from fusionchat.merge.kernels.gram import add_squares

        if stage < self.largest.stages:
            self.largest.observe(stage, variance(block.delta_JB)[None], block.chunk, counts)
            return
        quota = int(self.largest.quota(block.chunk)[0] - counts[-1])
        counts[-1] += quota - self._select(block, quota)[0]
        add_squares(block.delta_JB, counts[:-1])

    def settle(self, stage: int, totals: np.ndarray) -> None:
        """Narrow the threshold down; at last take the ratios of the sums."""
        if stage < self.largest.stages:
            self.largest.settle(stage, totals)
        else:
            self.weight_J = variation_ratio(totals[:-1], 1.0)

    def start(self, chunk: int) -> Int64[np.ndarray, " K"]:
        """How many ties the chunk may take."""
        return self.largest.quota(chunk)

    def _select(self, block: Block, quota: int) -> tuple[int, int]:
        """Zero the changes of elements that are not selected; returns what is left of the quota, and how many stay."""
        from fusionchat.merge.kernels.selection import keep_marked, mark_largest

        kept = block.delta_JB.shape[1]
        if self.all:
            return quota, kept
        mask_B = np.empty(kept, np.bool_)
        left = mark_largest(variance(block.delta_JB), self.largest.threshold_RK[0, 0], quota, mask_B)
        for delta_B in block.delta_JB:
            kept = keep_marked(delta_B, mask_B, True)
        return int(left), kept

    def combine(
        self,
        block: Block,
        state: Int64[np.ndarray, " K"],
        kept_J: Int64[np.ndarray, " J"],
        out_B: Float64[np.ndarray, " B"],
    ) -> None:
        """Select, then average the changes that have the elected sign."""
        from fusionchat.merge.kernels import consensus

        state[0], kept = self._select(block, int(state[0]))
        kept_J += kept
        votes_J = np.ones(self.targets)
        weight_J = self.weight_J
        consensus.add_elected(
            block.x_NB, block.delta_JB, votes_J, weight_J, weight_J, False, 1.0, True, out_B
        )

    def ties(self) -> list[int]:
        """Elements whose variance is exactly the threshold (the same for all targets)."""
        return [int(self.largest.ties_RK[0, 0])] * self.targets


def variance(delta_JB: Float32[np.ndarray, "J B"]) -> Float32[np.ndarray, " B"]:
    """Variance over the targets of every element, in float32: mean of squared distances from the mean."""
    from fusionchat.merge.kernels import consensus

    out_B = np.empty(delta_JB.shape[1:], np.float32)
    consensus.variance(delta_JB, out_B)
    return out_B
