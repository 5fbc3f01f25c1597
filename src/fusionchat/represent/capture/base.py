"""The base of all capture backends: what one takes and returns."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ClassVar, Protocol

from pydantic import Field

from fusionchat.models.opening import PLAIN, Opening
from fusionchat.represent.asked import Asked, Sample
from fusionchat.settings import Frozen

if TYPE_CHECKING:
    from fusionchat.corpus.rendered_part import RenderedPart
    from fusionchat.represent.topk import Scored


Means = dict[str, str | int | float | None]
"""Settings of a backend that change no distribution: where it runs, how often it retries."""


class Capture(Protocol):
    """A model that is open for capture."""

    def __call__(
        self, rendered: "RenderedPart", *, names: Sequence[str], advance: Callable[[int], None]
    ) -> "Scored":
        """The model's distributions for every supervised token, in the order of the conversations.

        Args:
            rendered: The conversations in the model's own template and tokens.
            names: The conversations' ids, for messages.
            advance: Called with the number of tokens done: all of a conversation's, supervised or not.
        """
        ...


class Capturer(Frozen):
    """The base of all backends: the settings that a model's `capture: {backend: NAME, ...}` holds.

    A field with ``exclude=True`` changes no distribution: it is in no fingerprint, and reaches the work as
    `Job.means`.

    Attributes:
        backend: Its name in a recipe; a ``Literal`` in every backend.
        probe_bound: See `fusionchat.represent.probe`.
        short: The key that a single word sets.
        reads_weights: Whether it needs the model's weights on this machine.
    """

    short: ClassVar[str] = "backend"
    reads_weights: ClassVar[bool] = True

    backend: str
    probe_bound: float | None = Field(
        None,
        gt=0,
        exclude=True,
        description="nats by which log-probabilities may differ from plain transformers in float32, on average over the "
        "probe; more is an error. Unset: 0.001 in float32, 0.02 in float16, 0.1 in bfloat16, 0.3 for anything else",
    )

    def __str__(self) -> str:
        """The backend in a word or two."""
        return self.backend

    @property
    def means(self) -> Means:
        """The settings that change no distribution."""
        return {name: getattr(self, name) for name, field in type(self).model_fields.items() if field.exclude}

    @property
    def version(self) -> str:
        """The version of the program that captures; saved with the capture."""
        raise NotImplementedError

    def precision(self, dtype: str) -> str:
        """The precision that the model computes in under ``represent.dtype: dtype``; saved with the capture."""
        return dtype

    def require(self, place: str) -> None:
        """Raise RecipeError if a setting is missing; ``place`` is the settings' path in the recipe."""

    def faults(self, place: str, model: str) -> list[str]:
        """What a model lacks on this machine (a program, a server), one line each, for `check`."""
        return []

    @property
    def needs_gpus(self) -> int:
        """How many GPUs each worker of this model gets, where the machine has GPUs."""
        return 1

    @property
    def opening(self) -> Opening:
        """How transformers opens the model where it is evaluated."""
        return PLAIN

    def open(self, asked: Asked) -> AbstractContextManager[Capture]:
        """The loaded model, as a context that closes it."""
        raise NotImplementedError


__all__ = ["Asked", "Capture", "Capturer", "Means", "Sample"]
