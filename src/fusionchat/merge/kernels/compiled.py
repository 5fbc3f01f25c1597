"""How the loops of merging are compiled: cached on disk, without the GIL, span by span.

Loops run over slices that begin at 0, because the compiler vectorises only those. Sums are float32 inside a
`SPAN` and float64 above, in a fixed order, so a result depends on neither threads nor block size.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

SPAN = 1024
"""Elements that a loop processes at a time, which stay in the first-level cache."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop whose sums may be reordered and fused; NaN and inf are preserved."""
    return _kept(njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})(function))


def exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop without permission to change the arithmetic."""
    return _kept(njit(nogil=True, error_model="numpy")(function))


def sources() -> str:
    """SHA-256 of the files of this folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Cache(FunctionCache):
    """Compiled code on disk, which is stale once any file of this folder has changed.

    numba itself checks only one file.
    """

    folder = sources()

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), self.folder)


def _kept(function: Any) -> Callable[..., Any]:
    """The same function with a `Cache`, or without one where no folder can be written to."""
    with suppress(RuntimeError):  # numba raises this
        function._cache = Cache(function.py_func)
    kept: Callable[..., Any] = function
    return kept
