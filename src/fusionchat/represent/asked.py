"""The request to a capture backend."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from fusionchat.models.ref import ModelRef
from fusionchat.settings import AnyDtype

if TYPE_CHECKING:
    from fusionchat.represent.notes import Notes


class Sample(NamedTuple):
    """A text of the corpus, and its tokens by the model's own tokenizer without special tokens."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Asked:
    """Which model is captured, and how.

    Attributes:
        ref: The model.
        vocabulary: Tokens of its tokenizer; ids past them are never kept.
        k: Tokens kept of each distribution.
        dtype: The dtype that the model is loaded in.
        device: As `runtime.device` of a recipe; in no fingerprint.
        batch_tokens: Most padded tokens of one forward pass.
        longest: Tokens of the longest conversation.
        samples: Some texts of the corpus, to check that a backend has the model's tokenizer.
        notes: What a backend that has all logits records of the current shard; None for nothing.
    """

    ref: ModelRef
    vocabulary: int
    k: int
    dtype: AnyDtype
    device: str
    batch_tokens: int
    longest: int = 0
    samples: tuple[Sample, ...] = ()
    notes: "Notes | None" = None

    @property
    def place(self) -> str:
        """Where the recipe says how the model is captured."""
        return f"{self.ref.where}.capture"
