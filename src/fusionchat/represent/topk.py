# N supervised rows, K kept tokens
"""`TopK`: a model's distributions for supervised tokens; `Scored`: the tokens with them. PURE.

Row i of a TopK is the distribution *for* supervised token i, given the context before it. The tokens are in
`SupervisedTokens`: the model's own for its capture; the pivot's for distributions that are aligned to it or
fused.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from fusionchat.corpus.supervised import SupervisedTokens

EMPTY_LOGPROB = np.float16(-np.inf)
LEAST_LOGPROB = -65504.0
"""The least finite float16; anything less is stored as -inf.

Some models exclude a token by a logit of -3e38 instead of -inf: both are probability 0.
"""


@dataclass(frozen=True, eq=False)
class TopK:
    """Distributions over a vocabulary, one row a supervised token.

    A slot is empty if and only if its ``logprobs`` is -inf; its id then means nothing and must not be
    gathered. A row with ``present`` False carries no distribution at all (an unaligned row).

    Attributes:
        ids: int32 [N, K], token ids of the kept tokens, most likely first; uint16 in a store where they fit.
        logprobs: float16 [N, K], natural log-probabilities (log-softmax in fp32 before the cut).
        tail: float16 [N], log of the mass outside the kept tokens, -inf for none.
        present: bool [N].
    """

    ids: NDArray[np.int32] | NDArray[np.uint16]
    logprobs: NDArray[np.float16]
    tail: NDArray[np.float16]
    present: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n, k = self.ids.shape
        assert self.logprobs.shape == (n, k), "logprobs must be [N, K]"
        for name in ("tail", "present"):
            assert getattr(self, name).shape == (n,), f"{name} must be [N]"

    @property
    def rows(self) -> int:
        """N, the number of supervised tokens."""
        return int(self.ids.shape[0])

    @property
    def k(self) -> int:
        """K, the number of slots in a row."""
        return int(self.ids.shape[1])

    def slice(self, low: int, high: int) -> "TopK":
        """The rows low..high-1, as views."""
        rows = slice(low, high)
        return TopK(self.ids[rows], self.logprobs[rows], self.tail[rows], self.present[rows])


class Scored(NamedTuple):
    """Supervised tokens scored by a model: by its capture, or by its alignment to the pivot's tokens.

    Attributes:
        tokens: The tokens.
        topk: The model's distributions, one for each of them.
        label_logprob: float32 [N], the natural log-probability that the model gives the token itself (NaN
            where unknown). It is not rounded to fp16, and is known even for tokens that are not kept.
    """

    tokens: SupervisedTokens
    topk: TopK
    label_logprob: Float[np.ndarray, " N"]

    def slice(self, first: int, last: int) -> "Scored":
        """The conversations first..last-1, as views."""
        low, high = int(self.tokens.offsets[first]), int(self.tokens.offsets[last])
        return Scored(
            self.tokens.slice(first, last), self.topk.slice(low, high), self.label_logprob[low:high]
        )


def as_kept(logprobs: Float[np.ndarray, "..."]) -> NDArray[np.float16]:
    """Log-probabilities as they are stored: float16, and -inf below `LEAST_LOGPROB`."""
    with np.errstate(over="ignore"):
        return logprobs.astype(np.float16)


def widen(part: TopK, k: int) -> TopK:
    """The same distributions with k >= part.k slots, the new ones empty."""
    extra = k - part.k
    assert extra >= 0, "widen cannot cut"
    if extra == 0:
        return part
    return replace(
        part,
        ids=np.pad(part.ids, ((0, 0), (0, extra))),  # type: ignore[arg-type]
        logprobs=np.pad(part.logprobs, ((0, 0), (0, extra)), constant_values=EMPTY_LOGPROB),
    )
