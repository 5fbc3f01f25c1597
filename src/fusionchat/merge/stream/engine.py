"""The engine's schedule: chunks of tensors that are decided, small tensors one a thread, large ones on all threads.

Either way results come out in order, and memory is bounded by a few chunks a thread, not by the model.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from fusionchat.artifacts import Json
from fusionchat.console import Advance
from fusionchat.merge.inputs.plan import Dtype, Job
from fusionchat.merge.methods.base import Gram, Method, Mixture, MixtureMethod
from fusionchat.merge.stream.memory import Spare
from fusionchat.merge.stream.output import Output
from fusionchat.merge.stream.work import Tally, TensorWork
from fusionchat.merge.weights import group_of

_AHEAD_CHUNKS = 32
"""Chunks of finished tensors that may wait for their turn, all threads together: 64 MB in bfloat16."""
_COPY_STEP = 2**22

Result = tuple[np.ndarray | None, dict[str, Json] | None]
"""Values to write, or the report that ends a tensor."""
Ahead = deque[tuple[Future[Any], Callable[[Any], Iterator[Result]]]]
"""What is under way, and what to do with it when it is its turn."""


class Engine:
    """Runs all jobs of a merge in order on a pool of threads."""

    def __init__(
        self,
        jobs: Sequence[Job],
        method: Method,
        dtype: Dtype,
        threads: int,
        stack: ExitStack,
        *,
        method_of: Callable[[str], Method] | None = None,
        statistics: Mapping[str, Gram] | None = None,
        release: bool = False,
    ) -> None:
        self.jobs, self.method, self.dtype, self.threads, self.release = jobs, method, dtype, threads, release
        self.spare = Spare()
        self.method_of = method_of or (lambda _: method)
        self.known = statistics
        self.small = max(1, _AHEAD_CHUNKS // (threads + 2))
        self.pool = stack.enter_context(ThreadPoolExecutor(threads, "merge")) if threads > 1 else None

    def run(self, output: Output, progress: Advance) -> None:
        """Merge every tensor that is not finished yet and write it."""
        todo = self.jobs[output.finished :]
        grams, mixtures = self.decide_groups()
        works = (self._work(job, grams.get(job.name), mixtures.get(job.name)) for job in todo)
        progress(sum(job.nbytes(self.dtype) for job in self.jobs[: output.finished]))
        for values, entry in self._results(works):
            if values is not None:
                output.write(values)
                progress(values.nbytes)
                self.spare.give(values)
            if entry is not None:
                output.end_tensor(entry)

    def _work(self, job: Job, gram: Gram | None, mixture: Mixture | None) -> "TensorWork | Job":
        if job.copied is not None:
            return job
        method = self.method_of(job.name)
        return TensorWork(
            job,
            method,
            job.dtype(self.dtype),
            gram=gram,
            mixture=mixture,
            release=self.release,
            spare=self.spare,
        )

    def decide_groups(self) -> tuple[dict[str, Gram], dict[str, Mixture]]:
        """Inner products of every tensor and weights of every group, for methods whose groups are larger than a tensor."""
        method = self.method
        if not isinstance(method, MixtureMethod) or method.scope == "matrix":
            return dict(self.known or {}), {}
        grams = dict(self.known) if self.known is not None else self.statistics()
        groups: dict[str, Gram] = {}
        for name, gram in grams.items():
            key = group_of(name, method.scope)
            held = groups.get(key)
            groups[key] = (
                gram if held is None else Gram(held.products_NN + gram.products_NN, held.count + gram.count)
            )
        decided = {key: method.mixture(gram) for key, gram in groups.items()}
        return grams, {name: decided[group_of(name, method.scope)] for name in grams}

    def statistics(self) -> dict[str, Gram]:
        """Inner products of every tensor, from one read of the inputs."""
        merged = [job for job in self.jobs if job.copied is None]
        return {
            job.name: TensorWork(job, self.method, job.dtype(self.dtype)).measure(self._on_chunks)
            for job in merged
        }

    def _results(self, works: Iterator["TensorWork | Job"]) -> Iterator[Result]:
        """Values and reports of all tensors in order, made ahead of time on the pool.

        Tensors that are decided go there chunk by chunk, small ones as a whole; large ones that have to be looked at
        first take all threads for themselves.
        """
        ahead: Ahead = deque()
        for work in works:
            if self.pool is None or isinstance(work, Job):
                yield from _drain(ahead, 0)
                yield from _copy(work) if isinstance(work, Job) else self._large(work)
            elif work.is_decided:
                work.prepare(_here)
                for chunk in range(work.cut.chunks):
                    ahead.append(
                        (self.pool.submit(work.combine_chunk, chunk), partial(_chunk_made, work, chunk))
                    )
                    yield from _drain(ahead, self.threads + 1)
            elif work.cut.chunks <= self.small:
                ahead.append((self.pool.submit(_whole, work), iter))
                yield from _drain(ahead, self.threads + 1)
            else:
                yield from _drain(ahead, 0)
                yield from self._large(work)
        yield from _drain(ahead, 0)

    def _large(self, work: TensorWork) -> Iterator[Result]:
        work.prepare(self._on_chunks)
        for values in work.combine(self._on_chunks):
            yield values, None
        yield None, work.report().to_json()

    def _on_chunks(self, function: Callable[[int], object], chunks: int) -> Iterator[object]:
        """Run a function on all chunks and yield its results in order, a few ahead."""
        if self.pool is None or chunks == 1:
            yield from map(function, range(chunks))
            return
        ahead: deque[Future[object]] = deque()
        for chunk in range(chunks):
            ahead.append(self.pool.submit(function, chunk))
            if len(ahead) > self.threads + 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _here(function: Callable[[int], object], chunks: int) -> Iterator[object]:
    return map(function, range(chunks))


def _whole(work: TensorWork) -> list[Result]:
    work.prepare(_here)
    values = list(work.combine(_here))
    return [*((part, None) for part in values), (None, work.report().to_json())]


def _chunk_made(work: TensorWork, chunk: int, made: tuple[np.ndarray, Tally]) -> Iterator[Result]:
    """What a chunk gives, and the tensor's report behind the last one."""
    yield work.collect(*made), None
    if chunk + 1 == work.cut.chunks:
        work.close()
        yield None, work.report().to_json()


def _drain(ahead: Ahead, left: int) -> Iterator[Result]:
    """Wait for what comes next until only ``left`` are under way."""
    while len(ahead) > left:
        future, take = ahead.popleft()
        yield from take(future.result())


def _copy(job: Job) -> Iterator[Result]:
    assert job.copied is not None
    raw = np.frombuffer(job.copied.raw(), np.uint8) if job.copied.nbytes else np.zeros(0, np.uint8)
    for begin in range(0, raw.size, _COPY_STEP):
        yield raw[begin : begin + _COPY_STEP], None
    yield None, {"name": job.name}
