"""numba's compiler, for loops that are kept on disk as machine code. PURE."""

from collections.abc import Callable
from typing import Any

import numba


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles a function, as ``numba.njit`` with ``cache=True``.

    numba keeps the machine code beside the source, or else in the user's cache (``NUMBA_CACHE_DIR`` names another
    folder). Where none of them can be written to, every process compiles afresh.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba has no folder; it looks for one when it decorates
            return numba.njit(**options)(function)

    return compiled
