# N supervised tokens (rows), C conversations
"""`SupervisedTokens`: which tokens of some conversations are scored and trained on, per model. PURE.

A model's distributions for them are a `fusionchat.represent.topk.TopK`, with one row for each of these rows.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class SupervisedTokens:
    """Supervised tokens of a model, one row each, grouped by conversation.

    Attributes:
        labels: int32 [N], the tokens.
        turn: int32 [N], index of the message that the token belongs to.
        begin, end: int32 [N], its byte span in that message's content; the end-of-turn event is
            [len, len + 1). A negative begin means that the token contains template bytes; a begin before the
            end of the previous row, that it contains a space that the tokenizer added (see
            `fusionchat.represent.events.text_begins`).
        offsets: int64 [C + 1], rows of conversation c are offsets[c]:offsets[c + 1].
    """

    labels: NDArray[np.int32]
    turn: NDArray[np.int32]
    begin: NDArray[np.int32]
    end: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        n = len(self.labels)
        for name in ("labels", "turn", "begin", "end"):
            assert getattr(self, name).shape == (n,), f"{name} must be [N]"
        assert self.offsets[0] == 0 and self.offsets[-1] == n, "offsets must cover all rows"

    @property
    def rows(self) -> int:
        """N, the number of supervised tokens."""
        return len(self.labels)

    @property
    def conversations(self) -> int:
        """C, the number of conversations."""
        return len(self.offsets) - 1

    def slice(self, first: int, last: int) -> "SupervisedTokens":
        """The conversations first..last-1, as views."""
        low, high = int(self.offsets[first]), int(self.offsets[last])
        parts = {f.name: getattr(self, f.name)[low:high] for f in fields(self) if f.name != "offsets"}
        return SupervisedTokens(**parts, offsets=self.offsets[first : last + 1] - low)

    def same_as(self, other: "SupervisedTokens") -> bool:
        """Whether both are the same tokens in the same places."""
        return all(np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
