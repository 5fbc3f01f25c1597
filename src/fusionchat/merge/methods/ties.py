"""TIES (trim, elect sign, merge) and Breadcrumbs: changes are kept by the rank of their magnitude."""

# J targets, B elements of a block, K thresholds a target

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64, Int64

from fusionchat.merge.methods.base import Block, Program, TensorInfo, check_range
from fusionchat.merge.methods.tasks import Consensus, Pruned, PruningProgram, Share, per_target


@dataclass(frozen=True)
class Ties(Pruned):
    """Keeps the largest changes of each target, elects a sign, averages the changes that have it (arXiv 2306.01708).

    Attributes:
        density: Share of every target's changes that is kept, ``int(density * n)`` per tensor.
        normalize: Divide by the sum of the agreeing weights (the paper's disjoint mean).
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2306.01708"
    method: Literal["ties"] = "ties"
    density: Share = 0.2
    normalize: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError where a setting is out of range."""
        self.check(density=(self.density, 0, 1))

    def program(self, info: TensorInfo) -> Program:
        """The work on one tensor."""
        density_J = per_target("density", self.density, info.targets)
        consensus = Consensus(self, info.targets, elect=True, normalize=self.normalize)
        return RankProgram(consensus, density_J[:, None], info)


@dataclass(frozen=True)
class Breadcrumbs(Pruned):
    """Drops each target's largest and smallest changes (arXiv 2312.06795).

    Attributes:
        density: Share of every target's changes that is kept, per tensor.
        gamma: Share of the largest changes that is dropped first; less where ``density`` would not be reached.
        elect_sign: Whether only changes with the elected sign count (mergekit's ``breadcrumbs_ties``).
        normalize: Divide by the sum of the weights that count.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2312.06795"
    method: Literal["breadcrumbs"] = "breadcrumbs"
    density: Share = 0.9
    gamma: Share = 0.01
    elect_sign: bool = False
    normalize: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError where a setting is out of range."""
        self.check(density=(self.density, 0, 1), gamma=(self.gamma, 0, 1))

    def program(self, info: TensorInfo) -> Program:
        """The work on one tensor."""
        density_J = per_target("density", self.density, info.targets)
        dropped_J = np.minimum(per_target("gamma", self.gamma, info.targets), 1 - density_J)
        size = max(info.size, 1)
        count_JK = np.stack([(density_J * size).astype(np.int64), (dropped_J * size).astype(np.int64)], 1)
        count_JK[:, 0] += count_JK[:, 1]
        consensus = Consensus(self, info.targets, elect=self.elect_sign, normalize=self.normalize)
        return RankProgram(consensus, (count_JK + 0.5) / size, info)


class RankProgram(PruningProgram):
    """Keeps the changes among the ``share_JK[:, 0]`` largest that are not among the ``share_JK[:, 1]`` largest."""

    def __init__(self, consensus: Consensus, share_JK: Float64[np.ndarray, "J K"], info: TensorInfo) -> None:
        from fusionchat.merge.kernels.selection import Largest

        super().__init__(consensus)
        check_range("share", float(share_JK.min(initial=0)), 0, 1)
        self.largest = Largest(share_JK, info.size, info.chunks)
        self.thresholds = share_JK.shape[1]

    @property
    def stages(self) -> int:  # type: ignore[override]
        """Looks that the selection needs."""
        return self.largest.stages

    def blank(self, stage: int) -> np.ndarray:
        """Histograms."""
        return self.largest.blank(stage)

    def observe(self, stage: int, block: Block, counts: np.ndarray) -> None:
        """Count magnitudes."""
        self.largest.observe(stage, block.delta_JB, block.chunk, counts)

    def settle(self, stage: int, totals: np.ndarray) -> None:
        """Narrow the thresholds down."""
        self.largest.settle(stage, totals)

    def start(self, chunk: int) -> Int64[np.ndarray, " K"]:
        """How many ties the chunk may take."""
        return self.largest.quota(chunk)

    def prune(self, block: Block, state: Int64[np.ndarray, " K"], kept_J: Int64[np.ndarray, " J"]) -> None:
        """Zero what is outside the ranks."""
        from fusionchat.merge.kernels.selection import keep_marked, mark_largest

        mask_KB = np.empty((self.thresholds, block.delta_JB.shape[1]), np.bool_)
        for j, delta_B in enumerate(block.delta_JB):
            for k in range(self.thresholds):
                place = j * self.thresholds + k
                threshold = self.largest.threshold_RK[j, k]
                state[place] = mark_largest(delta_B, threshold, state[place], mask_KB[k])
            if self.thresholds == 2:
                mask_KB[0] &= ~mask_KB[1]
            kept_J[j] += keep_marked(delta_B, mask_KB[0], True)

    def ties(self) -> list[int]:
        """Changes of each target exactly on its lower threshold."""
        return [int(n) for n in self.largest.ties_RK[:, 0]]
