"""DARE (drop and rescale) and DELLA (drop by rank): changes are kept by chance, and what stays is scaled up."""

# J targets, B elements of a block

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64, Int64

from fusionchat.merge.methods.base import Block, Program, TensorInfo
from fusionchat.merge.methods.tasks import Consensus, Pruned, PruningProgram, Share, per_target


@dataclass(frozen=True)
class DareLinear(Pruned):
    """Keeps each change with a chance, divides by it, adds all (arXiv 2311.03099).

    Masks come from a hash of seed, target, tensor and element: the same for any number of threads.

    Attributes:
        density: Chance of a change to be kept.
        rescale: Divide what is kept by ``density``, so that the expectation stays.
        normalize: Divide by the sum of the weights.
        seed: Of the masks.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2311.03099"
    method: Literal["dare_linear"] = "dare_linear"
    density: Share = 0.5
    rescale: bool = True
    normalize: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError where a setting is out of range."""
        self.check(density=(self.density, 0, 1))

    def program(self, info: TensorInfo) -> Program:
        """The work on one tensor."""
        return ChanceProgram(self, info, elect=False)


@dataclass(frozen=True)
class DareTies(Pruned):
    """Keeps each change with a chance, divides by it, adds those with the elected sign (arXiv 2311.03099).

    Attributes:
        density: Chance of a change to be kept.
        rescale: Divide what is kept by ``density``.
        normalize: Divide by the sum of the agreeing weights.
        seed: Of the masks.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2311.03099"
    method: Literal["dare_ties"] = "dare_ties"
    density: Share = 0.5
    rescale: bool = True
    normalize: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError where a setting is out of range."""
        self.check(density=(self.density, 0, 1))

    def program(self, info: TensorInfo) -> Program:
        """The work on one tensor."""
        return ChanceProgram(self, info, elect=True)


@dataclass(frozen=True)
class Della(Pruned):
    """Keeps each change with a chance that grows with its rank in its row, divides by the chance (arXiv 2406.11617).

    The chance runs from ``density - epsilon`` for the smallest magnitude of a row to ``density + epsilon`` for the
    largest; equal magnitudes share their mean rank.

    Attributes:
        density: Mean chance of a change to be kept.
        epsilon: Half the range of the chances; ``density`` plus and minus it must be between 0 and 1, exclusive.
        elect_sign: Whether only changes with the elected sign count (False is mergekit's ``della_linear``).
        normalize: Divide by the sum of the weights that count.
        seed: Of the masks.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2406.11617"
    method: Literal["della"] = "della"
    density: Share = 0.5
    epsilon: Share = 0.15
    elect_sign: bool = True
    normalize: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError where a setting is out of range."""
        self.check(density=(self.density, 0, 1), epsilon=(self.epsilon, 0, 0.5))
        count = max([len(v) for v in (self.density, self.epsilon) if isinstance(v, tuple)], default=1)
        density_J = per_target("density", self.density, count)
        epsilon_J = per_target("epsilon", self.epsilon, count)
        pruned = density_J < 1
        if ((density_J - epsilon_J <= 0) & pruned).any() or ((density_J + epsilon_J >= 1) & pruned).any():
            raise ValueError("`density` plus and minus `epsilon` must be between 0 and 1")

    def program(self, info: TensorInfo) -> Program:
        """The work on one tensor."""
        return RankChanceProgram(self, info)


class ChanceProgram(PruningProgram):
    """DARE: an independent chance for every element."""

    def __init__(self, settings: DareLinear | DareTies, info: TensorInfo, *, elect: bool) -> None:
        density_J = per_target("density", settings.density, info.targets)
        rescale_J = _inverse(density_J) if settings.rescale else None
        super().__init__(
            Consensus(settings, info.targets, elect=elect, normalize=settings.normalize, rescale_J=rescale_J)
        )
        self.limit_J = np.rint(density_J * 2.0**32).astype(np.int64)
        self.keys = _keys(settings.seed, info)

    def prune(self, block: Block, state: Int64[np.ndarray, " K"], kept_J: Int64[np.ndarray, " J"]) -> None:
        """Drop by chance."""
        from fusionchat.merge.kernels import masks

        for j, delta_B in enumerate(block.delta_JB):
            kept_J[j] += masks.drop_by_chance(delta_B, self.keys[j], block.at, self.limit_J[j])


class RankChanceProgram(PruningProgram):
    """DELLA: a chance that depends on the rank in the row."""

    by_rows = True

    def __init__(self, settings: Della, info: TensorInfo) -> None:
        super().__init__(
            Consensus(
                settings,
                info.targets,
                elect=settings.elect_sign,
                normalize=settings.normalize,
                by_chance=True,
            )
        )
        self.density_J = per_target("density", settings.density, info.targets)
        self.epsilon_J = per_target("epsilon", settings.epsilon, info.targets)
        self.keys, self.row = _keys(settings.seed, info), info.row

    def prune(self, block: Block, state: Int64[np.ndarray, " K"], kept_J: Int64[np.ndarray, " J"]) -> None:
        """Drop by rank and chance."""
        from fusionchat.merge.kernels import masks

        random_B = np.empty(block.delta_JB.shape[1:], np.uint32)
        for j, delta_B in enumerate(block.delta_JB):
            if self.density_J[j] >= 1:
                delta_B[:] = 1
                kept_J[j] += len(delta_B)
                continue
            masks.uniform_bits(random_B, self.keys[j], block.at)
            kept_J[j] += masks.drop_by_rank(delta_B, random_B, self.row, self.density_J[j], self.epsilon_J[j])


def _keys(seed: int, info: TensorInfo) -> list[np.uint64]:
    from fusionchat.merge.kernels import masks

    return [np.uint64(masks.stream_key(seed, j, info.name)) for j in range(info.targets)]


def _inverse(density_J: Float64[np.ndarray, " J"]) -> Float64[np.ndarray, " J"]:
    return np.divide(1.0, density_J, out=np.ones_like(density_J), where=density_J > 0)
