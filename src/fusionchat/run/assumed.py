"""What a plan assumes of missing models and a missing corpus, to estimate their jobs' costs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from fusionchat.errors import RecipeError

TOKENS = "tokens"


class Assumed(NamedTuple):
    """Tokens of the training part, and parameters of models by name; None and nothing by default."""

    tokens: float | None = None
    parameters: Mapping[str, float] = {}


_assumed: ContextVar[Assumed] = ContextVar("assumed", default=Assumed())  # noqa: B039 (immutable)


def assumed() -> Assumed:
    """The assumptions in effect."""
    return _assumed.get()


@contextmanager
def assuming(found: Assumed) -> Iterator[None]:
    """Compute costs under these assumptions while the block runs."""
    before = _assumed.set(found)
    try:
        yield
    finally:
        _assumed.reset(before)


def parse(texts: tuple[str, ...], models: tuple[str, ...]) -> Assumed:
    """The assumptions in texts such as ``tokens=63e6`` and ``MODEL=7e9``.

    Raises:
        RecipeError: A value is no number above 0, or there is no such model.
    """
    found = dict[str, float]()
    for text in texts:
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = 0.0
        if found[name] <= 0 or name not in (TOKENS, *models):
            raise RecipeError(
                f"This is not NAME=NUMBER: {text!r}",
                where="--assume",
                do=f"use NAME=NUMBER, with one of the names {', '.join((TOKENS, *models))}",
            )
    return Assumed(found.pop(TOKENS, None), found)
