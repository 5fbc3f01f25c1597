"""What TIES, Breadcrumbs, DARE and DELLA share: pruned changes are added up.

The sum may include a vote on the sign.
"""

# J targets, B elements of a block

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from fusionchat.merge.methods.base import BlockMethod
from fusionchat.merge.methods.checks import Share, check_range, check_weights
from fusionchat.merge.methods.largest import Largest
from fusionchat.merge.methods.steps import Block, Combine, State

Prune = Callable[[Block, State], Sequence[int]]
"""Zeroes the dropped changes of a block; returns how many of each target stay."""


@dataclass(frozen=True)
class Pruned(BlockMethod):
    """Settings of methods that prune changes.

    Attributes:
        weight: One per target; None is 1 for all.
        scale: Multiplies the sum of the changes (mergekit's ``lambda``).
    """

    weight: tuple[float, ...] | None = None
    scale: float = 1.0

    def check(self, **shares: tuple[Share, float, float]) -> None:
        """Raise ValueError if weights, scale or the named shares cannot be used."""
        check_weights(self.weight)
        check_weights((self.scale,))
        for name, (value, low, high) in shares.items():
            for one in value if isinstance(value, tuple) else (value,):
                check_range(name, one, low, high)


@dataclass(frozen=True)
class Sum:
    """``pivot + scale * sum_j weight_j * change_j`` over what pruning leaves.

    Attributes:
        weight_J: One per target.
        scale: Factor of the sum.
        elect: Whether only changes with the elected sign count, that of ``sum_j weight_j * change_j`` (0 is
            positive).
        normalize: Whether to divide by the sum of the weights that count.
        rescale_J: Multiplies each target's changes.
        by_chance: Whether pruning leaves, instead of a kept change, the chance that it is divided by.
    """

    weight_J: Float64[np.ndarray, " J"]
    scale: float
    elect: bool
    normalize: bool
    rescale_J: Float64[np.ndarray, " J"] | float = 1.0
    by_chance: bool = False

    @property
    def divisor(self) -> float:
        """The sum of all weights if it is divided by that; 1 if they cancel out."""
        total = float(self.weight_J.sum())
        cancel = abs(total) <= 1e-8 * float(np.abs(self.weight_J).sum())
        return total if self.normalize and not cancel else 1.0

    def write(self, block: Block, out_B: Float64[np.ndarray, " B"]) -> None:
        """Write the pivot plus the remaining changes of the block."""
        from fusionchat.merge.kernels.consensus import All, Elected, add_all, add_elected

        factor_J = self.weight_J * self.rescale_J
        if self.elect:
            elected = Elected(
                vote_J=factor_J,
                weight_J=factor_J,
                share_J=self.weight_J,
                scale=self.scale,
                normalize=self.normalize,
                by_chance=self.by_chance,
            )
            add_elected(block.x_NB, block.delta_JB, elected, out_B)
        else:
            added = All(factor_J, self.scale, self.divisor, self.by_chance)
            add_all(block.x_NB, block.delta_JB, added, out_B)

    def of(self, selected: Largest) -> Combine:
        """The pass that keeps the selected changes of each block and adds them."""
        return replace(self.after(keep(selected)), start=selected.quota, ties=selected.ties)

    def after(self, prune: Prune) -> Combine:
        """The pass that prunes each block and adds the remaining changes."""

        def write(block: Block, state: State, out_B: Float64[np.ndarray, " B"]) -> Sequence[int]:
            kept_J = prune(block, state)
            self.write(block, out_B)
            return kept_J

        return Combine(write)


def keep(selected: Largest) -> Prune:
    """Pruning by rank: changes that are not ``selected`` become 0."""
    from fusionchat.merge.kernels.selection import keep_marked

    def prune(block: Block, quota: State) -> list[int]:
        return [
            keep_marked(delta_B, selected.mark(j, delta_B, quota), True)
            for j, delta_B in enumerate(block.delta_JB)
        ]

    return prune
