"""What TIES, DARE, DELLA and Breadcrumbs share: changes are pruned, then added with or without a vote on the sign."""

# J targets, B elements of a block

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from fusionchat.merge.methods.base import (
    Block,
    BlockMethod,
    Program,
    check_range,
    check_weights,
    weights_for,
)
from fusionchat.units import counted

Share = float | tuple[float, ...]


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
        """Raise ValueError where weights, scale or the named shares cannot be used."""
        check_weights(self.weight)
        check_weights((self.scale,))
        for name, (value, low, high) in shares.items():
            for one in value if isinstance(value, tuple) else (value,):
                check_range(name, one, low, high)


def per_target(name: str, value: Share, targets: int) -> Float64[np.ndarray, " J"]:
    """One value per target; raises ValueError where a tuple has another length."""
    if isinstance(value, tuple):
        if len(value) != targets:
            raise ValueError(f"`{name}` has {counted(len(value), 'value')} for {counted(targets, 'target')}")
        return np.array(value, dtype=np.float64)
    return np.full(targets, value, dtype=np.float64)


class Consensus:
    """How pruned changes are added.

    Args:
        settings: Weights and scale.
        targets: Number of targets.
        elect: Whether only changes with the elected sign count.
        normalize: Whether to divide by the sum of the weights that count.
        rescale_J: Multiplies each target's changes.
        by_chance: Whether pruning leaves, in place of a change that stays, the chance it is divided by.
    """

    def __init__(
        self,
        settings: Pruned,
        targets: int,
        *,
        elect: bool,
        normalize: bool,
        rescale_J: Float64[np.ndarray, " J"] | None = None,
        by_chance: bool = False,
    ) -> None:
        self.weight_J = weights_for(settings.weight, targets)
        self.rescale_J = np.ones(targets) if rescale_J is None else rescale_J
        self.by_chance = by_chance
        self.scale, self.elect, self.normalize = settings.scale, elect, normalize
        total = float(self.weight_J.sum())
        cancel = abs(total) <= 1e-8 * float(np.abs(self.weight_J).sum())
        self.divisor = total if normalize and not cancel else 1.0

    def add(self, block: Block, out_B: Float64[np.ndarray, " B"]) -> None:
        """Write the pivot plus the changes that are left in the block."""
        from fusionchat.merge.kernels import consensus

        x_NB, kept_JB, weight_J = block.x_NB, block.delta_JB, self.weight_J * self.rescale_J
        if self.elect:
            consensus.add_elected(
                x_NB,
                kept_JB,
                weight_J,
                weight_J,
                self.weight_J,
                self.by_chance,
                self.scale,
                self.normalize,
                out_B,
            )
        else:
            consensus.add_all(x_NB, kept_JB, weight_J, self.by_chance, self.scale, self.divisor, out_B)


class PruningProgram(Program):
    """Prunes each block, then adds what is left; subclasses say how to prune."""

    def __init__(self, consensus: Consensus) -> None:
        self.consensus = consensus

    def prune(self, block: Block, state: Int64[np.ndarray, " K"], kept_J: Int64[np.ndarray, " J"]) -> None:
        """Zero the changes that go in place and count those that stay."""
        raise NotImplementedError

    def combine(
        self,
        block: Block,
        state: Int64[np.ndarray, " K"],
        kept_J: Int64[np.ndarray, " J"],
        out_B: Float64[np.ndarray, " B"],
    ) -> None:
        """Prune and add."""
        self.prune(block, state, kept_J)
        self.consensus.add(block, out_B)
