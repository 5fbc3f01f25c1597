"""The engine's schedule: several small tensors at a time, one a thread; large ones chunk by chunk on all threads.

Either way results come out in order, and memory is bounded by a few chunks a thread, not by the model.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np

from fusionchat.artifacts import Json
from fusionchat.console import Advance
from fusionchat.merge.device import HOST, Place
from fusionchat.merge.methods.base import Gram, Method, Mixture, MixtureMethod
from fusionchat.merge.output import Output
from fusionchat.merge.plan import Dtype, Job
from fusionchat.merge.weights import group_of
from fusionchat.merge.work import CHUNK, TensorWork

_SMALL = 4 * CHUNK
_COPY_STEP = 2**22


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
        place: Place = HOST,
    ) -> None:
        self.jobs, self.method, self.dtype, self.threads, self.release = jobs, method, dtype, threads, release
        self.place = place
        self.method_of = method_of or (lambda _: method)
        self.known = statistics
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
            if entry is not None:
                output.end_tensor(entry)

    def _work(self, job: Job, gram: Gram | None, mixture: Mixture | None) -> "TensorWork | Job":
        if job.copied is not None:
            return job
        method = self.method_of(job.name)
        return TensorWork(
            job, method, self.dtype, gram=gram, mixture=mixture, release=self.release, place=self.place
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
            job.name: TensorWork(job, self.method, self.dtype, place=self.place).measure(self._on_chunks)
            for job in merged
        }

    def _results(
        self, works: Iterator["TensorWork | Job"]
    ) -> Iterator[tuple[np.ndarray | None, dict[str, Json] | None]]:
        """Values and reports of all tensors in order; small tensors ahead of time on other threads."""
        ahead: deque[Future[tuple[list[np.ndarray], dict[str, Json]]]] = deque()
        for work in works:
            if isinstance(work, TensorWork) and self.pool and work.job.count <= _SMALL:
                ahead.append(self.pool.submit(_whole, work))
                if len(ahead) > self.threads + 1:
                    yield from _drain(ahead, 1)
                continue
            yield from _drain(ahead, len(ahead))
            yield from _copy(work) if isinstance(work, Job) else self._large(work)
        yield from _drain(ahead, len(ahead))

    def _large(self, work: TensorWork) -> Iterator[tuple[np.ndarray | None, dict[str, Json] | None]]:
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


def _whole(work: TensorWork) -> tuple[list[np.ndarray], dict[str, Json]]:
    work.prepare(_here)
    values = list(work.combine(_here))
    return values, work.report().to_json()


def _drain(
    ahead: "deque[Future[tuple[list[np.ndarray], dict[str, Json]]]]", count: int
) -> Iterator[tuple[np.ndarray | None, dict[str, Json] | None]]:
    for _ in range(count):
        values, entry = ahead.popleft().result()
        for part in values:
            yield part, None
        yield None, entry


def _copy(job: Job) -> Iterator[tuple[np.ndarray | None, dict[str, Json] | None]]:
    assert job.copied is not None
    raw = np.frombuffer(job.copied.raw(), np.uint8) if job.copied.nbytes else np.zeros(0, np.uint8)
    for begin in range(0, raw.size, _COPY_STEP):
        yield raw[begin : begin + _COPY_STEP], None
    yield None, {"name": job.name}
