"""Merge methods: settings, and a function from statistics or blocks to a tensor.

There are two kinds. A `MixtureMethod` gives each target one weight per tensor (or group of tensors), computed
from inner products alone. A `BlockMethod` decides element by element, in `fusionchat.merge.methods.steps`.
Neither kind touches files or threads. README.md beside this file shows how to add one.
"""

# N inputs (pivot first), J = N - 1 targets

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

from fusionchat.merge.methods.steps import Steps, TensorInfo
from fusionchat.merge.weights import Scope


@dataclass(frozen=True)
class Gram:
    """Inner products over one tensor or a group of tensors.

    Attributes:
        products_NN: Symmetric; index 0 is the pivot (zero unless the method asked for it), index j the change
            of target j.
        count: Number of elements in the sums.
        conflicts: Number of elements that one target raises and another lowers.
    """

    products_NN: Float64[np.ndarray, "N N"]
    count: int
    conflicts: int = 0

    @property
    def squares_J(self) -> Float64[np.ndarray, " J"]:
        """Sum of squared change of every target."""
        return np.diagonal(self.products_NN)[1:].copy()

    @property
    def targets(self) -> int:
        """Number of targets."""
        return len(self.products_NN) - 1


class Mixture(NamedTuple):
    """How to mix one tensor: ``pivot * theta_pivot + scale * (sum_j weight_j * v_j) / divisor``.

    Attributes:
        weight_J: One weight per target.
        of: What v_j is: the target itself, or its change against the pivot.
        pivot: Factor of the pivot.
        scale: Factor of the sum.
        divisor: Divides the sum; separate from the weights because dividing once, at the end, is exact more
            often.
    """

    weight_J: Float64[np.ndarray, " J"]
    of: Literal["models", "changes"] = "changes"
    pivot: float = 1.0
    scale: float = 1.0
    divisor: float = 1.0

    @property
    def shares_J(self) -> Float64[np.ndarray, " J"]:
        """The weights with scale and divisor applied."""
        return self.scale * self.weight_J / self.divisor

    def factors(self) -> tuple[float, float]:
        """Scale and divisor; a divisor that is a power of two moves into the scale: exact, and faster."""
        fraction, _ = np.frexp(self.divisor)
        if abs(fraction) == 0.5:
            return self.scale / self.divisor, 1.0
        return self.scale, self.divisor

    @property
    def base(self) -> float:
        """Factor of the pivot when the result is written as pivot plus weighted changes."""
        return self.pivot + (float(self.shares_J.sum()) if self.of == "models" else 0.0)


@dataclass(frozen=True)
class Method:
    """Base of all methods' settings.

    Attributes:
        method: The name by which it is chosen, a ``Literal`` in every method.
        paper: The source of the method.
        targets: Least and largest number of targets that it works on; None is no limit.
        needs_auxiliary: Whether it requires `auxiliary` folders.
        by_rows: Whether a block must contain whole rows.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    method: str
    paper: ClassVar[str] = ""
    targets: ClassVar[tuple[int, int | None]] = (1, None)
    needs_auxiliary: ClassVar[bool] = False
    by_rows: ClassVar[bool] = False

    def auxiliary(self) -> tuple[str, ...]:
        """Folders with one more tensor per target and parameter, in the targets' order.

        An example is Fisher information.
        """
        return ()

    def steps(self, tensor: TensorInfo) -> Steps | None:
        """The steps of one tensor; None if it only needs one weight per target."""
        raise NotImplementedError


@dataclass(frozen=True)
class MixtureMethod(Method):
    """A method that gives each target one weight per tensor or group.

    Attributes:
        statistics: The statistics that it needs: none, inner products of the changes, or those with the pivot
            too.
    """

    statistics: ClassVar[Literal["none", "changes", "all"]] = "none"

    @property
    def scope(self) -> Scope:
        """The group of tensors that share weights."""
        return "matrix"

    def steps(self, tensor: TensorInfo) -> Steps | None:
        """None, since the weights suffice."""
        return None

    def mixture(self, gram: Gram) -> Mixture:
        """The weights of one group; raises ValueError if the method cannot decide."""
        raise NotImplementedError


@dataclass(frozen=True)
class BlockMethod(Method):
    """A method that decides element by element."""

    def steps(self, tensor: TensorInfo) -> Steps:
        """Looks that count, and the pass that combines."""
        raise NotImplementedError
