"""The work on one tensor, chunk by chunk: measure, decide, combine, round. Chunks may run at the same time.

The division into chunks and blocks depends on the tensor's shape alone, and sums are added in the order of chunks,
so the result does not depend on the number of threads.
"""

# N inputs (pivot first), J targets, A auxiliary inputs, B elements of a block

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.plan import Dtype, Job
from fusionchat.merge.inputs.stored import Stored
from fusionchat.merge.kernels.bf16 import store
from fusionchat.merge.kernels.gram import measure, subtract
from fusionchat.merge.kernels.mix import mix, mix_bf16
from fusionchat.merge.kernels.straight import measure_files, mix_files
from fusionchat.merge.methods.base import Block, Gram, Method, Mixture, MixtureMethod, TensorInfo
from fusionchat.merge.stream.cut import BLOCK, Cut, cut_of
from fusionchat.merge.stream.memory import SCRATCH, Spare
from fusionchat.merge.stream.result import TensorReport

_STORED_AS: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(np.uint16),
    "float16": np.dtype(np.float16),
}


def _addresses(job: Job) -> np.ndarray | None:
    """Where the inputs' values are in memory, if all of them are mapped as bfloat16."""
    sources = [source for source in job.sources if isinstance(source, Stored) and source.dtype == "BF16"]
    if len(sources) < len(job.sources):
        return None
    return np.array([source.values.ctypes.data for source in sources], np.uint64)


@dataclass
class Tally:
    """What was counted while a tensor was read: sums over chunks."""

    gram_NN: np.ndarray
    kept_J: np.ndarray
    sums: np.ndarray
    conflicts: int = 0

    @classmethod
    def blank(cls, targets: int) -> "Tally":
        """All zero."""
        return cls(np.zeros((targets + 1, targets + 1)), np.zeros(targets, np.int64), np.zeros(3))

    def add(self, other: "Tally") -> None:
        """Add the counts of one more chunk."""
        self.gram_NN += other.gram_NN
        self.kept_J += other.kept_J
        self.sums += other.sums
        self.conflicts += other.conflicts


ChunkMap = Callable[[Callable[[int], object], int], Iterator[object]]
"""Runs a function on the chunks 0 .. n-1, perhaps at the same time, and yields the results in order."""


