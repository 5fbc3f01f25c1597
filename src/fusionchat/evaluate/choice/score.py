"""Which option a model finds most likely, by bits per byte of the options alone. PURE.

**Why per byte.** The likelihood of a whole option falls with its length, so that the shortest option would win; per token, the
choice would depend on how a model's tokenizer cuts the options. Bytes are the same for every model.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Spans = tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]
"""First byte of each token in its turn, and the byte after it."""


def option_bits(bits: Sequence[Float[np.ndarray, " _"]], spans: Sequence[Spans], given: int) -> list[float]:
    """Bits of each option, of those of the tokens of its turn.

    Args:
        bits: Of the tokens of the turn with each option.
        spans: Their bytes in the turn.
        given: UTF-8 bytes of the turn before the option.
    """
    start = common_begin(spans, given)
    return [float(own[end > start].sum()) for own, (_, end) in zip(bits, spans, strict=True)]


def common_begin(spans: Sequence[Spans], given: int) -> int:
    """The last byte up to ``given`` at which no token of any option's turn is begun already.

    Options are scored from there.

    A token may begin in what is given and end in the option. Where one option has such a token and another has not, what
    is given would else be charged to one of them alone.
    """
    start = given
    while True:
        first = min(int(begin[end > start].min(initial=start)) for begin, end in spans)
        if first >= start:
            return start
        start = first


class Choice(NamedTuple):
    """What a model makes of a question.

    Attributes:
        bits: Of each option.
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
        """1 where the right option is best, 0 where another is; its share where several are equally good."""
        return (self.right in self.best) / len(self.best)
