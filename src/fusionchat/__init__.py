"""FusionChat: fuse chat LLMs of different architecture, size and tokenizer into one.

The public names are resolved on first use, so that ``import fusionchat`` imports neither torch nor
transformers. Some are also rooms: ``fusionchat.merge(...)`` is a function and ``fusionchat.merge.methods`` a
package.
"""

import importlib
import inspect
import sys
from types import ModuleType
from typing import Any

from fusionchat.version import __version__ as __version__

_API = "fusionchat.api"
_ROOMS = ("evaluate", "fuse", "merge", "run")
"""Rooms that are also functions of the same name."""

__all__ = [
    "AlignSettings",
    "DistributionStore",
    "FusionChatError",
    "Recipe",
    "Scored",
    "Student",
    "SupervisedTokens",
    "TokenTable",
    "TopK",
    "check",
    "evaluate",
    "fuse",
    "load_recipe",
    "merge",
    "plan",
    "project",
    "run",
    "soft_cross_entropy",
]


class _Room(ModuleType):
    """A room that can be called, which calls the public function of its name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _public(self.__name__.rpartition(".")[2])(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_public(self.__name__.rpartition(".")[2]))


class _Package(ModuleType):
    """This package, in which the rooms of `_ROOMS` become callable when they are imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _ROOMS and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


def _public(name: str) -> Any:
    return getattr(importlib.import_module(_API), name)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"fusionchat.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'fusionchat' has no attribute {name!r}")
    return _public(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


sys.modules[__name__].__class__ = _Package
