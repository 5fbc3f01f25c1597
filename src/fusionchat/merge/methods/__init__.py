"""The merge methods, one family a file. A new file here with a `Method` in it is a new method: nothing else to touch.

`MergeMethod` is the union of their settings, told apart by the field ``method``.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Union

from fusionchat.merge.methods.base import BlockMethod, Method, MixtureMethod


def _discover() -> dict[str, type[Method]]:
    found: dict[str, type[Method]] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        room = importlib.import_module(f"{__name__}.{module}")
        for value in vars(room).values():
            name = getattr(value, "method", None)
            if isinstance(value, type) and issubclass(value, Method) and isinstance(name, str):
                assert found.setdefault(name, value) is value, f"two methods are called {name}"
    return dict(sorted(found.items()))


METHODS = _discover()
"""Every method's settings by name."""
NAMES = tuple(METHODS)
"""The names, sorted."""

if TYPE_CHECKING:
    MergeMethod = BlockMethod | MixtureMethod
else:
    MergeMethod = Union[tuple(METHODS.values())]  # noqa: UP007 - made from the files found

__all__ = ["METHODS", "NAMES", "MergeMethod"]
