"""DELLA: drop and rescale, with a chance that grows with the rank in the row."""

# J targets, B elements of a block

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from fusionchat.merge.methods.checks import Share, per_target, weights_for
from fusionchat.merge.methods.pruned import Pruned, Sum
from fusionchat.merge.methods.steps import Block, State, Steps, TensorInfo


@dataclass(frozen=True)
class Della(Pruned):
    """Keeps each change with a chance that grows with its rank in its row, and divides by the chance.

    This is DELLA of arXiv 2406.11617.

    The chance runs from ``density - epsilon`` for the smallest magnitude of a row to ``density + epsilon``
    for the largest; equal magnitudes share their mean rank.

    Attributes:
        density: Mean chance of a change to be kept.
        epsilon: Half the range of the chances; ``density`` plus and minus it must be between 0 and 1,
            exclusive.
        elect_sign: Whether only changes with the elected sign count (False is mergekit's ``della_linear``).
        normalize: Divide by the sum of the weights that count.
        seed: The seed of the masks.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2406.11617"
    by_rows: ClassVar[bool] = True
    method: Literal["della"] = "della"
    density: Share = 0.5
    epsilon: Share = 0.15
    elect_sign: bool = True
    normalize: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError if a setting is out of range."""
        self.check(density=(self.density, 0, 1), epsilon=(self.epsilon, 0, 0.5))
        count = max([len(v) for v in (self.density, self.epsilon) if isinstance(v, tuple)], default=1)
        density_J = per_target("density", self.density, count)
        epsilon_J = per_target("epsilon", self.epsilon, count)
        pruned = density_J < 1
        if ((density_J - epsilon_J <= 0) & pruned).any() or ((density_J + epsilon_J >= 1) & pruned).any():
            raise ValueError("`density` plus and minus `epsilon` must be between 0 and 1")

    def steps(self, tensor: TensorInfo) -> Steps:
        """Drop, elect, fuse: section 3 of the paper; the drop rate p_i is 1 - the chance to stay."""
        from fusionchat.merge.kernels.masks import drop_by_rank, stream_keys, uniform_bits

        density_J = per_target("density", self.density, tensor.targets)
        epsilon_J = per_target("epsilon", self.epsilon, tensor.targets)
        weight_J = weights_for(self.weight, tensor.targets)
        keys = stream_keys(self.seed, tensor.name, tensor.targets)

        # 1. drop (MagPrune): p_i falls with the rank in the row, from 1 - density + epsilon to 1 - density - epsilon;
        #    an element that stays becomes 1 - p_i, by which its change is divided
        def drop(block: Block, _: State) -> list[int]:
            random_B, kept = np.empty(block.delta_JB.shape[1], np.uint32), []
            for j, delta_B in enumerate(block.delta_JB):
                if density_J[j] >= 1:
                    delta_B[:] = 1
                    kept.append(len(delta_B))
                    continue
                uniform_bits(random_B, keys[j], block.at)
                kept.append(drop_by_rank(delta_B, random_B, tensor.row, density_J[j], epsilon_J[j]))
            return kept

        # 2. elect: the sign of sum_j w_j delta_j; 3. fuse: pivot + scale * the mean of the changes with that sign
        merged = Sum(weight_J, self.scale, elect=self.elect_sign, normalize=self.normalize, by_chance=True)
        yield merged.after(drop)
