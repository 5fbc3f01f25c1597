"""The base of all settings (frozen, checked, without unknown keys), and what they share."""

import difflib
import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

AnyDtype = Literal["auto", "float32", "bfloat16", "float16"]


class Frozen(BaseModel):
    """The base of every part of a recipe: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Grown(Frozen):
    """Settings to which keys were added later.

    At its default such a key is not written, so that finished jobs stay done.
    """

    later: ClassVar[tuple[str, ...]] = ()
    """The keys that were added later."""

    @model_serializer(mode="wrap")
    def _without_unused(self, written: SerializerFunctionWrapHandler) -> dict[str, object]:
        held: dict[str, object] = written(self)
        unused = {key for key in self.later if getattr(self, key) == type(self).model_fields[key].default}
        return {key: value for key, value in held.items() if key not in unused}


class Named(Frozen):
    """A part of a recipe that one word can abbreviate: ``pivot: NAME`` for ``pivot: {model: NAME}``."""

    short: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: object) -> object:
        return {cls.short: value} if isinstance(value, str) else value


def method_from_name(value: object) -> object:
    """``merge: varm`` is short for ``merge: {method: varm}``."""
    return {"method": value} if isinstance(value, str) else value


def with_group(pattern: str) -> str:
    """A regular expression with a group; raises ValueError otherwise."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if groups < 1:
        raise ValueError("the pattern needs a group; its text is used")
    return pattern


def no_such_method(name: str, known: list[str]) -> str:
    """The message for an unknown method."""
    return no_such("method", name, known)


def no_such(what: str, name: str, known: list[str]) -> str:
    """The message for an unknown name."""
    return f"there is no {what} {name!r}{meant(name, known)}; there are {', '.join(known)}"


def meant(name: str, known: Sequence[str]) -> str:
    """The known name that was perhaps meant, in parentheses; "" for none."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
