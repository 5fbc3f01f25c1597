"""What a capture backend is given, what it gives, and the base of all backends."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from fusionchat.models.ref import ModelRef
from fusionchat.settings import AnyDtype, Frozen

if TYPE_CHECKING:
    from fusionchat.corpus.rendered import RenderedPart
    from fusionchat.represent.topk import Scored


@dataclass(frozen=True)
class Asked:
    """Which model is captured, and how.

    Attributes:
        ref: The model.
        vocabulary: Tokens of its tokenizer; ids past them are never kept.
        k: Tokens kept of each distribution.
        dtype: What the model is loaded in.
        device: As `runtime.device` of a recipe; changes no setting that is hashed.
        batch_tokens: Most padded tokens of one forward pass.
    """

    ref: ModelRef
    vocabulary: int
    k: int
    dtype: AnyDtype
    device: str
    batch_tokens: int


class Capture(Protocol):
    """A model that is open for capture."""

    def __call__(
        self, rendered: "RenderedPart", *, names: Sequence[str], advance: Callable[[int], None]
    ) -> "Scored":
        """The model's distributions for every supervised token, in the order of the conversations.

        Args:
            rendered: The conversations in the model's own template and tokens.
            names: The conversations' ids, for messages.
            advance: Called with the number of conversations done.
        """
        ...


class Capturer(Frozen):
    """The base of all backends: a backend's settings, which are what `capture: {backend: NAME, ...}` of a model holds.

    Attributes:
        backend: Its name in a recipe; a ``Literal`` in every backend.
        short: The key that one word stands for.
    """

    short: ClassVar[str] = "backend"

    backend: str

    @property
    def version(self) -> str:
        """The version of the program that captures; kept with the capture."""
        raise NotImplementedError

    def open(self, asked: Asked) -> AbstractContextManager[Capture]:
        """Load the model, and close it after."""
        raise NotImplementedError
