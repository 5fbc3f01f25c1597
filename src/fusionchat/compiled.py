"""numba's compiler, with the machine code cached on disk. PURE."""

from collections.abc import Callable
from typing import Any

import numba


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles a function, as ``numba.njit`` with ``cache=True``.

    numba caches the machine code beside the source, or else in the user's cache (``NUMBA_CACHE_DIR`` names
    another folder). If neither can be written to, every process compiles afresh.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba has no folder, which it looks for when it decorates
            return numba.njit(**options)(function)

    return compiled
