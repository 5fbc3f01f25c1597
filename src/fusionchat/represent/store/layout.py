# N rows, K kept tokens, C conversations, B blocks
"""The head of a shard file: what is in the file, and where.

A shard is a safetensors file; docs/formats.md describes it byte by byte.

    8 bytes, header | offsets, NAME.ends, checksums | root | columns

``root`` is the checksum of everything before it, and ``checksums`` has one for each block of each column: so
a checksum covers every byte of the file, and opening a shard reads only its head.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from fusionchat.artifacts import canonical
from fusionchat.represent.store.blocks import Compression

SHARDS = "shard-*.safetensors"
LOGPROBS, LABEL_LOGPROB = "logprobs", "label_logprob"
FORMAT = "fusionchat store 1"
KEY = "store"
"""The only key of the header's metadata, because safetensors' own writer orders several arbitrarily."""
OFFSETS, CHECKSUMS, ROOT, ENDS = "offsets", "checksums", "root", ".ends"
ALIGNMENT = 64
DTYPES = {
    np.dtype(name): short
    for name, short in {
        "u1": "U8", "?": "BOOL", "<u2": "U16", "<f2": "F16", "<i4": "I32", "<f4": "F32", "<i8": "I64", "<u8": "U64",
    }.items()
}  # fmt: skip
"""numpy's dtypes and their names in a safetensors header."""
NAMED = {short: dtype for dtype, short in DTYPES.items()}


def shard_path(folder: Path, index: int) -> Path:
    """The file of shard ``index``."""
    return folder / f"shard-{index:05d}.safetensors"


@dataclass(frozen=True)
class Encoding:
    """How distributions are stored.

    Attributes:
        vocabulary: An upper bound of the ids, which have 16 bits where these are enough.
        logprobs: ``float16``, or ``uint8`` codes (`fusionchat.represent.store.codes`); the tail too.
        compression: The compression of the blocks.
    """

    vocabulary: int
    logprobs: Literal["float16", "uint8"] = "float16"
    compression: Compression = "none"

    @property
    def ids(self) -> np.dtype[np.generic]:
        """The ids' dtype."""
        return np.dtype(np.uint16 if self.vocabulary <= 2**16 else np.int32)


@dataclass(frozen=True)
class Column:
    """One or several values of each row.

    Attributes:
        name: The tensor's name.
        dtype: The dtype of its values before compression, as safetensors names it.
        width: Values of a row; 0 for a flat tensor.
    """

    name: str
    dtype: str
    width: int = 0

    @property
    def falls(self) -> bool:
        """Whether its values fall along a row, so that it is compressed as differences."""
        return self.name == LOGPROBS

    def shape(self, rows: int) -> tuple[int, ...]:
        """The shape of ``rows`` rows."""
        return (rows, self.width) if self.width else (rows,)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row before compression."""
        return NAMED[self.dtype].itemsize * max(self.width, 1)


@dataclass(frozen=True)
class About:
    """What a shard contains.

    Attributes:
        made_by: The fingerprint of the job that wrote it.
        shard: Its number, and the number of shards.
        conversations: The first, the one after the last, and the number of all.
        rows: The same for rows.
        block_rows: Rows of a block.
        encoding: How its distributions are stored.
        columns: Its columns, in the order of ``checksums`` and of the file.
    """

    made_by: str
    shard: tuple[int, int]
    conversations: tuple[int, int, int]
    rows: tuple[int, int, int]
    block_rows: int
    encoding: Encoding
    columns: tuple[Column, ...]

    @property
    def count(self) -> int:
        """N, its rows."""
        return self.rows[1] - self.rows[0]

    @property
    def blocks(self) -> int:
        """B, the blocks of each column."""
        return -(-self.count // self.block_rows)

    def text(self) -> str:
        """As JSON, for the header."""
        return canonical({"format": FORMAT, **asdict(self)})


class Tensor(NamedTuple):
    """A tensor of the file: its name and dtype in the header, its shape, and its bytes [begin, end)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int = 0
    end: int = 0


class Head(NamedTuple):
    """The content of the header: the shard, its tensors by name, and the file's size."""

    about: About
    tensors: dict[str, Tensor]
    size: int


def make_header(about: About, tensors: list[tuple[Tensor, int]]) -> bytes:
    """The 8 bytes and the header of a file of consecutive tensors, given with their sizes in bytes."""
    entries: dict[str, object] = {"__metadata__": {KEY: about.text()}}
    at = 0
    for tensor, size in tensors:
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [at, at + size],
        }
        at += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def header_end(start: bytes) -> int:
    """Where the header ends, from a file's first 8 bytes."""
    return 8 + int.from_bytes(start[:8], "little")


def read_header(data: bytes) -> Head:
    """What `make_header` wrote, from the file's bytes up to the header's end.

    Raises:
        ValueError, KeyError, TypeError, ArithmeticError: It is no such header. (JSON's 1e999 is no offset.)
    """
    entries = json.loads(data[8:])
    held = json.loads(entries.pop("__metadata__")[KEY])
    if held.pop("format") != FORMAT:
        raise ValueError("it is of another version")
    columns = tuple(Column(**one) for one in held.pop("columns"))
    lists = {name: tuple(held.pop(name)) for name in ("shard", "conversations", "rows")}
    about = About(**held | lists | {"encoding": Encoding(**held["encoding"]), "columns": columns})
    tensors, at = dict[str, Tensor](), len(data)
    for name, entry in entries.items():
        begin, end = (len(data) + int(place) for place in entry["data_offsets"])
        tensor = Tensor(name, entry["dtype"], tuple(entry["shape"]), begin, end)
        if begin != at or end - begin != math.prod(tensor.shape) * NAMED[tensor.dtype].itemsize:
            raise ValueError(f"{name} is not where the header says")
        tensors[name], at = tensor, end
    return Head(about, tensors, at)
