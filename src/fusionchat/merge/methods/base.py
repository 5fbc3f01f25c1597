"""What a merge method is: settings that turn statistics, or blocks of elements, into the fused tensor.

Two kinds. A `MixtureMethod` gives each target one weight per tensor (or group of tensors), worked out from inner
products alone. A `BlockMethod` decides element by element: it may look at all blocks several times (its stages)
before it combines them. Neither kind touches files or threads.
"""

# N inputs (pivot first), J = N - 1 targets, B elements of a block

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from fusionchat.merge.weights import Scope
from fusionchat.units import counted


@dataclass(frozen=True)
class Gram:
    """Inner products over one tensor or a group of tensors.

    Attributes:
        products_NN: Symmetric; index 0 is the pivot (zero unless the method asked for it), index j the change of target j.
        count: Number of elements they were summed over.
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
        divisor: Divides the sum; kept apart from the weights because dividing once, at the end, is exact more often.
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
        """Scale and divisor, with a divisor that is a power of two put into the scale, which is exact and faster."""
        fraction, _ = np.frexp(self.divisor)
        if abs(fraction) == 0.5:
            return self.scale / self.divisor, 1.0
        return self.scale, self.divisor

    @property
    def base(self) -> float:
        """Factor of the pivot when the result is written as pivot plus weighted changes."""
        return self.pivot + (float(self.shares_J.sum()) if self.of == "models" else 0.0)


class TensorInfo(NamedTuple):
    """What a method may know of a tensor: its name (for seeds), shape, number of targets and of chunks it is read in."""

    name: str
    shape: tuple[int, ...]
    targets: int
    chunks: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def row(self) -> int:
        """Length of the last axis; all of a vector."""
        return self.shape[-1] if self.shape else 1


class Block(NamedTuple):
    """Consecutive elements of one tensor.

    Attributes:
        x_NB: Values of pivot and targets.
        delta_JB: Changes of the targets; a program may overwrite them.
        aux_JB: The method's auxiliary values (`Method.auxiliary`), one row per target; no rows where there are none.
        at: Index of the first element in the flattened tensor.
        chunk: Number of the chunk it is in.
    """

    x_NB: Float32[np.ndarray, "N B"]
    delta_JB: Float32[np.ndarray, "J B"]
    aux_JB: Float32[np.ndarray, "A B"]
    at: int
    chunk: int


class Program:
    """The work of a `BlockMethod` on one tensor: ``stages`` looks at all blocks, then one pass that combines them.

    Chunks may be seen in any order and at the same time; blocks of one chunk are seen in order.
    """

    stages = 0
    by_rows = False

    def blank(self, stage: int) -> np.ndarray:
        """Zeros that ``observe`` adds to; the engine sums those of all chunks, in order."""
        raise NotImplementedError

    def observe(self, stage: int, block: Block, counts: np.ndarray) -> None:
        """Add what a block shows to ``counts``."""
        raise NotImplementedError

    def settle(self, stage: int, totals: np.ndarray) -> None:
        """Draw the conclusion of a stage from the sums over all chunks."""
        raise NotImplementedError

    def start(self, chunk: int) -> Int64[np.ndarray, " K"]:
        """Counters that ``combine`` carries from block to block of one chunk."""
        return np.zeros(0, np.int64)

    def combine(
        self,
        block: Block,
        state: Int64[np.ndarray, " K"],
        kept_J: Int64[np.ndarray, " J"],
        out_B: Float64[np.ndarray, " B"],
    ) -> None:
        """Write the fused values; add to ``kept_J`` how many elements of each target took part."""
        raise NotImplementedError

    def ties(self) -> list[int]:
        """How many elements of each target were exactly on a selection's threshold; empty where nothing is selected."""
        return []


@dataclass(frozen=True)
class Method:
    """Base of all methods' settings.

    Attributes:
        method: The name, a ``Literal`` in every method, by which it is chosen.
        paper: Where the method is from.
        targets: Least and largest number of targets it works on; None is no limit.
        needs_auxiliary: Whether it cannot do without `auxiliary` folders.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    method: str
    paper: ClassVar[str] = ""
    targets: ClassVar[tuple[int, int | None]] = (1, None)
    needs_auxiliary: ClassVar[bool] = False

    def auxiliary(self) -> tuple[str, ...]:
        """Folders with one more tensor per target and parameter (Fisher information), in the order of the targets."""
        return ()

    def program(self, info: TensorInfo) -> Program | None:
        """The work on one tensor, None where one weight per target is all there is to it."""
        raise NotImplementedError


@dataclass(frozen=True)
class MixtureMethod(Method):
    """A method that gives each target one weight per tensor or group.

    Attributes:
        statistics: What it needs to know: nothing, inner products of the changes, or those with the pivot too.
    """

    statistics: ClassVar[Literal["none", "changes", "all"]] = "none"

    @property
    def scope(self) -> Scope:
        """The group of tensors that share weights."""
        return "matrix"

    def program(self, info: TensorInfo) -> Program | None:
        """None: the weights say it all."""
        return None

    def mixture(self, gram: Gram) -> Mixture:
        """The weights of one group; raises ValueError where the method cannot decide."""
        raise NotImplementedError


@dataclass(frozen=True)
class BlockMethod(Method):
    """A method that decides element by element."""

    def program(self, info: TensorInfo) -> Program:
        """The work on one tensor."""
        raise NotImplementedError


def weights_for(
    weight: tuple[float, ...] | None, targets: int, default: float = 1.0
) -> Float64[np.ndarray, " J"]:
    """One weight per target; ``default`` for all where none are given; raises ValueError where the number differs."""
    if weight is None:
        return np.full(targets, default)
    if len(weight) != targets:
        raise ValueError(f"`weight` has {counted(len(weight), 'value')} for {counted(targets, 'target')}")
    return np.array(weight, dtype=np.float64)


def check_targets(method: Method, targets: int) -> None:
    """Raise ValueError where a method does not take this many targets, or has values or folders for others."""
    least, most = method.targets
    if targets < least or (most is not None and targets > most):
        wants = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        raise ValueError(
            f"Method {method.method} needs {wants} {'target' if wants == '1' else 'targets'}, not {targets}"
        )
    for setting in ("weight", "density", "gamma", "epsilon"):
        value = getattr(method, setting, None)
        if isinstance(value, tuple) and len(value) != targets:
            raise ValueError(
                f"Method {method.method} has {counted(len(value), 'value')} of `{setting}` for {counted(targets, 'target')}"
            )
    folders = len(method.auxiliary())
    if folders != targets and (folders or method.needs_auxiliary):
        raise ValueError(
            f"Method {method.method} needs {counted(targets, 'folder')}, one per target, not {folders}"
        )


def check_weights(weight: tuple[float, ...] | None, *, positive_sum: bool = False) -> None:
    """Raise ValueError where weights are not finite, or do not add up to more than 0 where they must."""
    if weight is None:
        return
    if not weight or not all(np.isfinite(weight)):
        raise ValueError("`weight` must be finite numbers, one per target")
    if positive_sum and not sum(weight) > 0:
        raise ValueError("`weight` must add up to more than 0 to be normalized")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError where a setting is outside ``low .. high`` (or is not a number)."""
    if not low <= value <= high:
        raise ValueError(f"`{name}` must be between {low:g} and {high:g}, not {value:g}")
