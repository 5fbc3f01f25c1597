"""Tensors in weight files: memory-mapped, read ahead, decoded block by block, released."""

import math
import mmap
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from fusionchat.merge.kernels.bf16 import decode_bf16

BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32,
    "U16": 16, "U8": 8, "BOOL": 8, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
"""Bits of an element, by safetensors 0.8's name of its type."""
_VIEWS: dict[str, type[np.generic]] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,
}
_READ_AHEAD = 48 * 2**20


class MappedFile:
    """One memory-mapped weight file, with read-ahead and release of its pages.

    Args:
        path: The file; it must not be empty.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.size, self.ahead = path, path.stat().st_size, 0
        self.handle = os.open(path, os.O_RDONLY)
        self.map = mmap.mmap(self.handle, 0, access=mmap.ACCESS_READ)

    def read_ahead(self, at: int) -> None:
        """Ask the system to read the next 48 MB after ``at``, in steps of half that size, once each."""
        if at + _READ_AHEAD // 2 <= self.ahead or not hasattr(os, "posix_fadvise"):
            return
        begin = max(self.ahead, at)
        self.ahead = at + _READ_AHEAD
        os.posix_fadvise(self.handle, begin, self.ahead - begin, os.POSIX_FADV_WILLNEED)

    def release(self, begin: int, end: int) -> None:
        """Drop pages that were read, from this process and from the page cache."""
        first, last = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
        if last <= first or not hasattr(os, "posix_fadvise"):
            return
        self.map.madvise(mmap.MADV_DONTNEED, first, last - first)
        os.posix_fadvise(self.handle, first, last - first, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close the mapping and the file; a view kept alive by a traceback keeps the mapping open."""
        with suppress(BufferError):
            self.map.close()
        os.close(self.handle)


@dataclass(frozen=True)
class Stored:
    """A tensor as a file stores it."""

    name: str
    file: MappedFile
    dtype: str
    shape: tuple[int, ...]
    begin: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.count * BITS[self.dtype] // 8

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""
        return str(self.file.path)

    @property
    def is_float(self) -> bool:
        """Whether it can be merged."""
        return self.dtype in _VIEWS

    @property
    def is_quantized(self) -> bool:
        """Whether its type is for quantized weights or their scales: FP8, FP6, FP4."""
        return self.dtype[:2] in ("F8", "F4") or self.dtype[:3] == "F6_"

    @property
    def view(self) -> type[np.generic]:
        """The numpy type of its elements; uint16 for bfloat16."""
        return _VIEWS[self.dtype]

    def raw(self) -> memoryview:
        """The bytes, not copied."""
        return memoryview(self.file.map)[self.begin : self.begin + self.nbytes]

    @cached_property
    def values(self) -> np.ndarray:
        """All elements as in the file; bfloat16 as uint16."""
        return np.frombuffer(self.file.map, self.view, self.count, self.begin)

    def decode(self, begin: int, out_B: Float32[np.ndarray, " B"]) -> None:
        """Write the elements from ``begin`` on as float32."""
        values_B = self.values[begin : begin + out_B.size]
        if self.dtype == "BF16":
            decode_bf16(values_B, out_B)
        else:
            with np.errstate(over="ignore"):  # fp64 beyond fp32 becomes inf, which the engine reports by name
                np.copyto(out_B, values_B, casting="same_kind")

    def read_ahead(self, begin: int) -> None:
        """Tell the system that the elements from ``begin`` on come next."""
        self.file.read_ahead(self.begin + begin * BITS[self.dtype] // 8)

    def release(self) -> None:
        """Tell the system that this tensor is not needed any more."""
        self.file.release(self.begin, self.begin + self.nbytes)
