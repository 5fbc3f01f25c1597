"""The work on one tensor, chunk by chunk: look, decide, combine, round.

Chunks may run in parallel. Sums are added in the order of chunks, so the result does not depend on the number
of threads.
"""

# N inputs (pivot first), J targets, A auxiliary inputs, B elements of a block

from collections.abc import Iterator
from typing import Any

import numpy as np

from fusionchat.merge.inputs.adapters.products import products_of_factors
from fusionchat.merge.inputs.plan import Dtype, TensorJob
from fusionchat.merge.inputs.stored import Stored
from fusionchat.merge.kernels.bf16 import store
from fusionchat.merge.kernels.gram import subtract
from fusionchat.merge.kernels.mix import Factors, mix, mix_bf16
from fusionchat.merge.kernels.straight import Account, measure_files, mix_files
from fusionchat.merge.methods.base import Gram, Method, MixtureMethod
from fusionchat.merge.methods.steps import Block, Combine, Count, Steps, TensorInfo
from fusionchat.merge.stream.cut import Cut, cut_of
from fusionchat.merge.stream.memory import SCRATCH
from fusionchat.merge.stream.result import TensorReport
from fusionchat.merge.stream.tally import Made, Tally
from fusionchat.merge.stream.tensor import ChunkMap, Known, TensorWork

_STORED_AS: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(np.uint16),
    "float16": np.dtype(np.float16),
}


def work_on(
    job: TensorJob, method: Method, dtype: Dtype, known: Known | None = None
) -> "MixtureWork | BlockWork":
    """The work of a method on a tensor."""
    row, targets = job.shape[-1] if job.shape else 1, len(job.sources) - 1
    cut = cut_of(job.count, row, method.by_rows)
    steps = method.steps(TensorInfo(job.name, job.shape, targets, cut.chunks))
    known = known or Known()
    if steps is not None:
        return BlockWork(job, dtype, cut, known, steps)
    assert isinstance(method, MixtureMethod)
    return MixtureWork(job, dtype, cut, known, method)


class MixtureWork(TensorWork):
    """One weight per target: at most one look for inner products, then the mixture.

    If all inputs are bfloat16 files, they go directly to a bfloat16 result.
    """

    def __init__(self, job: TensorJob, dtype: Dtype, cut: Cut, known: Known, method: MixtureMethod) -> None:
        super().__init__(job, dtype, cut, known)
        self.method, self.mixture = method, known.mixture
        self.with_pivot = method.statistics == "all"
        self.address_N = _addresses(job)

    @property
    def is_decided(self) -> bool:
        """Whether the weights, or everything that they depend on, are known."""
        return self.mixture is not None or self.gram is not None or self.method.statistics == "none"

    def decide(self, chunk_map: ChunkMap) -> None:
        """Measure the inner products if the method needs them, and compute the weights."""
        if self.mixture is not None:
            return
        products = None if self.is_decided else self.products()
        if products is None and not self.is_decided:
            self.measure(chunk_map)
        blank = Gram(np.zeros((self.targets + 1, self.targets + 1)), self.job.count)
        self.mixture = self.method.mixture(products or self.gram or blank)

    def products(self) -> Gram | None:
        """Inner products of changes that are factors, without a look at the tensor, which mixing makes."""
        return products_of_factors(self.job) if self.method.statistics == "changes" else None

    def make(self, chunk: int) -> Made:
        """Mix one chunk, and measure it in the same pass if nothing was measured before."""
        assert self.mixture is not None
        mixture, measured, (begin, end) = self.mixture, self.gram is not None, self.cut.span(chunk)
        factors = Factors(mixture.weight_J, mixture.of == "changes", mixture.pivot, *mixture.factors())
        values_B, tally = self.spare.take(end - begin, _STORED_AS[self.dtype]), Tally.blank(self.targets)
        if self.address_N is not None and self.dtype == "bfloat16":
            self._read_ahead(chunk)
            account = Account(tally.sums, measured, self.with_pivot, tally.gram_NN)
            tally.conflicts += mix_files(self.address_N, begin, factors, values_B, account)
            return Made(values_B, tally)
        for block in self._blocks(chunk):
            if not measured:
                self._measure_block(block, tally)
            part_B = values_B[block.at - begin :][: block.x_NB.shape[1]]
            if self.dtype == "bfloat16":
                mix_bf16(block.x_NB, factors, part_B, tally.sums)
            else:
                wide_B = SCRATCH.get("value", 1, part_B.size, np.float64)[0]
                mix(block.x_NB, factors, wide_B)
                store(wide_B, block.x_NB[0], part_B, tally.sums)
        return Made(values_B, tally)

    def report(self) -> TensorReport:
        """Weights and figures of the tensor."""
        return self._report(self.mixture, None, ())

    def _measure_chunk(self, chunk: int) -> Tally:
        if self.address_N is None:
            return super()._measure_chunk(chunk)
        tally = Tally.blank(self.targets)
        self._read_ahead(chunk)
        tally.conflicts += measure_files(
            self.address_N, *self.cut.span(chunk), self.with_pivot, tally.gram_NN
        )
        return tally


