# N rows of a shard, K kept tokens, C conversations of the whole store, B blocks
"""Writing a store shard by shard.

Each file appears whole or not at all: it is written under a temporary name, flushed and renamed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fusionchat.artifacts import atomic_path
from fusionchat.errors import ArtifactError
from fusionchat.represent.store.blocks import block_rows, blocks_of, checksum, pack
from fusionchat.represent.store.codes import encode
from fusionchat.represent.store.cut import cut
from fusionchat.represent.store.layout import (
    CHECKSUMS,
    DTYPES,
    ENDS,
    LABEL_LOGPROB,
    LOGPROBS,
    OFFSETS,
    ROOT,
    SHARDS,
    About,
    Column,
    Encoding,
    Tensor,
    make_header,
    shard_path,
)
from fusionchat.represent.store.shard import read_shard
from fusionchat.represent.topk import Scored, TopK

EMPTY_BITS = np.float16(-np.inf).view(np.uint16)
Columns = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class StoreWriter:
    """Writes the shards of a store, in any order; several processes may.

    Attributes:
        folder: The folder of the store.
        offsets: int64 [C + 1], rows of conversation c are offsets[c]:offsets[c + 1].
        ranges: The conversations of each shard: all of them, in order.
        encoding: How distributions are stored.
        made_by: The fingerprint of the job that writes them.
    """

    folder: Path
    offsets: NDArray[np.int64]
    ranges: Sequence[range]
    encoding: Encoding
    made_by: str = ""

    def path(self, index: int) -> Path:
        """The file of a shard."""
        return shard_path(self.folder, index)

    def missing(self) -> list[int]:
        """The shards that do not exist yet."""
        return [index for index in range(len(self.ranges)) if not self.has(index)]

    def has(self, index: int) -> bool:
        """Whether a shard exists."""
        return self.path(index).is_file()

    def keep_own(self) -> list[int]:
        """Remove shards that are foreign, misnamed or damaged in the head; returns the missing ones.

        Raises:
            ArtifactError: A folder has the name of a shard.
        """
        for path in self.folder.glob(SHARDS):
            if path.is_dir():  # not ours to delete
                raise ArtifactError(
                    "A folder has the name of a shard", where=str(path), do="move it and run again"
                )
            try:
                about = read_shard(path).about
                index, count = about.shard
                own = (about.made_by, count, self.path(index)) == (self.made_by, len(self.ranges), path)
            except ArtifactError:
                own = False
            if not own:
                path.unlink(missing_ok=True)
        return self.missing()

    def write(self, index: int, topk: TopK, columns: Columns | None = None) -> None:
        """Write a shard; ``columns`` are further arrays with one entry per row.

        Raises:
            MachineError: The disk is full, or the folder cannot be written.
        """
        held = {**encoded(topk, self.encoding), **(columns or {})}
        # Wide values first, so that each is aligned to its size.
        held = dict(sorted(held.items(), key=lambda one: (-one[1].itemsize, one[0])))
        about = self._about(index, held)
        assert topk.rows == about.count, "one distribution a supervised token"
        buffers = _buffers(about, held, self._own_offsets(index))
        with atomic_path(self.path(index)) as partial, partial.open("wb") as file:
            file.writelines(buffers)

    def write_scored(self, index: int, scored: Scored, columns: Columns | None = None) -> None:
        """Write a shard with the labels' log-probabilities; the tokens are not repeated."""
        self.write(index, scored.topk, {LABEL_LOGPROB: scored.label_logprob, **(columns or {})})

    def _own_offsets(self, index: int) -> NDArray[np.int64]:
        members = self.ranges[index]
        return self.offsets[members.start : members.stop + 1] - self.offsets[members.start]

    def _about(self, index: int, held: Columns) -> About:
        members = self.ranges[index]
        columns = tuple(
            Column(name, DTYPES[values.dtype], *values.shape[1:]) for name, values in held.items()
        )
        return About(
            made_by=self.made_by,
            shard=(index, len(self.ranges)),
            conversations=(members.start, members.stop, len(self.offsets) - 1),
            rows=(
                int(self.offsets[members.start]),
                int(self.offsets[members.stop]),
                int(self.offsets[-1]),
            ),
            block_rows=block_rows([column.row_bytes for column in columns]),
            encoding=self.encoding,
            columns=columns,
        )


def write_store(folder: Path, scored: Scored, *, rows: int, encoding: Encoding) -> None:
    """Write all conversations as a store of shards with at most ``rows`` rows each."""
    offsets = scored.tokens.offsets
    writer = StoreWriter(folder, offsets, cut(offsets, rows), encoding)
    for index, members in enumerate(writer.ranges):
        writer.write_scored(index, scored.slice(members.start, members.stop))


def encoded(topk: TopK, encoding: Encoding) -> dict[str, NDArray[np.generic]]:
    """Distributions as columns; ``present`` is omitted where all rows are, and an empty slot's id is 0."""
    logprobs, tail = topk.logprobs, topk.tail
    empty = np.ascontiguousarray(logprobs).view(np.uint16) == EMPTY_BITS
    ids = np.where(empty, 0, topk.ids)  # an empty slot's id means nothing
    assert ids.min(initial=0) >= 0 and ids.max(initial=0) < encoding.vocabulary, "ids are of the vocabulary"
    columns: dict[str, NDArray[np.generic]] = {
        "ids": ids.astype(encoding.ids),
        LOGPROBS: encode(logprobs) if encoding.logprobs == "uint8" else logprobs,
        "tail": encode(tail) if encoding.logprobs == "uint8" else tail,
    }
    return columns if topk.present.all() else columns | {"present": topk.present}


def _buffers(about: About, held: Columns, offsets: NDArray[np.int64]) -> list[bytes | memoryview]:
    """The pieces of a file's bytes, in order."""
    compression, rows = about.encoding.compression, list(blocks_of(about.count, about.block_rows))
    packed = {
        column.name: [pack(held[column.name][part], compression, falls=column.falls) for part in rows]
        for column in about.columns
    }
    checksums = np.array([[checksum(block) for block in blocks] for blocks in packed.values()], np.uint64)
    index: dict[str, NDArray[np.generic]] = {OFFSETS: offsets}
    if compression != "none":
        sizes = {name: [len(block) for block in blocks] for name, blocks in packed.items()}
        index |= {name + ENDS: np.cumsum(own, dtype=np.int64) for name, own in sizes.items()}
    index |= {CHECKSUMS: checksums.reshape(len(held), about.blocks)}
    tensors = [(Tensor(name, DTYPES[part.dtype], part.shape), part.nbytes) for name, part in index.items()]
    tensors.append((Tensor(ROOT, "U64", (1,)), 8))
    for name, values in held.items():
        size = sum(len(block) for block in packed[name])
        plain = compression == "none"
        shape = values.shape if plain else (size,)
        tensors.append((Tensor(name, DTYPES[values.dtype] if plain else "U8", shape), size))
    head = b"".join([make_header(about, tensors), *(part.tobytes() for part in index.values())])
    root = checksum(np.frombuffer(head, np.uint8)).to_bytes(8, "little")
    return [head, root, *(block.data for blocks in packed.values() for block in blocks)]
