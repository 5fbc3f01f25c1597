"""Which option a model finds most likely, by bits per byte of the options alone. PURE.

**Why per byte.** The likelihood of a whole option falls with its length, so the shortest option would win;
per token, the choice would depend on how a model's tokenizer cuts the options. Bytes are the same for every
model.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Spans = tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]
"""First byte of each token in its turn, and the byte after it."""


def option_bits(bits: Sequence[Float[np.ndarray, " _"]], spans: Sequence[Spans], given: int) -> list[float]:
    """Bits of each option, from the bits of its turn's tokens.

    Args:
        bits: Bits of the tokens of the turn, for each option.
        spans: The tokens' bytes in the turn.
        given: UTF-8 bytes of the turn before the option.
    """
    start = common_begin(spans, given)
    return [float(own[end > start].sum()) for own, (_, end) in zip(bits, spans, strict=True)]


def common_begin(spans: Sequence[Spans], given: int) -> int:
    """The last byte up to ``given`` inside no token of any option's turn; options are scored from it.

    A token may begin in the given part and end in the option. If one option has such a token and another has
    not, the given part would otherwise be charged to one of them alone.
    """
    start = given
    while True:
        first = min(int(begin[end > start].min(initial=start)) for begin, end in spans)
        if first >= start:
            return start
        start = first


class Choice(NamedTuple):
    """A model's scores of a question's options.

    Attributes:
        bits: Bits of each option.
        sizes: UTF-8 bytes of each option.
        right: The place of the right one.
    """

    bits: tuple[float, ...]
    sizes: tuple[int, ...]
    right: int

    @property
    def best(self) -> list[int]:
        """The places of the options with the fewest bits per byte: one, unless several are equal."""
        rates = [bits / size for bits, size in zip(self.bits, self.sizes, strict=True)]
        return [place for place, rate in enumerate(rates) if rate == min(rates)]

    @property
    def credit(self) -> float:
        """1 if the right option is best, 0 if another is; its share if several are equally good."""
        return (self.right in self.best) / len(self.best)
