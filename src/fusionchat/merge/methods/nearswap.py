"""NearSwap: small changes are applied fully, larger ones are cut to the threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64

from fusionchat.merge.methods.base import BlockMethod
from fusionchat.merge.methods.checks import check_range
from fusionchat.merge.methods.steps import Block, Combine, State, Steps, TensorInfo


@dataclass(frozen=True)
class Nearswap(BlockMethod):
    """The pivot plus the target's changes, cut to ``t``: ``p + min(1, t / |d|) d``, element by element.

    Attributes:
        t: The largest change; 0 leaves the pivot unchanged.
    """

    paper: ClassVar[str] = "https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001"
    targets: ClassVar[tuple[int, int | None]] = (1, 1)
    method: Literal["nearswap"] = "nearswap"
    t: float = 1e-4

    def __post_init__(self) -> None:
        """Raise ValueError if a setting is out of range."""
        check_range("t", self.t, 0, float("inf"))

    def steps(self, tensor: TensorInfo) -> Steps:
        """One pass: d is cut to [-t, t], which is d times min(1, t / |d|)."""

        def write(block: Block, _: State, out_B: Float64[np.ndarray, " B"]) -> Sequence[int]:
            pivot_B, target_B = block.x_NB.astype(np.float64)
            out_B[:] = pivot_B + np.clip(target_B - pivot_B, -self.t, self.t)
            return [int(np.count_nonzero(target_B != pivot_B))]

        yield Combine(write)
