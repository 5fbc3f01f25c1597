# T tokens of a conversation, N of them supervised, K kept tokens
"""The exported conversations with their tokens and distributions, and their Parquet files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fusionchat.artifacts import atomic_path
from fusionchat.represent.topk import TopK

GROUP = 64
"""Conversations of a Parquet row group, which a reader holds in memory at once."""


class Example(NamedTuple):
    """A conversation as it is exported.

    Attributes:
        id: The conversation's id.
        domain: The conversation's domain; "" if it has none.
        input_ids: int32 [T], the rendered conversation.
        rows: int32 [N], the places of the supervised tokens among them.
        topk: The distributions for these tokens.
    """

    id: str
    domain: str
    input_ids: NDArray[np.int32]
    rows: NDArray[np.int32]
    topk: TopK


@dataclass(frozen=True)
class About:
    """What all exported conversations have in common.

    Attributes:
        job: The job whose distributions these are.
        fingerprint: That job's fingerprint.
        model: The model whose vocabulary they are over: the pivot, or the captured model. A folder or a hub
            id.
        vocabulary: Tokens of its tokenizer.
        k: Most tokens of a distribution.
        longest: Tokens of the longest conversation.
        pad: The id that fills a sequence.
        end: The id that ends a text.
    """

    job: str
    fingerprint: str
    model: str
    vocabulary: int
    k: int
    longest: int
    pad: int
    end: int


class Format(Protocol):
    """A format: how an example becomes a record, and which other files are written."""

    def schema(self, about: About) -> pa.Schema:
        """The columns of the Parquet files."""
        ...

    def record(self, example: Example, about: About) -> dict[str, Any]:
        """An example as values of these columns."""
        ...

    def notes(self, about: About) -> dict[str, str]:
        """Further files by name, which say how the other trainer reads the data."""
        ...


def part_path(folder: Path, index: int, count: int) -> Path:
    """The file of a part, named so that the hub's data set viewer finds it."""
    return folder / "data" / f"train-{index:05d}-of-{count:05d}.parquet"


def write_part(path: Path, examples: Iterable[Example], form: Format, about: About) -> int:
    """Write examples to one Parquet file; returns how many."""
    schema, written = form.schema(about), 0
    with atomic_path(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for group in groups(examples):
            records = [form.record(example, about) for example in group]
            writer.write_table(pa.Table.from_pylist(records, schema=schema))
            written += len(records)
    return written


def groups(examples: Iterable[Example]) -> Iterator[Sequence[Example]]:
    """Examples, `GROUP` at a time."""
    held: list[Example] = []
    for example in examples:
        held.append(example)
        if len(held) == GROUP:
            yield held
            held = []
    if held:
        yield held
