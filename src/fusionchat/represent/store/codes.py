# N rows, K kept tokens, B bytes of a value
"""How values are stored: log-probabilities as 8-bit codes, and what helps compression. PURE.

An 8-bit code is the rounded square root of -log p, in steps of `STEP`: likely tokens are stored more finely
than unlikely ones. The root is off by half a step at most, so log p by at most STEP * sqrt(-log p) + STEP^2 /
4, plus the rounding of the code's value to float16 (2^-11 of it). An unlikely token's error weighs little.

For compression, values become differences, and their bytes are sorted.
"""

import numpy as np
from jaxtyping import Float16, Shaped, UInt8
from numpy.typing import NDArray

LEAST = -16.0
"""The least log-probability with a code of its own; anything less, except -inf, gets the same code."""
NONE = 255
"""The code of -inf."""
STEP = float(np.sqrt(-LEAST) / (NONE - 1))
DECODED = np.append(-((np.arange(NONE) * STEP) ** 2), -np.inf).astype(np.float16)
"""float16 [256]: the log-probability of every code."""


def encode(logprobs: Float16[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """The code of each log-probability: round(sqrt(-log p) / STEP), `NONE` for -inf; at most 0 each."""
    return ENCODED[logprobs.view(np.uint16)]


def decode(codes: UInt8[np.ndarray, "..."]) -> Float16[np.ndarray, "..."]:
    """The log-probability of each code: -(code * STEP)^2."""
    return DECODED[codes]


def _table() -> NDArray[np.uint8]:
    """uint8 [65536]: the code of every float16, by its bits."""
    values = -np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64)
    codes = np.rint(np.sqrt(np.clip(np.nan_to_num(values, nan=0.0), 0.0, -LEAST)) / STEP)
    return np.where(np.isposinf(values), NONE, codes).astype(np.uint8)


ENCODED = _table()


def differences(values: Shaped[np.ndarray, "N K"]) -> Shaped[np.ndarray, "N K"]:
    """Each value's bits minus those of the one before it in its row, modulo 2^bits; the first as it is.

    Log-probabilities fall along a row, so neighbours are alike.
    """
    bits = np.ascontiguousarray(values).view(f"u{values.itemsize}")
    changes = bits.copy()
    changes[:, 1:] -= bits[:, :-1]
    return changes


def sums(changes: Shaped[np.ndarray, "N K"], dtype: np.dtype[np.generic]) -> Shaped[np.ndarray, "N K"]:
    """The values whose `differences` these are."""
    bits = changes.view(f"u{dtype.itemsize}")
    for k in range(1, bits.shape[1]):  # in place: cumsum is slower along short rows
        bits[:, k] += bits[:, k - 1]
    return bits.view(dtype)


def by_place(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The first bytes of all values, then the second bytes, and so on.

    Bytes of one place are alike, so they compress better.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    return np.ascontiguousarray(flat.view(np.uint8).reshape(len(flat), flat.itemsize).T).reshape(-1)


def by_value(planes: NDArray[np.uint8], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """The values whose bytes `by_place` has sorted, flat."""
    sorted_BN = planes.reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(sorted_BN.T).reshape(-1).view(dtype)
