"""Model Stock: how far to go from the pivot to the targets' average, from the angle between them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from fusionchat.merge.methods.base import Gram, Mixture, MixtureMethod
from fusionchat.merge.methods.spherical import lengths


@dataclass(frozen=True)
class ModelStock(MixtureMethod):
    """``t * average + (1 - t) * pivot`` with ``t = J cos / (1 + (J - 1) cos)`` (arXiv 2403.19522, Eq. 4).

    The cosine is the mean over all pairs of changes; a target that changed nothing has cosine 0 with all
    others. ``t`` is an interpolation ratio, so it is clipped to [0, 1]: if the targets disagree (cosine 0 or
    less) the result is the pivot. The formula alone has a pole at ``cos = -1 / (J - 1)``.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2403.19522"
    targets: ClassVar[tuple[int, int | None]] = (2, None)
    statistics: ClassVar[Literal["none", "changes", "all"]] = "changes"
    method: Literal["model_stock"] = "model_stock"

    def mixture(self, gram: Gram) -> Mixture:
        """The same weight for every target."""
        products_JJ, count = gram.products_NN[1:, 1:], gram.targets
        _, inverse_J = lengths(products_JJ)
        cosine_JJ = np.clip(products_JJ * np.outer(inverse_J, inverse_J), -1, 1)
        cosine = max(0.0, float(cosine_JJ[np.triu_indices(count, 1)].mean()))
        t = count * cosine / (1 + (count - 1) * cosine)
        return Mixture(np.full(count, t / count))
