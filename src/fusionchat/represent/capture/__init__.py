"""The capture backends, one per file.

A new file here with a `Capturer` in it is a new backend; nothing else changes.

`AnyCapturer` is the union of their settings, discriminated by the field ``backend``; a word is short for
``{backend: WORD}``.
"""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import BeforeValidator, Field

from fusionchat.discover import discover
from fusionchat.represent.capture.base import Asked, Capture, Capturer
from fusionchat.represent.capture.transformers import Transformers
from fusionchat.settings import no_such

BACKENDS = discover(__name__, __path__, Capturer, key="backend")
"""Every backend's settings by name."""
DEFAULT = Transformers()
"""The backend of a model for which the recipe names none."""


def with_backend(value: object) -> object:
    """A backend's settings with its name, from a word or a mapping.

    Raises:
        ValueError: There is no such backend.
    """
    if isinstance(value, Capturer):
        return value
    tree = {"backend": value} if isinstance(value, str) else value
    if not isinstance(tree, dict):
        raise ValueError("must be a backend's name or a mapping: {backend: NAME, ...}")
    tree = {"backend": DEFAULT.backend, **tree}
    backend = tree["backend"]
    if backend not in list(BACKENDS):
        raise ValueError(no_such("backend", str(backend), list(BACKENDS)))
    return tree


if TYPE_CHECKING:
    AnyCapturer = Capturer
else:
    _KINDS = Union[tuple(BACKENDS.values())]  # noqa: UP007 - made from the files found
    _TOLD_APART = Field(discriminator="backend") if len(BACKENDS) > 1 else Field()
    AnyCapturer = Annotated[_KINDS, _TOLD_APART, BeforeValidator(with_backend)]

__all__ = ["BACKENDS", "DEFAULT", "AnyCapturer", "Asked", "Capture", "Capturer"]
