# N supervised rows, K kept tokens, C conversations
"""`TopK`: the distributions of one model for the supervised tokens of some conversations. PURE.

Row i of a TopK is the distribution *for* supervised token i, made from the context before it.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

EMPTY_LOGPROB = np.float16(-np.inf)


@dataclass(frozen=True, eq=False)
class TopK:
    """Distributions over a vocabulary, one row a supervised token, rows grouped by conversation.

    A slot is empty if and only if its ``logprobs`` is -inf; its id then means nothing and must not be
    gathered. A row with ``present`` False carries no distribution at all (an unaligned row).

    Attributes:
        ids: int32 [N, K], token ids of the kept tokens, most likely first.
        logprobs: float16 [N, K], natural log-probabilities (log-softmax in fp32 before the cut).
        tail: float16 [N], log of the mass outside the kept tokens, -inf for none.
        labels: int32 [N], the token that follows in the text.
        label_logprob: float32 [N], its natural log-probability under the model (NaN where unknown).
        turn: int32 [N], index of the message the token belongs to.
        begin, end: int32 [N], its byte span in that message's content; the end-of-turn event is
            [len, len + 1). A negative begin means that template bytes are part of the token; one before the end of
            the row before, that a space of the tokenizer's own is (see `fusionchat.represent.events.text_begins`).
        present: bool [N].
        offsets: int64 [C + 1], rows of conversation c are offsets[c]:offsets[c + 1].
    """

    ids: NDArray[np.int32]
    logprobs: NDArray[np.float16]
    tail: NDArray[np.float16]
    labels: NDArray[np.int32]
    label_logprob: NDArray[np.float32]
    turn: NDArray[np.int32]
    begin: NDArray[np.int32]
    end: NDArray[np.int32]
    present: NDArray[np.bool_]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        n, k = self.ids.shape
        assert self.logprobs.shape == (n, k), "logprobs must be [N, K]"
        for name in ("tail", "labels", "label_logprob", "turn", "begin", "end", "present"):
            assert getattr(self, name).shape == (n,), f"{name} must be [N]"
        assert self.offsets[0] == 0 and self.offsets[-1] == n, "offsets must cover all rows"

    @property
    def rows(self) -> int:
        """N, the number of supervised tokens."""
        return int(self.ids.shape[0])

    @property
    def k(self) -> int:
        """K, the number of slots in a row."""
        return int(self.ids.shape[1])

    @property
    def conversations(self) -> int:
        """C, the number of conversations."""
        return int(self.offsets.shape[0] - 1)

    def slice(self, first: int, last: int) -> "TopK":
        """The conversations first..last-1, as views."""
        low, high = int(self.offsets[first]), int(self.offsets[last])
        parts = {f.name: getattr(self, f.name)[low:high] for f in fields(self) if f.name != "offsets"}
        return TopK(**parts, offsets=self.offsets[first : last + 1] - low)

    def with_distributions(
        self,
        *,
        ids: NDArray[np.int32],
        logprobs: NDArray[np.float16],
        tail: NDArray[np.float16],
        present: NDArray[np.bool_],
    ) -> "TopK":
        """The same rows with other distributions."""
        return replace(self, ids=ids, logprobs=logprobs, tail=tail, present=present)


def concatenate(parts: list[TopK]) -> TopK:
    """All conversations of the parts in order; narrower parts are widened with empty slots."""
    assert parts, "nothing to concatenate"
    k = max(part.k for part in parts)
    parts = [widen(part, k) for part in parts]
    joined = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts])
        for f in fields(TopK)
        if f.name != "offsets"
    }
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    return TopK(**joined, offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def widen(part: TopK, k: int) -> TopK:
    """The same distributions with k >= part.k slots, the new ones empty."""
    extra = k - part.k
    assert extra >= 0, "widen cannot cut"
    if extra == 0:
        return part
    return replace(
        part,
        ids=np.pad(part.ids, ((0, 0), (0, extra))),
        logprobs=np.pad(part.logprobs, ((0, 0), (0, extra)), constant_values=EMPTY_LOGPROB),
    )
