"""DARE (drop and rescale): changes are kept by chance, and the kept ones are scaled up."""

# J targets

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from fusionchat.merge.methods.checks import Share, per_target, weights_for
from fusionchat.merge.methods.pruned import Pruned, Sum
from fusionchat.merge.methods.steps import Block, State, Steps, TensorInfo


@dataclass(frozen=True)
class DareLinear(Pruned):
    """Keeps each change with a chance, divides by it, adds all (arXiv 2311.03099).

    Masks come from a hash of seed, target, tensor and element, so they are the same for any number of
    threads.

    Attributes:
        density: The chance of a change to be kept.
        rescale: Divide kept changes by ``density``, so that the expectation stays the same.
        normalize: Divide by the sum of the weights.
        seed: The seed of the masks.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2311.03099"
    method: Literal["dare_linear"] = "dare_linear"
    density: Share = 0.5
    rescale: bool = True
    normalize: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError if a setting is out of range."""
        self.check(density=(self.density, 0, 1))

    def steps(self, tensor: TensorInfo) -> Steps:
        """DARE, then the sum."""
        return dare(self, tensor, elect=False)


@dataclass(frozen=True)
class DareTies(Pruned):
    """Keeps each change with a chance, divides by it, adds those with the elected sign.

    DARE (arXiv 2311.03099) with the vote of TIES.

    Attributes:
        density: The chance of a change to be kept.
        rescale: Divide kept changes by ``density``.
        normalize: Divide by the sum of the agreeing weights.
        seed: The seed of the masks.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2311.03099"
    method: Literal["dare_ties"] = "dare_ties"
    density: Share = 0.5
    rescale: bool = True
    normalize: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError if a setting is out of range."""
        self.check(density=(self.density, 0, 1))

    def steps(self, tensor: TensorInfo) -> Steps:
        """DARE, then the vote of TIES."""
        return dare(self, tensor, elect=True)


def dare(method: DareLinear | DareTies, tensor: TensorInfo, *, elect: bool) -> Steps:
    """Section 3 of the paper: the drop rate p is 1 - density, delta_j are the changes."""
    from fusionchat.merge.kernels.masks import drop_by_chance, stream_keys

    density_J = per_target("density", method.density, tensor.targets)
    keys = stream_keys(method.seed, tensor.name, tensor.targets)
    limit_J = np.rint(density_J * 2.0**32).astype(np.int64)

    # 1. drop: m_j ~ Bernoulli(p), delta_j = (1 - m_j) delta_j
    def drop(block: Block, _: State) -> list[int]:
        each = zip(block.delta_JB, keys, limit_J, strict=True)
        return [drop_by_chance(delta_B, key, block.at, limit) for delta_B, key, limit in each]

    # 2. rescale: delta_j / (1 - p), which keeps the expectation
    inverse_J = np.divide(1.0, density_J, out=np.ones_like(density_J), where=density_J > 0)
    # 3. merge: pivot + scale * sum_j w_j delta_j, over all or those with the elected sign
    weight_J = weights_for(method.weight, tensor.targets)
    rescale_J = inverse_J if method.rescale else 1.0
    merged = Sum(weight_J, method.scale, elect=elect, normalize=method.normalize, rescale_J=rescale_J)
    yield merged.after(drop)
