"""Averages on the sphere: slerp, NuSLERP, multi-slerp. All of them need only inner products.

Every vector is a combination of the targets (or of their changes), so it is represented by its coefficients,
and lengths and angles come from the matrix of inner products. One read computes that, and one mixes.
"""

# J vectors: the targets, or their changes

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64

from fusionchat.merge.methods.base import Gram, Mixture, MixtureMethod
from fusionchat.merge.methods.checks import check_range, check_weights, weights_for

Origin = Literal["pivot", "zero"]
CANCELLED = 1e-3
"""The relative length of a sum of directions below which they cancel out.

It is relative to their number; products are float32 sums (1e-7).
"""


@dataclass(frozen=True)
class Spherical(MixtureMethod):
    """Settings of the averages on a sphere.

    Attributes:
        origin: Centre of the sphere: the pivot (changes are averaged) or zero (the models are).
    """

    statistics: ClassVar[Literal["none", "changes", "all"]] = "all"
    origin: Origin = "pivot"

    def mixture(self, gram: Gram) -> Mixture:
        """The average as weights; the average of one vector is the vector."""
        products_JJ = gram.products_NN[1:, 1:] if self.origin == "pivot" else model_products(gram)[1:, 1:]
        weight_J = np.ones(1) if gram.targets == 1 else self.average(products_JJ)
        if self.origin == "pivot":
            return Mixture(weight_J)
        return Mixture(weight_J, "models", pivot=0.0)

    def average(self, products_JJ: Float64[np.ndarray, "J J"]) -> Float64[np.ndarray, " J"]:
        """Coefficients of the average of vectors with these inner products."""
        raise NotImplementedError


@dataclass(frozen=True)
class Slerp(MixtureMethod):
    """Spherical interpolation of two models: pivot and target, or both targets if there are two.

    See Shoemake, 1985.

    Models that point (almost) the same or the opposite way are interpolated linearly; the result is never
    longer than the longer one.

    Attributes:
        t: 0 is the first model, 1 the second.
    """

    paper: ClassVar[str] = "https://doi.org/10.1145/325334.325242"
    targets: ClassVar[tuple[int, int | None]] = (1, 2)
    statistics: ClassVar[Literal["none", "changes", "all"]] = "all"
    method: Literal["slerp"] = "slerp"
    t: float = 0.5

    def __post_init__(self) -> None:
        """Raise ValueError if t is out of range."""
        check_range("t", self.t, 0, 1)

    def mixture(self, gram: Gram) -> Mixture:
        """The two coefficients."""
        first = 2 - gram.targets
        products = model_products(gram)[1 - first :, 1 - first :]
        one, two = slerp_coefficients(products, self.t, 0.9995)
        if gram.targets == 1:
            return Mixture(np.array([two]), "models", pivot=one)
        return Mixture(np.array([one, two]), "models", pivot=0.0)


@dataclass(frozen=True)
class Nuslerp(Spherical):
    """Slerp between two targets' changes, or between the targets (mergekit's NuSLERP, whole tensors).

    Attributes:
        weight: One per target; the second's share is t.
    """

    paper: ClassVar[str] = "https://github.com/arcee-ai/mergekit/blob/main/docs/merge_methods.md#nuslerp"
    targets: ClassVar[tuple[int, int | None]] = (2, 2)
    method: Literal["nuslerp"] = "nuslerp"
    weight: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if weights cannot be used."""
        check_weights(self.weight)

    def average(self, products_JJ: Float64[np.ndarray, "J J"]) -> Float64[np.ndarray, " J"]:
        """The two coefficients; equal shares if the weights add up to 0."""
        weight_J = weights_for(self.weight, 2)
        total = float(weight_J.sum())
        t = float(weight_J[1]) / total if total != 0 else 0.5
        return np.array(slerp_coefficients(products_JJ, t, 1 - 1e-12))


@dataclass(frozen=True)
class Multislerp(Spherical):
    """The average of several vectors in the tangent space at their mean direction (Goddard, 2025).

    Attributes:
        weight: One per target; None is the same for all.
        normalize_weights: Divide the weights by their sum.
    """

    paper: ClassVar[str] = "https://goddard.blog/posts/multislerp-wow-what-a-cool-idea"
    method: Literal["multislerp"] = "multislerp"
    weight: tuple[float, ...] | None = None
    normalize_weights: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError if weights cannot be used."""
        check_weights(self.weight, positive_sum=self.normalize_weights)

    def average(self, products_JJ: Float64[np.ndarray, "J J"]) -> Float64[np.ndarray, " J"]:
        """The coefficients; the plain average if the directions cancel out."""
        weight_J = weights_for(self.weight, len(products_JJ))
        if self.normalize_weights:
            weight_J = weight_J / weight_J.sum()
        length_J, inverse_J = lengths(products_JJ)
        cosine_JJ = products_JJ * np.outer(inverse_J, inverse_J)
        size = norm(weight_J, cosine_JJ)
        if size < CANCELLED * np.abs(weight_J).sum():
            return weight_J
        mean_J = weight_J / size
        dot_J = cosine_JJ @ mean_J
        tangent_J = weight_J - (weight_J @ dot_J) * mean_J
        angle = norm(tangent_J, cosine_JJ)
        turned_J = mean_J * np.cos(angle) + tangent_J * np.sinc(angle / np.pi)
        return turned_J * float(length_J @ weight_J) * inverse_J


def model_products(gram: Gram) -> Float64[np.ndarray, "N N"]:
    """Inner products of pivot and targets themselves, from those of pivot and changes."""
    basis_NN = np.eye(gram.targets + 1)
    basis_NN[:, 0] = 1
    return basis_NN @ gram.products_NN @ basis_NN.T


def lengths(
    products_JJ: Float64[np.ndarray, "J J"],
) -> tuple[Float64[np.ndarray, " J"], Float64[np.ndarray, " J"]]:
    """Lengths of the vectors, and their inverses (0 for a zero vector)."""
    length_J = np.sqrt(np.maximum(np.diagonal(products_JJ), 0))
    return length_J, np.divide(1.0, length_J, out=np.zeros_like(length_J), where=length_J > 0)


def norm(coefficient_J: Float64[np.ndarray, " J"], products_JJ: Float64[np.ndarray, "J J"]) -> float:
    """Length of a combination of vectors with these inner products."""
    return float(np.sqrt(max(coefficient_J @ products_JJ @ coefficient_J, 0.0)))


def slerp_coefficients(
    products: Float64[np.ndarray, "2 2"], t: float, parallel: float
) -> tuple[float, float]:
    """Coefficients of both vectors.

    They are linear if their cosine is above ``parallel`` or they (almost) cancel out. Between vectors of
    unequal length at an obtuse angle Shoemake's formula leaves the sphere, and for opposite vectors the
    coefficients grow without bound. So for t in [0, 1] the result is limited to the longer vector's length.
    """
    length, inverse = lengths(products)
    cosine = float(np.clip(products[0, 1] * inverse[0] * inverse[1], -1, 1))
    if cosine > parallel or cosine < -min(parallel, 1 - CANCELLED**2) or not inverse.all():
        return 1 - t, t
    angle = np.arccos(cosine)
    both = np.array([np.sin((1 - t) * angle), np.sin(t * angle)]) / np.sin(angle)
    longest, size = float(length.max()), norm(both, products)
    if 0 <= t <= 1 and size > longest * (1 + 1e-6):
        both *= longest / size
    return float(both[0]), float(both[1])
