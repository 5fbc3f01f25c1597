"""Breadcrumbs: each target's largest and smallest changes are dropped."""

# J targets

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from fusionchat.merge.methods.checks import Share, per_target, weights_for
from fusionchat.merge.methods.largest import largest
from fusionchat.merge.methods.pruned import Pruned, Sum
from fusionchat.merge.methods.steps import Steps, TensorInfo


@dataclass(frozen=True)
class Breadcrumbs(Pruned):
    """Drops each target's largest and smallest changes (arXiv 2312.06795).

    Attributes:
        density: Share of every target's changes that is kept, per tensor.
        gamma: Share of the largest changes that is dropped first; less if ``density`` would not be reached.
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
        """Raise ValueError if a setting is out of range."""
        self.check(density=(self.density, 0, 1), gamma=(self.gamma, 0, 1))

    def steps(self, tensor: TensorInfo) -> Steps:
        """Section 3 of the paper: beta is 1 - density - gamma, the share of the smallest changes to drop."""
        density_J = per_target("density", self.density, tensor.targets)
        gamma_J = np.minimum(per_target("gamma", self.gamma, tensor.targets), 1 - density_J)
        weight_J = weights_for(self.weight, tensor.targets)
        # 1. mask: the (density + gamma) * n largest magnitudes, without the gamma * n largest of them
        size = max(tensor.size, 1)
        dropped_J = (gamma_J * size).astype(np.int64)
        count_J2 = np.stack([(density_J * size).astype(np.int64) + dropped_J, dropped_J], 1)
        between = yield from largest((count_J2 + 0.5) / size, tensor)
        # 2. merge: pivot + alpha * sum_j w_j mask_j tau_j, with alpha the scale
        merged = Sum(weight_J, self.scale, elect=self.elect_sign, normalize=self.normalize)
        yield merged.of(between)
