"""How a tensor is divided: into chunks for threads, and these into blocks for kernels.

The division depends only on the tensor's shape, so the result does not depend on the number of threads.
"""

from collections.abc import Iterator
from dataclasses import dataclass

CHUNK = 2**20
"""The most elements of a chunk (whole rows may make it larger)."""
BLOCK = 2**17
"""Elements of a block.

A quarter would fit in the second-level cache, but calls would then cost more than the cache saves.
"""


@dataclass(frozen=True)
class Cut:
    """How a tensor is divided: ``size`` elements into chunks of ``chunk`` and blocks of ``block``."""

    size: int
    chunk: int
    block: int

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.size // self.chunk)

    def span(self, chunk: int) -> tuple[int, int]:
        """First and past-the-last element of a chunk."""
        return chunk * self.chunk, min(self.size, (chunk + 1) * self.chunk)

    def blocks(self, chunk: int) -> Iterator[tuple[int, int]]:
        """First and past-the-last element of every block of a chunk."""
        first, end = self.span(chunk)
        for begin in range(first, end, self.block):
            yield begin, min(end, begin + self.block)


def cut_of(size: int, row: int, by_rows: bool) -> Cut:
    """The division of a tensor; ``by_rows`` keeps every row inside one block."""
    if not by_rows:
        return Cut(size, CHUNK, BLOCK)
    block = max(1, BLOCK // row) * row
    return Cut(size, max(1, CHUNK // block) * block, block)
