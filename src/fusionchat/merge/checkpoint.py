"""Checkpoints on disk: safetensors headers read and checked, weights memory-mapped, nothing else loaded."""

import json
import math
import mmap
import os
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.kernels import decode_bf16

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
WIDTHS = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
"""Bytes an element takes, by safetensors' name of the type."""
_VIEWS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
_HEADER_LIMIT = 100_000_000
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
        """Ask the system to read the next 48 MB after ``at``, in steps of half of it, unless it was asked already."""
        if at + _READ_AHEAD // 2 <= self.ahead or not hasattr(os, "posix_fadvise"):
            return
        begin = max(self.ahead, at)
        self.ahead = at + _READ_AHEAD
        os.posix_fadvise(self.handle, begin, self.ahead - begin, os.POSIX_FADV_WILLNEED)

    def release(self, begin: int, end: int) -> None:
        """Drop pages that were read from this process and from the page cache."""
        first, last = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
        if last <= first or not hasattr(os, "posix_fadvise"):
            return
        self.map.madvise(mmap.MADV_DONTNEED, first, last - first)
        os.posix_fadvise(self.handle, first, last - first, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Give the mapping and the file back; a view that lives on in a traceback keeps the mapping until it goes."""
        with suppress(BufferError):
            self.map.close()
        os.close(self.handle)


@dataclass(frozen=True)
class Stored:
    """A tensor as it lies in a file."""

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
        return self.count * WIDTHS[self.dtype]

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""
        return str(self.file.path)

    @property
    def is_float(self) -> bool:
        """Whether it can be merged."""
        return self.dtype in _VIEWS

    def raw(self) -> memoryview:
        """The bytes, not copied."""
        return memoryview(self.file.map)[self.begin : self.begin + self.nbytes]

    @cached_property
    def values(self) -> np.ndarray:
        """All elements as they lie in the file; bfloat16 as uint16."""
        return np.frombuffer(self.file.map, _VIEWS[self.dtype], self.count, self.begin)

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
        self.file.read_ahead(self.begin + begin * WIDTHS[self.dtype])

    def release(self) -> None:
        """Tell the system that this tensor is done with."""
        self.file.release(self.begin, self.begin + self.nbytes)


@dataclass
class Checkpoint:
    """A model folder: its weights by name, and its config.

    Attributes:
        folder: Where it lies.
        tensors: Weights in the order in which they lie in the files.
        config: ``config.json``, empty where there is none.
        files: The weight files.
    """

    folder: Path
    tensors: dict[str, Stored]
    config: dict[str, Json]
    files: list[MappedFile] = field(default_factory=list)

    def close(self) -> None:
        """Give all mappings back."""
        for file in self.files:
            file.close()


def open_checkpoint(folder: Path, *, files: Sequence[Path] = ()) -> Checkpoint:
    """Open a folder's safetensors, single or sharded, and check every header against its file.

    Args:
        folder: The model folder.
        files: Weight files to read instead of the folder's own.

    Raises:
        MergeError: There are no weights, a file is damaged or cut short, or the index points outside the folder,
            at a missing file or at a tensor its file does not hold.
    """
    if not folder.is_dir():
        raise MergeError("This model folder does not exist", where=str(folder), do="check the path")
    paths, wanted = (list(files), {}) if files else _weight_files(folder)
    tensors: dict[str, Stored] = {}
    opened = []
    for path in paths:
        if not path.stat().st_size:
            raise MergeError("This file is empty", where=str(path), do=_AGAIN)
        file = MappedFile(path)
        opened.append(file)
        for tensor in read_header(file).values():
            if tensor.name in tensors:
                raise MergeError(
                    f"Tensor {tensor.name} is in two files", where=str(path), do="save the model again"
                )
            tensors[tensor.name] = tensor
    for name, path in wanted.items():
        if name not in tensors or tensors[name].file.path != path:
            raise MergeError(
                f"The index names tensor {name}, which the file lacks", where=str(path), do=_AGAIN
            )
    return Checkpoint(folder, tensors, _config(folder), opened)


_AGAIN = "download or save the model again"


def _weight_files(folder: Path) -> tuple[list[Path], dict[str, Path]]:
    index = folder / INDEX
    if index.is_file():
        wanted = _read_index(index)
        return sorted(set(wanted.values())), wanted
    if (folder / SINGLE).is_file():
        return [folder / SINGLE], {}
    others = sorted(folder.glob("*.safetensors"))
    if len(others) == 1:
        return others, {}
    pickles = sorted(folder.glob("pytorch_model*.bin"))
    if pickles:
        raise MergeError(
            "These weights are pickles, which can run code when they are opened",
            where=str(pickles[0]),
            do="save the model as safetensors, or allow pickles if you trust it (--allow-pickle)",
        )
    raise MergeError(
        "There are no weights (model.safetensors) in this folder", where=str(folder), do="check the path"
    )


def _read_index(index: Path) -> dict[str, Path]:
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = {str(name): str(file) for name, file in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MergeError(f"This index is damaged: {error}", where=str(index), do=_AGAIN) from error
    wanted = {}
    for name, file in names.items():
        if Path(file).name != file or file in ("", ".", ".."):
            raise MergeError(
                f"The index points outside its folder for tensor {name}: {file!r}",
                where=str(index),
                do="do not use this checkpoint, or correct its index",
            )
        if not (index.parent / file).is_file():
            raise MergeError(
                f"The file with tensor {name} is missing", where=str(index.parent / file), do=_AGAIN
            )
        wanted[name] = index.parent / file
    if not wanted:
        raise MergeError("This index names no tensors", where=str(index), do=_AGAIN)
    return wanted


def _config(folder: Path) -> dict[str, Json]:
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MergeError(f"This file is damaged: {error}", where=str(path), do=_AGAIN) from error
    return config if isinstance(config, dict) else {}


def read_header(file: MappedFile) -> dict[str, Stored]:
    """The tensors of one safetensors file in the order in which they lie there; raises MergeError where it is damaged."""
    size = file.size
    with file.path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _HEADER_LIMIT + 1
        if length > min(size - 8, _HEADER_LIMIT):
            raise MergeError("This file is cut short or no safetensors file", where=str(file.path), do=_AGAIN)
        text = stream.read(length)
    try:
        header = json.loads(text)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        spans = [_entry(file, name, entry, 8 + length) for name, entry in entries.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MergeError(
            f"This file's header is damaged: {error}", where=str(file.path), do=_AGAIN
        ) from error
    spans.sort(key=lambda span: (span.begin, span.nbytes))
    at = 8 + length
    for span in spans:
        if span.begin != at:
            raise MergeError(
                f"Tensor {span.name} overlaps another or leaves a gap", where=str(file.path), do=_AGAIN
            )
        at += span.nbytes
        if at > size:
            raise MergeError(
                f"This file is cut short: tensor {span.name} is incomplete", where=str(file.path), do=_AGAIN
            )
    if at != size:
        raise MergeError("This file has bytes that belong to no tensor", where=str(file.path), do=_AGAIN)
    return {span.name: span for span in spans}


def _entry(file: MappedFile, name: str, entry: Mapping[str, object], base: int) -> Stored:
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not (isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)):
        raise ValueError(f"tensor {name} has shape {shape!r}")
    if not (
        isinstance(offsets, list) and len(offsets) == 2 and all(type(n) is int and n >= 0 for n in offsets)
    ):
        raise ValueError(f"tensor {name} lies at {offsets!r}")
    if not isinstance(dtype, str) or dtype not in WIDTHS:
        raise ValueError(f"tensor {name} has the unknown type {dtype!r}")
    tensor = Stored(name, file, dtype, tuple(shape), base + offsets[0])
    if offsets[1] - offsets[0] != tensor.nbytes:
        raise ValueError(f"tensor {name} takes {offsets[1] - offsets[0]} bytes, not {tensor.nbytes}")
    return tensor
