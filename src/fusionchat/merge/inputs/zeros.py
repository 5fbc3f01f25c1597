"""A tensor of zeros, which is in no file."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True)
class Zeros:
    """A tensor of zeros.

    Attributes:
        shape: Its shape.
        origin: The input that lacks it, for messages.
    """

    shape: tuple[int, ...]
    origin: str

    is_float = True

    def decode(self, begin: int, out_B: Float32[np.ndarray, " B"]) -> None:
        """Write the elements from ``begin`` on as float32."""
        assert begin + out_B.size <= math.prod(self.shape)
        out_B[:] = 0

    def read_ahead(self, begin: int) -> None:
        """Do nothing, since nothing is read."""

    def release(self) -> None:
        """Do nothing."""
