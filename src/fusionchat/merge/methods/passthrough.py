"""Passthrough: layers of pivot and targets stacked into a deeper or shallower model."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from fusionchat.merge.methods.base import Gram, Mixture, MixtureMethod
from fusionchat.merge.methods.checks import check_weights


@dataclass(frozen=True)
class LayerRange:
    """Consecutive layers of one model.

    Attributes:
        model: Name of a target, or ``pivot``.
        layers: The first layer, and the one after the last.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    model: str
    layers: tuple[int, int]

    def __post_init__(self) -> None:
        """Raise ValueError if the range is empty."""
        if not 0 <= self.layers[0] < self.layers[1]:
            raise ValueError(f"`layers` must be a first layer and a later end, not {list(self.layers)}")


@dataclass(frozen=True)
class Passthrough(MixtureMethod):
    """The layers of ``slices`` one after the other; everything outside the layers is the pivot's.

    See arXiv 2312.15166.

    Attributes:
        slices: Layer ranges in order; they may repeat layers and name several models. None is the pivot
            unchanged.
        scale: Multiplies all values.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2312.15166"
    targets: ClassVar[tuple[int, int | None]] = (0, None)
    method: Literal["passthrough"] = "passthrough"
    slices: tuple[LayerRange, ...] | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError if a setting is out of range."""
        check_weights((self.scale,))
        if self.slices is not None and not self.slices:
            raise ValueError("`slices` must not be empty")

    def mixture(self, gram: Gram) -> Mixture:
        """The one input, scaled."""
        return Mixture(np.zeros(gram.targets), pivot=self.scale)
