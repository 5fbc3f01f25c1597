"""The engine: reads pivot and targets tensor by tensor from memory-mapped files, merges, writes the fused model.

Small tensors are merged several at a time, one a thread; large ones chunk by chunk on all threads. Either way the
results are written in order, and memory is bounded by a few chunks a thread, not by the model.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np

from fusionchat.artifacts import Json, fingerprint, machine_errors, sha256_file, write_json
from fusionchat.console import Advance, ignore
from fusionchat.errors import MergeError
from fusionchat.merge.checkpoint import INDEX, Checkpoint, open_checkpoint
from fusionchat.merge.methods import MergeMethod
from fusionchat.merge.methods.base import Gram, Method, Mixture, MixtureMethod
from fusionchat.merge.output import REPORT, Output
from fusionchat.merge.plan import Dtype, Job, index_of, layout, match
from fusionchat.merge.result import MergeReport, TensorReport
from fusionchat.merge.surroundings import copy_surroundings
from fusionchat.merge.weights import group_of
from fusionchat.merge.work import CHUNK, TensorWork

_SMALL = 4 * CHUNK
_COPY_STEP = 2**22


def merge_models(
    pivot: Path,
    targets: Mapping[str, Path],
    method: MergeMethod,
    out: Path,
    *,
    dtype: Dtype = "bfloat16",
    shard_bytes: int = 5 * 10**9,
    threads: int = 0,
    overwrite: bool = False,
    hash_inputs: bool = False,
    progress: Advance = ignore,
) -> MergeReport:
    """Merge targets into one model folder and report on it; also written there as ``merge_weights.json``.

    Interrupted, the same call takes the work up where it was. The bytes written depend on neither ``threads`` nor,
    tensor by tensor, on ``shard_bytes``.

    Args:
        pivot: Folder of the pivot, whose config, tokenizer and chat template the fused model gets.
        targets: Folders of the targets by name, in the order of the method's weights.
        method: The method's settings.
        out: Folder of the fused model.
        dtype: What it is stored as.
        shard_bytes: Largest weight file; a single larger tensor gets a file of its own.
        threads: 0 uses all cores this process may use.
        overwrite: Whether a model that is there is replaced.
        hash_inputs: Whether the report says the inputs' SHA-256 too, which costs one more read of them.
        progress: Told bytes written, `output_bytes` in all.

    Raises:
        MergeError: The inputs cannot be merged; the message names the tensor, and nothing is left in ``out``.
        MachineError: The disk is full or not writable.
    """
    started = time.perf_counter()
    threads = threads or available_cores()
    with ExitStack() as stack:
        opened = {
            "": open_checkpoint(pivot),
            **{name: open_checkpoint(path) for name, path in targets.items()},
        }
        for checkpoint in opened.values():
            stack.callback(checkpoint.close)
        others = {name: checkpoint for name, checkpoint in opened.items() if name}
        jobs = match(opened[""], others)
        check_method(method, len(others))
        shards = layout(jobs, dtype, shard_bytes)
        settings: dict[str, Json] = {**asdict(method), "dtype": dtype, "shards": [s.file for s in shards]}
        mark = fingerprint(settings, {name: _identity(c) for name, c in opened.items()})
        stack.enter_context(machine_errors(out))
        output = Output(out, shards, mark, dtype, overwrite=overwrite)
        stack.callback(output.close)
        engine = Engine(jobs, method, dtype, threads, stack, release=_too_large_to_cache(opened.values()))
        try:
            engine.run(output, progress)
        except MergeError:
            output.abandon()
            raise
        output.publish()
        if len(shards) > 1:
            write_json(out / INDEX, index_of(shards))
        copy_surroundings(pivot, out, dtype)
        report = MergeReport(
            method=dict(asdict(method)),
            pivot=pivot.name,
            targets=list(targets),
            dtype=dtype,
            tensors=[TensorReport(**e) for e in output.entries if "rms" in e],  # type: ignore[arg-type]
            copied=[str(e["name"]) for e in output.entries if "rms" not in e],
            files=output.files,
            inputs={name or "pivot": _files(c, hash_inputs) for name, c in opened.items()},
            fingerprint=mark,
            seconds=time.perf_counter() - started,
            bytes_read=sum(file.size for c in opened.values() for file in c.files),
            bytes_written=sum(s.nbytes for s in shards),
        )
        write_json(out / REPORT, report.to_json())
        output.finish()
    return report


def available_cores() -> int:
    """Number of cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_method(method: Method, targets: int) -> None:
    """Raise MergeError where a method does not work on this number of targets, or has settings for another number."""
    least, most = method.targets
    if targets < least or (most is not None and targets > most):
        wants = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        raise MergeError(
            f"Method {method.method} needs {wants} targets, not {targets}", do="name more or fewer targets"
        )
    weight = getattr(method, "weight", None)
    if weight is not None and len(weight) != targets:
        raise MergeError(
            f"Method {method.method} has {len(weight)} weights for {targets} targets",
            do="give one per target",
        )


def _identity(checkpoint: Checkpoint) -> str:
    """What tells one state of a checkpoint from another without reading it: paths, sizes and times of its files."""
    stats = [(str(f.path.absolute()), f.size, f.path.stat().st_mtime_ns) for f in checkpoint.files]
    return fingerprint({"files": [[path, size, mtime] for path, size, mtime in stats]}, {})


def _files(checkpoint: Checkpoint, hashes: bool) -> dict[str, Json]:
    return {
        file.path.name: {"bytes": file.size, **({"sha256": sha256_file(file.path)} if hashes else {})}
        for file in checkpoint.files
    }


def _too_large_to_cache(checkpoints: Iterable[Checkpoint]) -> bool:
    """Whether the inputs would push everything else out of the page cache: more than half of the free memory."""
    total = sum(file.size for c in checkpoints for file in c.files)
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return False
    return total > free / 2


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
        release: bool = False,
    ) -> None:
        self.jobs, self.method, self.dtype, self.threads, self.release = jobs, method, dtype, threads, release
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
        return TensorWork(job, self.method, self.dtype, gram=gram, mixture=mixture, release=self.release)

    def decide_groups(self) -> tuple[dict[str, Gram], dict[str, Mixture]]:
        """Inner products of every tensor and weights of every group, for methods whose groups are larger than a tensor."""
        method = self.method
        if not isinstance(method, MixtureMethod) or method.scope == "matrix":
            return {}, {}
        grams = self.statistics()
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
        return {job.name: TensorWork(job, self.method, self.dtype).measure(self._on_chunks) for job in merged}

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
        yield None, asdict(work.report())

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
    return values, asdict(work.report())


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
