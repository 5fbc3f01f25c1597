"""TIES: trim, elect sign, merge."""

# J targets

from dataclasses import dataclass
from typing import ClassVar, Literal

from fusionchat.merge.methods.checks import Share, per_target, weights_for
from fusionchat.merge.methods.largest import largest
from fusionchat.merge.methods.pruned import Pruned, Sum
from fusionchat.merge.methods.steps import Steps, TensorInfo


@dataclass(frozen=True)
class Ties(Pruned):
    """Keeps the largest changes of each target, elects a sign, averages the changes that have it.

    This is TIES of arXiv 2306.01708.

    Attributes:
        density: Share of every target's changes that is kept, ``int(density * n)`` per tensor.
        normalize: Divide by the sum of the agreeing weights (the paper's disjoint mean).
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2306.01708"
    method: Literal["ties"] = "ties"
    density: Share = 0.2
    normalize: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError if a setting is out of range."""
        self.check(density=(self.density, 0, 1))

    def steps(self, tensor: TensorInfo) -> Steps:
        """Algorithm 1 of the paper: tau_j are the changes, k the density, lambda the scale."""
        density_J = per_target("density", self.density, tensor.targets)
        weight_J = weights_for(self.weight, tensor.targets)
        # 1. trim: the k largest magnitudes of each tau_j stay, the others become 0
        top = yield from largest(density_J[:, None], tensor)
        # 2. elect: gamma = sgn(sum_j w_j tau_j), element by element
        # 3. merge: pivot + lambda * the mean of the tau_j with the sign gamma
        merged = Sum(weight_J, self.scale, elect=True, normalize=self.normalize)
        yield merged.of(top)
