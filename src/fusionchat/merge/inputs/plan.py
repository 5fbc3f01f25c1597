"""What a merge will do: which tensors are merged, where the results go, and their sizes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float32

from fusionchat.artifacts import Json
from fusionchat.merge.inputs.header import header_bytes
from fusionchat.merge.inputs.stored import Stored

Dtype = Literal["float32", "bfloat16", "float16"]
STORED_AS: dict[Dtype, str] = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
BYTES: dict[Dtype, int] = {"float32": 4, "bfloat16": 2, "float16": 2}


class Source(Protocol):
    """The values of one input tensor: from a file, or computed from files."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""

    @property
    def is_float(self) -> bool:
        """Whether it can be merged."""

    def decode(self, begin: int, out_B: Float32[np.ndarray, " B"]) -> None:
        """Write the elements from ``begin`` on as float32."""

    def read_ahead(self, begin: int) -> None:
        """Tell the system that the elements from ``begin`` on come next."""

    def release(self) -> None:
        """Tell the system that this tensor is not needed any more."""


class Taking(NamedTuple):
    """Which targets take part in a tensor: their positions among all ``targets`` of the merge, in order."""

    places: tuple[int, ...]
    targets: int


@dataclass(frozen=True)
class TensorJob:
    """One tensor of the fused model.

    Attributes:
        name: Its name there.
        shape: Its shape.
        sources: Pivot and targets; empty if the tensor is copied.
        auxiliary: One more tensor per target for methods that need it.
        copied: The tensor to copy byte for byte (whole numbers and masks).
        part: Which targets the sources are, if not all take part.
        exact: Whether it is stored as float32 whatever the fused model's type, as for a buffer that keeps its
            precision.
    """

    name: str
    shape: tuple[int, ...]
    sources: tuple[Source, ...] = ()
    auxiliary: tuple[Source, ...] = ()
    copied: Stored | None = None
    part: Taking | None = None
    exact: bool = False

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def nbytes(self, dtype: Dtype) -> int:
        """Its size in the fused model, in bytes."""
        return self.copied.nbytes if self.copied else self.count * BYTES[self.dtype(dtype)]

    def dtype(self, dtype: Dtype) -> Dtype:
        """The type of a merged tensor in a fused model of type ``dtype``."""
        return "float32" if self.exact else dtype

    def stored_as(self, dtype: Dtype) -> str:
        """Safetensors' name of its type in the fused model."""
        return self.copied.dtype if self.copied else STORED_AS[self.dtype(dtype)]


@dataclass(frozen=True)
class Shard:
    """One weight file of the fused model: its name, header and tensors in order."""

    file: str
    header: bytes
    jobs: tuple[TensorJob, ...]
    nbytes: int


def layout(jobs: Sequence[TensorJob], dtype: Dtype, shard_bytes: int) -> tuple[Shard, ...]:
    """Divide tensors into files of at most ``shard_bytes`` (a larger tensor gets a file of its own)."""
    groups: list[list[TensorJob]] = [[]]
    filled = 0
    for job in jobs:
        size = job.nbytes(dtype)
        if groups[-1] and filled + size > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(job)
        filled += size
    single = len(groups) == 1
    names = [
        "model.safetensors" if single else f"model-{i + 1:05d}-of-{len(groups):05d}.safetensors"
        for i in range(len(groups))
    ]
    return tuple(_shard(name, group, dtype) for name, group in zip(names, groups, strict=True))


def _shard(file: str, jobs: Sequence[TensorJob], dtype: Dtype) -> Shard:
    entries: dict[str, Json] = {}
    at = 0
    for job in jobs:
        end = at + job.nbytes(dtype)
        entries[job.name] = {
            "dtype": job.stored_as(dtype),
            "shape": list(job.shape),
            "data_offsets": [at, end],
        }
        at = end
    header = header_bytes(entries)
    return Shard(file, header, tuple(jobs), len(header) + at)


def index_of(shards: Sequence[Shard]) -> dict[str, Json]:
    """The index file of a sharded model."""
    weight_map: dict[str, Json] = {job.name: shard.file for shard in shards for job in shard.jobs}
    total = sum(shard.nbytes - len(shard.header) for shard in shards)
    return {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
