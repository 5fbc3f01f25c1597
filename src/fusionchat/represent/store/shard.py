# N rows, K kept tokens, B blocks
"""One file of a store: its head is read and checked when opened, its blocks when touched."""

from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from fusionchat.represent.store.blocks import Bytes, checksum, unpack
from fusionchat.represent.store.codes import decode
from fusionchat.represent.store.layout import (
    CHECKSUMS,
    ENDS,
    LOGPROBS,
    NAMED,
    OFFSETS,
    ROOT,
    About,
    Column,
    Head,
    header_end,
    read_header,
)
from fusionchat.represent.store.source import LocalFile, Source
from fusionchat.represent.topk import TopK

START = 2**16
"""Bytes of the first request; most heads are smaller."""
NOT_WRITTEN = "its content has changed since it was written"


class Shard:
    """One shard of a store.

    Reading bytes that are not what was written raises ArtifactError, or DamagedError for a file of this
    machine.

    Attributes:
        about: What it contains.
        offsets: int64, rows of each of its conversations, from 0.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._head, start = _open(source)
        self.about: About = self._head.about
        index = {
            name: start[tensor.begin : tensor.end].view(NAMED[tensor.dtype]).reshape(tensor.shape)
            for name, tensor in self._head.tensors.items()
            if tensor.end <= self._head.tensors[ROOT].begin
        }
        self.offsets: NDArray[np.int64] = index[OFFSETS]
        columns = self.about.columns
        self._columns = {column.name: (place, column) for place, column in enumerate(columns)}
        self._checksums = index[CHECKSUMS].tolist()
        self._ends = {
            column.name: index[column.name + ENDS] for column in columns if column.name + ENDS in index
        }
        self._seen = np.zeros((len(columns), self.about.blocks), bool)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(self._columns)

    @property
    def k(self) -> int:
        """K, slots of a row."""
        return self._columns["ids"][1].width

    @property
    def without(self) -> int:
        """How many rows have no distribution."""
        if "present" not in self._columns:
            return 0
        return self.about.count - int(np.count_nonzero(self.column("present", 0, self.about.count)))

    def column(self, name: str, low: int, high: int) -> NDArray[np.generic]:
        """The rows low..high-1 of a column, as stored; a view of the file unless it is compressed."""
        place, column = self._columns[name]
        size = self.about.block_rows
        first, last = low // size, -(-high // size)
        if self._ends:
            parts = [self._unpacked(place, column, block) for block in range(first, last)]
            empty = np.zeros(column.shape(0), NAMED[column.dtype])
            values = parts[0] if len(parts) == 1 else np.concatenate([empty, *parts])
        else:
            values = self._plain(place, column, first, last)
        return values[low - first * size : high - first * size]

    def topk(self, low: int, high: int) -> TopK:
        """The distributions of the rows low..high-1; ids have the width that they are stored in."""
        coded = self.about.encoding.logprobs == "uint8"
        ids, logprobs, tail = (self.column(name, low, high) for name in ("ids", LOGPROBS, "tail"))
        return TopK(
            ids=ids,  # type: ignore[arg-type]
            logprobs=decode(logprobs) if coded else logprobs,  # type: ignore[arg-type]
            tail=decode(tail) if coded else tail,  # type: ignore[arg-type]
            present=self.column("present", low, high)
            if "present" in self._columns
            else np.ones(high - low, bool),  # type: ignore[arg-type]
        )

    def _plain(self, place: int, column: Column, first: int, last: int) -> NDArray[np.generic]:
        """The values of blocks that are not compressed, in one piece of the file."""
        step, begin = column.row_bytes * self.about.block_rows, self._head.tensors[column.name].begin
        end = min(begin + last * step, self._head.tensors[column.name].end)
        data = self.source.read(begin + first * step, end)
        for block in range(first, last):
            self._check(place, block, data[(block - first) * step : (block - first + 1) * step])
        return data.view(NAMED[column.dtype]).reshape(column.shape(-1))

    def _unpacked(self, place: int, column: Column, block: int) -> NDArray[np.generic]:
        """The values of a compressed block."""
        ends, begin = self._ends[column.name], self._head.tensors[column.name].begin
        low = int(ends[block - 1]) if block else 0
        frame = self.source.read(begin + low, begin + int(ends[block]))
        self._check(place, block, frame)
        rows = min(self.about.block_rows, self.about.count - block * self.about.block_rows)
        return unpack(frame, column.shape(rows), NAMED[column.dtype], falls=column.falls)

    def _check(self, place: int, block: int, data: Bytes) -> None:
        """Compare a block with its checksum, unless this process has done so."""
        if self._seen[place, block]:
            return
        if checksum(data) != self._checksums[place][block]:
            raise self.source.damaged(NOT_WRITTEN)
        self._seen[place, block] = self.source.stays


def read_shard(path: Path) -> Shard:
    """A single shard of a folder; raises DamagedError if its head is not what was written."""
    return Shard(LocalFile(path))


def _open(source: Source) -> tuple[Head, Bytes]:
    """A file's head, and its bytes up to ``root``, checked against it."""
    size = source.size

    def refuse(why: str = NOT_WRITTEN) -> NoReturn:
        raise source.damaged(why)

    start = source.read(0, min(size, START))
    end = header_end(start[:8].tobytes())
    if end > size:
        refuse()
    if end > len(start):
        start = source.read(0, end)
    try:
        head = read_header(start[:end].tobytes())
        root = head.tensors[ROOT]
    except (ValueError, KeyError, TypeError, ArithmeticError, AttributeError, RecursionError):
        refuse()
    if head.size != size:
        refuse(f"it has {size} bytes and not {head.size}")
    if root.end > len(start):
        start = source.read(0, root.end)
    if checksum(start[: root.begin]) != int.from_bytes(start[root.begin : root.end].tobytes(), "little"):
        refuse()
    return head, start
