"""A tensor in which some rows are replaced, for peft's trainable tokens."""

from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int64

from fusionchat.merge.inputs.plan import Source


class TokenRows:
    """A tensor with some rows from another one; new rows may follow after the last one.

    Args:
        base: The tensor.
        trained: The rows, in the order of ``tokens``.
        tokens: The place of each of them; all rows after the base's last one are among them.
    """

    is_float = True

    def __init__(self, base: Source, trained: Source, tokens: tuple[int, ...]) -> None:
        self.base, self.trained, self.tokens = base, trained, tokens

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return (max(self.base.shape[0], max(self.tokens) + 1), *self.base.shape[1:])

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""
        return self.trained.origin

    @cached_property
    def _sorted(self) -> tuple[Int64[np.ndarray, " T"], Int64[np.ndarray, " T"]]:
        """The tokens in order, and the row of ``trained`` of each (the last one for a repeated token)."""
        last = {token: n for n, token in enumerate(self.tokens)}
        order = sorted(last)
        return np.array(order), np.array([last[token] for token in order])

    def decode(self, begin: int, out_B: Float32[np.ndarray, " B"]) -> None:
        """Write the elements from ``begin`` on as float32."""
        width, end = int(np.prod(self.shape[1:])), begin + out_B.size
        held = self.base.shape[0] * width
        if begin < held:
            self.base.decode(begin, out_B[: held - begin])
        tokens, places = self._sorted
        first, last = np.searchsorted(tokens, [begin // width, -(-end // width)])
        for token, place in zip(tokens[first:last].tolist(), places[first:last].tolist(), strict=True):
            start, stop = max(begin, token * width), min(end, (token + 1) * width)
            self.trained.decode(place * width + start - token * width, out_B[start - begin : stop - begin])

    def read_ahead(self, begin: int) -> None:
        """Do nothing, since the pivot's own tensor is read at the same time."""

    def release(self) -> None:
        """Do nothing, since the pivot's own tensor is released by itself."""