class BlockWork(TensorWork):
    """The work of a method that decides element by element: its looks, then the pass that combines."""

    def __init__(self, job: TensorJob, dtype: Dtype, cut: Cut, known: Known, steps: Steps) -> None:
        super().__init__(job, dtype, cut, known)
        self.steps, self.step = steps, next(steps)

    @property
    def is_decided(self) -> bool:
        """Whether the next step is the last."""
        return isinstance(self.step, Combine)

    def decide(self, chunk_map: ChunkMap) -> None:
        """Make the looks that the steps ask for, one after the other."""
        while isinstance(self.step, Count):
            self.step = self.steps.send(self._look(self.step, chunk_map))

    def _look(self, step: Count, chunk_map: ChunkMap) -> np.ndarray:
        """The counts of the whole tensor; the first look also measures the inner products."""
        measures, total = self.gram is None, Tally.blank(self.targets)

        def see(chunk: int) -> tuple[np.ndarray, Tally]:
            counts, tally, state = (
                np.zeros(step.shape, step.dtype),
                Tally.blank(self.targets),
                step.start(chunk),
            )
            for block in self._changes(chunk, tally if measures else None):
                step.see(block, state, counts)
            return counts, tally

        wide = np.promote_types(step.dtype, np.int64)
        totals = np.zeros(step.shape, wide)
        for counts, tally in chunk_map(see, self.chunks):
            totals += counts
            total.add(tally)
        if measures:
            self._know(total)
        return totals

    def make(self, chunk: int) -> Made:
        """Combine one chunk."""
        step, (begin, end) = self.step, self.cut.span(chunk)
        assert isinstance(step, Combine)
        values_B, tally = self.spare.take(end - begin, _STORED_AS[self.dtype]), Tally.blank(self.targets)
        state = step.start(chunk)
        for block in self._changes(chunk, tally if self.gram is None else None):
            part_B = values_B[block.at - begin :][: block.x_NB.shape[1]]
            wide_B = SCRATCH.get("value", 1, part_B.size, np.float64)[0]
            with np.errstate(invalid="ignore", over="ignore"):
                tally.kept_J += step.write(block, state, wide_B)
            store(wide_B, block.x_NB[0], part_B, tally.sums)
        return Made(values_B, tally)

    def _changes(self, chunk: int, tally: Tally | None) -> Iterator[Block]:
        """The blocks of a chunk with the targets' changes, measured if there is a tally."""
        for block in self._blocks(chunk):
            if tally is None:
                subtract(block.x_NB, block.delta_JB)
            else:
                self._measure_block(block, tally)
            yield block

    def report(self) -> TensorReport:
        """Figures of the tensor."""
        assert isinstance(self.step, Combine)
        return self._report(None, self.total.kept_J, self.step.ties)


def _addresses(job: TensorJob) -> np.ndarray | None:
    """The addresses of the inputs' values in memory, if all of them are mapped as bfloat16."""
    sources = [source for source in job.sources if isinstance(source, Stored) and source.dtype == "BF16"]
    if len(sources) < len(job.sources):
        return None
    return np.array([source.values.ctypes.data for source in sources], np.uint64)
