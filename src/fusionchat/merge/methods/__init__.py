"""The merge methods, one family per file.

A new file here with a `Method` in it is a new method; nothing else changes.

`MergeMethod` is the union of their settings, chosen by the field ``method``.
"""

from typing import TYPE_CHECKING, Union

from fusionchat.discover import discover
from fusionchat.merge.methods.base import BlockMethod, Method, MixtureMethod

METHODS = discover(__name__, __path__, Method)
"""Every method's settings by name."""
NAMES = tuple(METHODS)
"""The names, sorted."""

if TYPE_CHECKING:
    MergeMethod = BlockMethod | MixtureMethod
else:
    MergeMethod = Union[tuple(METHODS.values())]  # noqa: UP007 - made from the files found

__all__ = ["METHODS", "NAMES", "MergeMethod"]
