"""The fusion rules, one per file.

A new file here with a `Rule` (or a `BaseRule`) in it is a new rule; nothing else changes.

`FuseRule` is the union of their settings, chosen by the field ``method``.
"""

from typing import TYPE_CHECKING, Union

from fusionchat.discover import discover
from fusionchat.fuse.rules.base import BaseRule, Rule

RULES = discover(__name__, __path__, BaseRule)
"""Every rule's settings by name."""

if TYPE_CHECKING:
    FuseRule = BaseRule
else:
    FuseRule = Union[tuple(RULES.values())]  # noqa: UP007 - made from the files found

__all__ = ["RULES", "BaseRule", "FuseRule", "Rule"]