class TensorWork:
    """Merging one tensor.

    Args:
        job: The tensor.
        method: The method's settings.
        dtype: What the result is stored as.
        gram: Inner products of the tensor where they are known already.
        mixture: Weights where they are decided already (by the group the tensor is in).
        release: Whether to drop pages that were read.
        spare: Where the arrays of merged values come from; whoever has written one may give it back.
    """

    def __init__(
        self,
        job: Job,
        method: Method,
        dtype: Dtype,
        *,
        gram: Gram | None = None,
        mixture: Mixture | None = None,
        release: bool = False,
        spare: Spare | None = None,
    ) -> None:
        targets = len(job.sources) - 1
        row = job.shape[-1] if job.shape else 1
        self.job, self.method, self.dtype, self.gram, self.mixture = job, method, dtype, gram, mixture
        self.targets, self.release = targets, release
        self.spare = spare or Spare()
        chunks = cut_of(job.count, row, False).chunks
        self.program = method.program(TensorInfo(job.name, job.shape, targets, chunks))
        self.cut = cut_of(job.count, row, self.program is not None and self.program.by_rows)
        self.total = Tally.blank(targets)
        self.with_pivot = isinstance(method, MixtureMethod) and method.statistics == "all"
        self.address_N = _addresses(job) if self.program is None else None

    def prepare(self, chunk_map: ChunkMap) -> None:
        """Look at the tensor as often as the method needs to decide."""
        if self.program is not None:
            stage = 0
            while stage < self.program.stages:  # a program may find that it needs no further look
                self._stage(stage, chunk_map)
                stage += 1
        elif self.mixture is None:
            assert isinstance(self.method, MixtureMethod)
            if self.gram is None and self.method.statistics != "none":
                self.measure(chunk_map)
            gram = self.gram or Gram(np.zeros((self.targets + 1, self.targets + 1)), self.job.count)
            self.mixture = self.method.mixture(gram)

    def measure(self, chunk_map: ChunkMap) -> Gram:
        """The inner products of the tensor, and the count of conflicts."""
        total = Tally.blank(self.targets)
        for tally in chunk_map(self._measure_chunk, self.cut.chunks):
            assert isinstance(tally, Tally)
            total.add(tally)
        return self._know(total)

    def _know(self, total: Tally) -> Gram:
        full = total.gram_NN + np.tril(total.gram_NN, -1).T
        if not np.isfinite(full).all():
            self._refuse()
        self.gram = Gram(full, self.job.count, total.conflicts)
        return self.gram

    def _stage(self, stage: int, chunk_map: ChunkMap) -> None:
        assert self.program is not None
        measure, total = self.gram is None, Tally.blank(self.targets)
        totals: np.ndarray | None = None
        for result in chunk_map(lambda chunk: self._observe_chunk(stage, chunk, measure), self.cut.chunks):
            assert isinstance(result, tuple)
            counts, tally = result
            totals = (
                counts
                if totals is None
                else np.add(totals, counts, dtype=np.promote_types(counts.dtype, np.int64))
            )
            total.add(tally)
        if measure:
            self._know(total)
        assert totals is not None
        self.program.settle(stage, totals)

    def _measure_chunk(self, chunk: int) -> Tally:
        tally = Tally.blank(self.targets)
        if self.address_N is not None:
            self._read_ahead(chunk)
            begin, end = self.cut.span(chunk)
            tally.conflicts += measure_files(self.address_N, begin, end, self.with_pivot, tally.gram_NN)
            return tally
        for block in self._blocks(chunk):
            self._measure_block(block, tally)
        return tally

    def _observe_chunk(self, stage: int, chunk: int, measure: bool) -> tuple[np.ndarray, Tally]:
        assert self.program is not None
        counts, tally = self.program.blank(stage), Tally.blank(self.targets)
        for block in self._blocks(chunk):
            if measure:
                self._measure_block(block, tally)
            else:
                subtract(block.x_NB, block.delta_JB)
            self.program.observe(stage, block, counts)
        return counts, tally

    def _measure_block(self, block: Block, tally: Tally) -> None:
        """Work out the changes, and add their inner products and conflicts."""
        tally.conflicts += measure(block.x_NB, block.delta_JB, self.with_pivot, tally.gram_NN)

    def combine(self, chunk_map: ChunkMap) -> Iterator[np.ndarray]:
        """The merged values as they are stored, chunk by chunk; call after `prepare`."""
        for made in chunk_map(self.combine_chunk, self.cut.chunks):
            assert isinstance(made, tuple)
            yield self.collect(*made)
        self.close()

    def collect(self, raw: np.ndarray, tally: Tally) -> np.ndarray:
        """Count what `combine_chunk` made, chunk by chunk in order, and pass the values on."""
        self.total.add(tally)
        return raw

    def close(self) -> None:
        """Look at the counts of all chunks; raises MergeError where something is not finite."""
        if self.gram is None:
            self._know(self.total)
        if self.total.sums[2] or not np.isfinite(self.total.sums).all():
            self._refuse()
        if self.release:
            for source in (*self.job.sources, *self.job.auxiliary):
                source.release()

    @property
    def is_decided(self) -> bool:
        """Whether `prepare` need not look at the tensor."""
        if self.program is not None:
            return self.program.stages == 0
        assert isinstance(self.method, MixtureMethod)
        return self.mixture is not None or self.gram is not None or self.method.statistics == "none"

    def combine_chunk(self, chunk: int) -> tuple[np.ndarray, Tally]:
        """The merged values of one chunk as they are stored, and what was counted; call after `prepare`."""
        begin, end = self.cut.span(chunk)
        raw = self.spare.take(end - begin, _STORED_AS[self.dtype])
        tally, measure = Tally.blank(self.targets), self.gram is None
        if self.address_N is not None and self.dtype == "bfloat16":
            self._read_ahead(chunk)
            more = (raw, tally.sums, not measure, self.with_pivot, tally.gram_NN)
            tally.conflicts += mix_files(self.address_N, begin, *self._how(), *more)
            return raw, tally
        state = self.program.start(chunk) if self.program else np.zeros(0, np.int64)
        for block in self._blocks(chunk):
            if measure:
                self._measure_block(block, tally)
            elif self.program:
                subtract(block.x_NB, block.delta_JB)
            part = raw[block.at - begin :][: block.x_NB.shape[1]]
            self._combine_block(block, state, part, tally)
        return raw, tally

    def _combine_block(self, block: Block, state: np.ndarray, raw: np.ndarray, tally: Tally) -> None:
        if self.program is None and self.dtype == "bfloat16":
            mix_bf16(block.x_NB, *self._how(), raw, tally.sums)
            return
        value = SCRATCH.get("value", 1, len(raw), np.float64)[0]
        if self.program is None:
            mix(block.x_NB, *self._how(), value)
        else:
            with np.errstate(invalid="ignore", over="ignore"):
                self.program.combine(block, state, tally.kept_J, value)
        store(value, block.x_NB[0], raw, tally.sums)

    def _how(self) -> tuple[np.ndarray, bool, float, float, float]:
        """The mixture as kernels take it."""
        mixture = self.mixture
        assert mixture is not None
        return (mixture.weight_J, mixture.of == "changes", mixture.pivot, *mixture.factors())

    def _read_ahead(self, chunk: int) -> None:
        for source in (*self.job.sources, *self.job.auxiliary):
            source.read_ahead(chunk * self.cut.chunk)

    def _blocks(self, chunk: int) -> Iterator[Block]:
        sources, auxiliary = self.job.sources, self.job.auxiliary
        self._read_ahead(chunk)
        size = -1
        for begin, end in self.cut.blocks(chunk):
            if end - begin != size:
                size = end - begin
                x = SCRATCH.get("x", len(sources), size, np.float32)
                aux = SCRATCH.get("aux", len(auxiliary), size, np.float32)
                delta = SCRATCH.get("delta", self.targets, size, np.float32)
            for source, row in zip((*sources, *auxiliary), (*x, *aux), strict=True):
                source.decode(begin, row)
            yield Block(x, delta, aux, begin, chunk)

    def _refuse(self) -> None:
        """Say which input is not finite; where all are, the values are too large to merge or to store."""
        for source in (*self.job.sources, *self.job.auxiliary):
            for begin, end in Cut(self.cut.size, self.cut.size, BLOCK).blocks(0):
                out = np.empty(end - begin, np.float32)
                source.decode(begin, out)
                if not np.isfinite(out).all():
                    at = begin + int(np.argmin(np.isfinite(out)))
                    raise MergeError(
                        f"Tensor {self.job.name} has a value that is not finite ({out[at - begin]}) at element {at}",
                        where=source.origin,
                        do="repair or retrain this model; nothing was written",
                    )
        raise MergeError(
            f"The values of tensor {self.job.name} are too large to be merged or stored as {self.dtype}",
            where=self.job.sources[0].origin,
            do="store the fused model as bfloat16 or float32",
        )

    def report(self) -> TensorReport:
        """What is to be said about the tensor; call after `combine`."""
        assert self.gram is not None
        report = TensorReport.of(
            self.job.name,
            self.job.shape,
            self.gram,
            mixture=self.mixture,
            sums=self.total.sums,
            kept_J=self.total.kept_J if self.program else None,
            ties=self.program.ties() if self.program else [],
        )
        part = self.job.part
        return report if part is None else report.spread(part.places, part.targets)
