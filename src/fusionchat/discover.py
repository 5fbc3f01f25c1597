"""Kinds that are discovered, not listed: a new file in a folder is a new kind."""

import importlib
import pkgutil
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def discover(
    package: str, folders: Iterable[str], base: type[T], *, key: str = "method"
) -> dict[str, type[T]]:
    """The kinds of ``base`` in the modules of a package, by their ``method`` or another ``key``, sorted.

    A kind is a subclass whose key is a text, or is the default of the field of that name; modules in folders
    of the package count too.
    """
    found: dict[str, type[T]] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(folders)):
        for value in vars(importlib.import_module(f"{package}.{module}")).values():
            if not (isinstance(value, type) and issubclass(value, base)):
                continue
            field = getattr(value, "model_fields", {}).get(key)  # pydantic stores defaults separately
            name = field.default if field else getattr(value, key, None)
            if isinstance(name, str):
                assert found.setdefault(name, value) is value, f"two kinds are called {name}"
    return dict(sorted(found.items()))
