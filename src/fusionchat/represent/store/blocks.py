"""Blocks: the pieces of a column; each has a checksum and is compressed on its own."""

import math
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from fusionchat.represent.store.codes import by_place, by_value, differences, sums

if TYPE_CHECKING:
    from pyarrow import Codec

BLOCK = 2**16
"""Approximate bytes of a block of the widest column."""
LEVEL = 3
"""zstd's level: 9 makes blocks 2 % smaller and takes four times as long."""
Compression = Literal["none", "zstd"]
Bytes = NDArray[np.uint8]


def checksum(data: Bytes) -> int:
    """XXH3 of some bytes, 64 bits, seed 0."""
    return xxhash.xxh3_64_intdigest(data.data)


def block_rows(widths: list[int]) -> int:
    """Rows of a block, for columns of these widths in bytes: about `BLOCK` bytes of the widest."""
    return max(1, BLOCK // max(widths, default=1))


def blocks_of(rows: int, size: int) -> Iterator[slice]:
    """The rows of every block; the last may have fewer."""
    return (slice(first, min(first + size, rows)) for first in range(0, rows, size))


@cache
def _zstd() -> "Codec":
    from pyarrow import Codec

    return Codec("zstd", LEVEL)


def pack(values: NDArray[np.generic], compression: Compression, *, falls: bool = False) -> Bytes:
    """A block's values as they are written: as they are, or compressed as one zstd frame.

    To be compressed, their bytes are sorted by place.

    ``falls``: values fall along a row; their differences are compressed.
    """
    if compression == "none":
        return np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return np.frombuffer(_zstd().compress(by_place(differences(values) if falls else values)), np.uint8)


def unpack(
    frame: Bytes, shape: tuple[int, ...], dtype: np.dtype[np.generic], *, falls: bool = False
) -> NDArray[np.generic]:
    """The values of a compressed block.

    Raises:
        OSError, ValueError: It is no frame of that shape.
    """
    planes = _zstd().decompress(frame, math.prod(shape) * dtype.itemsize)
    values = by_value(np.frombuffer(planes, np.uint8), dtype).reshape(shape)
    return sums(values, dtype) if falls else values
