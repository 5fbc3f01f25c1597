"""What the work on a tensor has in common for all methods.

These are its blocks, its inner products, its report, and the check for non-finite values.
"""

# N inputs (pivot first), J targets, A auxiliary inputs, B elements of a block

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fusionchat.artifacts import Json
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.plan import Dtype, TensorJob
from fusionchat.merge.kernels.gram import measure
from fusionchat.merge.methods.base import Gram, Mixture
from fusionchat.merge.methods.steps import Block
from fusionchat.merge.stream.cut import BLOCK, Cut
from fusionchat.merge.stream.memory import SCRATCH, Spare
from fusionchat.merge.stream.result import TensorReport
from fusionchat.merge.stream.tally import Made, Tally

_LARGE = 2.0**58
"""Above this, the squares of a span's changes might exceed float32."""

ChunkMap = Callable[[Callable[[int], Any], int], Iterator[Any]]
"""Runs a function on the chunks 0 .. n-1, perhaps in parallel, and yields the results in order."""


@dataclass(frozen=True)
class Known:
    """What is known before the work on a tensor begins.

    Attributes:
        gram: Inner products of the tensor.
        mixture: Weights of the tensor's group.
        release: Whether to drop pages that were read.
        spare: The source of the arrays of merged values, to which they return once written.
    """

    gram: Gram | None = None
    mixture: Mixture | None = None
    release: bool = False
    spare: Spare = field(default_factory=Spare)


class TensorWork:
    """What both kinds of work share.

    Args:
        job: The tensor.
        dtype: The dtype of the stored result.
        cut: How it is divided.
        known: What is already known of it.
    """

    with_pivot = False
    """Whether inner products with the pivot are needed."""

    def __init__(self, job: TensorJob, dtype: Dtype, cut: Cut, known: Known) -> None:
        self.job, self.dtype, self.cut, self.gram = job, dtype, cut, known.gram
        self.targets, self.release, self.spare = len(job.sources) - 1, known.release, known.spare
        self.total = Tally.blank(self.targets)

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return self.cut.chunks

    @property
    def is_decided(self) -> bool:
        """Whether `decide` does not need to look at the tensor."""
        raise NotImplementedError

    def decide(self, chunk_map: ChunkMap) -> None:
        """Look at the tensor as often as the method needs to decide."""
        raise NotImplementedError

    def make(self, chunk: int) -> Made:
        """The merged values of one chunk as they are stored, and its tally; call after `decide`."""
        raise NotImplementedError

    def report(self) -> TensorReport:
        """The report of the tensor; call after `finish`."""
        raise NotImplementedError

    def measure(self, chunk_map: ChunkMap) -> Gram:
        """The inner products of the tensor, and the count of conflicts."""
        total = Tally.blank(self.targets)
        for tally in chunk_map(self._measure_chunk, self.chunks):
            total.add(tally)
        return self._know(total)

    def take(self, made: Made) -> np.ndarray:
        """Add the tally of `make`, chunk by chunk in order; returns the values."""
        self.total.add(made.tally)
        return made.values_B

    def finish(self) -> dict[str, Json]:
        """The report of the tensor, after all its chunks; raises MergeError if a value is not finite."""
        if self.gram is None:
            self._know(self.total)
        if self.total.sums[2] or not np.isfinite(self.total.sums).all():
            self._refuse()
        if self.release:
            for source in (*self.job.sources, *self.job.auxiliary):
                source.release()
        report = self.report()
        part = self.job.part
        return (report if part is None else report.spread(part.places, part.targets)).to_json()

    def _measure_chunk(self, chunk: int) -> Tally:
        tally = Tally.blank(self.targets)
        for block in self._blocks(chunk):
            self._measure_block(block, tally)
        return tally

    def _measure_block(self, block: Block, tally: Tally) -> None:
        """Compute the changes, and add their inner products and conflicts."""
        tally.conflicts += measure(block.x_NB, block.delta_JB, self.with_pivot, tally.gram_NN)

    def _know(self, total: Tally) -> Gram:
        full = total.gram_NN + np.tril(total.gram_NN, -1).T
        if not np.isfinite(full).all():
            self._refuse()
        self.gram = Gram(full, self.job.count, total.conflicts)
        return self.gram

    def _read_ahead(self, chunk: int) -> None:
        for source in (*self.job.sources, *self.job.auxiliary):
            source.read_ahead(chunk * self.cut.chunk)

    def _blocks(self, chunk: int) -> Iterator[Block]:
        """The blocks of a chunk, decoded; their changes are not computed yet."""
        sources, auxiliary = self.job.sources, self.job.auxiliary
        self._read_ahead(chunk)
        size = -1
        for begin, end in self.cut.blocks(chunk):
            if end - begin != size:
                size = end - begin
                x_NB = SCRATCH.get("x", len(sources), size, np.float32)
                aux_AB = SCRATCH.get("aux", len(auxiliary), size, np.float32)
                delta_JB = SCRATCH.get("delta", self.targets, size, np.float32)
            for source, row in zip((*sources, *auxiliary), (*x_NB, *aux_AB), strict=True):
                source.decode(begin, row)
            yield Block(x_NB, delta_JB, aux_AB, begin, chunk)

    def _report(
        self, mixture: Mixture | None, kept_J: np.ndarray | None, ties: tuple[int, ...]
    ) -> TensorReport:
        assert self.gram is not None
        return TensorReport.of(
            self.job.name,
            self.job.shape,
            self.gram,
            mixture=mixture,
            sums=self.total.sums,
            kept_J=kept_J,
            ties=list(ties),
        )

    def _refuse(self) -> None:
        """Raise MergeError that names the input, or else the result, that is not finite or too large.

        Too large means that its square exceeds float32.
        """
        for source in (*self.job.sources, *self.job.auxiliary):
            for begin, end in Cut(self.cut.size, self.cut.size, BLOCK).blocks(0):
                out = np.empty(end - begin, np.float32)
                source.decode(begin, out)
                fits = np.abs(out) < _LARGE
                if not fits.all():
                    at = begin + int(np.argmin(fits))
                    value = out[at - begin]
                    wrong = f"{value:.3g} at element {at}, which is too large to be squared"
                    raise MergeError(
                        f"Tensor {self.job.name} has a value "
                        + (wrong if np.isfinite(value) else f"that is not finite ({value}) at element {at}"),
                        where=source.origin,
                        do="repair or retrain this model; nothing was written",
                    )
        raise MergeError(
            f"The merged values of tensor {self.job.name} are too large to be stored as {self.dtype}",
            where=self.job.sources[0].origin,
            do="store the fused model as bfloat16 or float32"
            if self.dtype == "float16"
            else "lower the method's weights or its scale",
        )
