"""The Karcher (Riemannian) mean of the directions, times the mean length."""

# J vectors: the targets, or their changes

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64

from fusionchat.merge.methods.checks import check_range
from fusionchat.merge.methods.spherical import CANCELLED, Origin, Spherical, lengths, norm


@dataclass(frozen=True)
class Karcher(Spherical):
    """The point of the sphere with the least sum of squared angles to all vectors (arXiv 2603.04972).

    Starts at the mean direction and moves along the mean tangent until it is shorter than ``tol``. Zero
    vectors have no direction and count only for the length. Directions that cancel out have no mean, so the
    plain average is used.

    Attributes:
        max_iter: Largest number of steps.
        tol: Length of the tangent, in radians, at which to stop.
        origin: Centre of the sphere; mergekit's is zero.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2603.04972"
    method: Literal["karcher"] = "karcher"
    max_iter: int = 10
    tol: float = 1e-5
    origin: Origin = "zero"

    def __post_init__(self) -> None:
        """Raise ValueError if a setting is out of range."""
        check_range("max_iter", self.max_iter, 1, 1000)
        check_range("tol", self.tol, 0, 1)

    def average(self, products_JJ: Float64[np.ndarray, "J J"]) -> Float64[np.ndarray, " J"]:
        """The coefficients of the mean."""
        length_J, inverse_J = lengths(products_JJ)
        real_J = inverse_J > 0
        cosine_JJ = products_JJ * np.outer(inverse_J, inverse_J)
        share_J = real_J / max(real_J.sum(), 1)
        size = norm(share_J, cosine_JJ)
        if size < CANCELLED:
            return np.full(len(length_J), 1 / len(length_J))
        mean_J = share_J / size
        for _ in range(self.max_iter):
            dot_J = np.clip(cosine_JJ @ mean_J, -1, 1)
            sinc_J = np.sinc(np.arccos(dot_J) / np.pi)
            pull_J = np.divide(share_J, sinc_J, out=np.zeros_like(sinc_J), where=sinc_J > CANCELLED)
            tangent_J = pull_J - (pull_J @ dot_J) * mean_J
            angle = norm(tangent_J, cosine_JJ)
            if angle < self.tol:
                break
            mean_J = np.cos(angle) * mean_J + np.sinc(angle / np.pi) * tangent_J
            mean_J = mean_J / norm(mean_J, cosine_JJ)
        return mean_J * float(length_J.mean()) * inverse_J
