"""The engine: all tensors of a merge in order, made by one pool of threads and written here.

A piece is what one call makes: a chunk of a tensor that is decided, or a whole tensor of few chunks, which
its thread looks at and then combines. A large tensor that needs a look first is looked at by all threads,
then made in pieces.

Memory is bounded by the running pieces, `threads + 2` of them (`OrderedPool`), each of at most `32 / (threads
+ 2)` chunks of 2^20 elements (at least one): 64 MB in bfloat16, whatever the size of the model, and blocks of
2^17 elements per thread.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

from fusionchat.artifacts import Json
from fusionchat.console import Advance
from fusionchat.merge.inputs.plan import Dtype, TensorJob
from fusionchat.merge.methods.base import Gram, Method, Mixture, MixtureMethod
from fusionchat.merge.stream.memory import Spare
from fusionchat.merge.stream.output import Output
from fusionchat.merge.stream.pool import OrderedPool, here
from fusionchat.merge.stream.tally import Made, Tally
from fusionchat.merge.stream.tensor import ChunkMap, Known
from fusionchat.merge.stream.work import BlockWork, MixtureWork, work_on
from fusionchat.merge.weights import group_of

_AHEAD_CHUNKS = 32
_COPY_STEP = 2**22


class Copy:
    """The work on a tensor that is copied byte for byte, with the same steps as for a merged one."""

    is_decided = True

    def __init__(self, job: TensorJob) -> None:
        assert job.copied is not None
        self.job = job
        self.raw_B = np.frombuffer(job.copied.raw(), np.uint8) if job.copied.nbytes else np.zeros(0, np.uint8)

    @property
    def chunks(self) -> int:
        """Number of pieces."""
        return -(-self.raw_B.size // _COPY_STEP)

    def decide(self, chunk_map: ChunkMap) -> None:
        """Do nothing, since nothing is to be decided."""

    def make(self, chunk: int) -> Made:
        """The bytes of a piece."""
        return Made(self.raw_B[chunk * _COPY_STEP :][:_COPY_STEP], Tally.blank(0))

    def take(self, made: Made) -> np.ndarray:
        """The bytes."""
        return made.values_B

    def finish(self) -> dict[str, Json]:
        """Its name, since a copied tensor has no figures."""
        return {"name": self.job.name}


class Piece(NamedTuple):
    """Some chunks of a tensor, made by one call."""

    work: MixtureWork | BlockWork | Copy
    chunks: range
    ends: bool

    def make(self) -> tuple["Piece", list[Made]]:
        """The chunks; if the tensor is not decided yet, this thread decides first."""
        self.work.decide(here)
        return self, [self.work.make(chunk) for chunk in self.chunks]


class Engine:
    """Runs all jobs of a merge in order on a pool of threads."""

    def __init__(
        self,
        jobs: Sequence[TensorJob],
        method: Method,
        dtype: Dtype,
        threads: int,
        stack: ExitStack,
        *,
        method_of: Callable[[str], Method] | None = None,
        statistics: Mapping[str, Gram] | None = None,
        release: bool = False,
    ) -> None:
        self.jobs, self.method, self.dtype, self.release = jobs, method, dtype, release
        self.method_of = method_of or (lambda _: method)
        self.known, self.spare = statistics, Spare()
        self.small = max(1, _AHEAD_CHUNKS // (threads + 2)) if threads > 1 else 0
        self.pool = OrderedPool(threads, stack)

    def run(self, output: Output, progress: Advance) -> None:
        """Merge every tensor that is not finished yet and write it."""
        progress(sum(job.nbytes(self.dtype) for job in self.jobs[: output.finished]))
        for piece, made in self.pool.run(self._pieces(self.jobs[output.finished :])):
            for one in made:
                values_B = piece.work.take(one)
                output.write(values_B)
                progress(values_B.nbytes)
                self.spare.give(values_B)
            if piece.ends:
                output.end_tensor(piece.work.finish())

    def _pieces(self, jobs: Sequence[TensorJob]) -> Iterator[Callable[[], tuple[Piece, list[Made]]]]:
        """The calls that make all tensors, in order."""
        grams, mixtures = self.decide_groups()
        for job in jobs:
            work = self._work(job, grams.get(job.name), mixtures.get(job.name))
            if not work.is_decided and work.chunks <= self.small:
                yield Piece(work, range(work.chunks), ends=True).make
                continue
            work.decide(self.pool.map)
            for chunk in range(work.chunks):
                yield Piece(work, range(chunk, chunk + 1), ends=chunk + 1 == work.chunks).make
            if work.chunks == 0:
                yield Piece(work, range(0), ends=True).make

    def _work(
        self, job: TensorJob, gram: Gram | None, mixture: Mixture | None
    ) -> MixtureWork | BlockWork | Copy:
        if job.copied is not None:
            return Copy(job)
        known = Known(gram, mixture, self.release, self.spare)
        return work_on(job, self.method_of(job.name), job.dtype(self.dtype), known)

    def decide_groups(self) -> tuple[dict[str, Gram], dict[str, Mixture]]:
        """Inner products of every tensor and weights of every group.

        This is for methods whose groups are larger than a tensor.
        """
        method = self.method
        if not isinstance(method, MixtureMethod) or method.scope == "matrix":
            return dict(self.known or {}), {}
        looked, grams = self.known, dict(self.known or {})
        if looked is None:
            looked, grams = self.look()
        groups: dict[str, Gram] = {}
        for name, gram in grams.items():
            key = group_of(name, method.scope)
            held = groups.get(key)
            groups[key] = (
                gram if held is None else Gram(held.products_NN + gram.products_NN, held.count + gram.count)
            )
        decided = {key: method.mixture(gram) for key, gram in groups.items()}
        return dict(looked), {name: decided[group_of(name, method.scope)] for name in grams}

    def look(self) -> tuple[dict[str, Gram], dict[str, Gram]]:
        """Inner products of the tensors that needed a look, and those of all tensors.

        Those of factors need no look.
        """
        looked, grams = dict[str, Gram](), dict[str, Gram]()
        for job in self.jobs:
            if job.copied is None:
                work = work_on(job, self.method, job.dtype(self.dtype))
                assert isinstance(work, MixtureWork), "only mixtures have groups"
                products = work.products()
                grams[job.name] = work.measure(self.pool.map) if products is None else products
                looked |= {} if products else {job.name: grams[job.name]}
        return looked, grams

    def statistics(self) -> dict[str, Gram]:
        """Inner products of every tensor, from one read of the inputs."""
        merged = [job for job in self.jobs if job.copied is None]
        return {
            job.name: work_on(job, self.method, job.dtype(self.dtype)).measure(self.pool.map)
            for job in merged
        }
