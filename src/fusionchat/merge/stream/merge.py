"""Merging model folders into a model folder and a report.

Weights stream from memory-mapped files through the engine into shards; transformers and torch are imported
only if names alone do not decide what a tensor is (`merge.inputs.structure`), and for pickles.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fusionchat.artifacts import Json, fingerprint, machine_errors, sha256_file, write_json
from fusionchat.console import Advance, ignore
from fusionchat.errors import MergeError
from fusionchat.merge.inputs.files import INDEX
from fusionchat.merge.inputs.layers.arrange import Arrangement
from fusionchat.merge.inputs.layers.stack import Depth, depths
from fusionchat.merge.inputs.plan import Dtype, Shard, index_of, layout
from fusionchat.merge.inputs.prepare import Inputs, open_inputs
from fusionchat.merge.inputs.vocabulary.embeddings import Embeddings
from fusionchat.merge.methods import MergeMethod
from fusionchat.merge.methods.base import Gram, Method
from fusionchat.merge.methods.checks import check_targets
from fusionchat.merge.methods.spherical import Slerp
from fusionchat.merge.stream.engine import Engine
from fusionchat.merge.stream.output import Output, sweep
from fusionchat.merge.stream.provenance import describe_files
from fusionchat.merge.stream.result import REPORT, InputFile, MergeReport, TensorReport, finished
from fusionchat.merge.stream.surroundings import carried, copy_surroundings

_ENGINE = 4
"""Raised whenever the same inputs give different bytes, so that older work is not continued."""


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
    embeddings: Embeddings = "error",
    allow_pickle: bool = False,
    arrangement: Arrangement | None = None,
    method_of: Callable[[str, Depth], Method] | None = None,
    statistics: Mapping[str, Gram] | None = None,
    progress: Advance = ignore,
) -> MergeReport:
    """Merge targets into one model folder; returns the report, which is also its ``merge_weights.json``.

    After an interruption, the same call continues where it stopped; once finished, it does nothing. The bytes
    written depend on neither ``threads`` nor, tensor by tensor, on ``shard_bytes``.

    Args:
        pivot: Folder of the pivot, whose config, tokenizer and chat template the fused model gets.
        targets: Folders of the targets (models or LoRA adapters) by name, in the order of the method's
            weights.
        method: The method's settings.
        out: Folder of the fused model.
        dtype: The dtype of its files.
        shard_bytes: Largest weight file; a single larger tensor gets a file of its own.
        threads: 0 uses all cores that this process may use.
        overwrite: Whether an existing model is replaced.
        hash_inputs: Whether inputs whose SHA-256 is unknown (`merge.stream.provenance`) are read once more
            for it.
        embeddings: What to do if a target has another vocabulary: refuse, keep the pivot's, or add its added
            tokens.
        allow_pickle: Whether PyTorch pickles are read, as weights only, if there are no safetensors.
        arrangement: Which layers the fused layers are merged from; None is one to one.
        method_of: Settings for a tensor by its name and depth, if they differ from ``method``.
        statistics: Inner products by tensor, from `inner_products`, if already known.
        progress: Called with bytes written, `MergePlan.output_bytes` in all.

    Raises:
        MergeError: The inputs cannot be merged; the message names the tensor, and nothing is left in ``out``.
        MachineError: The disk is full or not writable.
    """
    started = time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(machine_errors(out))
        inputs, shards = prepared(
            stack,
            pivot,
            targets,
            method=method,
            reading=Reading(embeddings, allow_pickle, arrangement, with_stack=method_of is not None),
            dtype=dtype,
            shard_bytes=shard_bytes,
        )
        folders = {"": pivot, **targets}
        _check_place(out, [*folders.values(), *map(Path, method.auxiliary())])
        settings: dict[str, Json] = {"dtype": dtype, "embeddings": embeddings}
        settings["layers"] = [list(map(list, layer)) for layer in arrangement.layers] if arrangement else None
        settings["ends"] = [[*arrangement.before], [*arrangement.after]] if arrangement else None
        each = _each(inputs, method_of) if method_of else None
        mark = _fingerprint(inputs, method, each, settings=settings, shards=shards, folders=folders)
        made = None if overwrite else finished(out, mark, {shard.file: shard.nbytes for shard in shards})
        if made is not None:
            sweep(out, mark)
            progress(made.bytes_written)
            return _with_hashes(made, inputs, out) if hash_inputs else made
        output = Output(out, shards, mark, dtype, overwrite=overwrite)
        stack.callback(output.close)
        engine = Engine(
            inputs.jobs,
            method,
            dtype,
            threads or available_cores(),
            stack,
            method_of=each.__getitem__ if each else None,
            statistics=statistics,
            release=inputs.nbytes > available_memory() / 2,
        )
        try:
            engine.run(output, progress)
        except MergeError:
            output.abandon()
            raise
        output.publish()
        if len(shards) > 1:
            write_json(out / INDEX, index_of(shards))
        copy_surroundings(pivot, out, dtype, inputs.changes, inputs.added)
        report = MergeReport(
            method=dict(asdict(method)),
            pivot=pivot.name,
            targets=list(targets),
            dtype=dtype,
            tensors=[TensorReport(**e) for e in output.entries if "rms" in e],  # type: ignore[arg-type]
            copied=[str(e["name"]) for e in output.entries if "rms" not in e],
            files=output.files,
            inputs=_describe(inputs, hash_inputs),
            fingerprint=mark,
            seconds=time.perf_counter() - started,
            bytes_read=inputs.nbytes,
            bytes_written=sum(s.nbytes for s in shards),
        )
        write_json(out / REPORT, report.to_json())
        output.finish()
    return report


@dataclass(frozen=True)
class Reading:
    """How inputs are read; see `merge_models`.

    Attributes:
        embeddings: What to do if vocabularies differ.
        allow_pickle: Whether pickles are read.
        arrangement: Which layers the fused layers are merged from.
        with_stack: Whether the layers must be known.
    """

    embeddings: Embeddings = "error"
    allow_pickle: bool = False
    arrangement: Arrangement | None = None
    with_stack: bool = False


def prepared(
    stack: ExitStack,
    pivot: Path,
    targets: Mapping[str, Path],
    *,
    method: Method,
    reading: Reading,
    dtype: Dtype,
    shard_bytes: int,
) -> tuple[Inputs, Sequence[Shard]]:
    """The inputs of a merge, opened and checked, and the files that it writes.

    ``stack`` closes the inputs; nothing is written.

    Raises:
        MergeError: The inputs cannot be merged, or not by this method.
    """
    if reading.arrangement is None:
        check_method(method, len(targets))
    inputs = open_inputs(stack, pivot, targets, method, **vars(reading))
    return inputs, layout(inputs.jobs, dtype, shard_bytes)


def inner_products(
    pivot: Path,
    targets: Mapping[str, Path],
    *,
    threads: int = 0,
    embeddings: Embeddings = "error",
    allow_pickle: bool = False,
) -> dict[str, Gram]:
    """Inner products of pivot and changes, by tensor, from one read; enough for any mixing method."""
    with ExitStack() as stack:
        method = Slerp()  # an example of a method that needs all products
        inputs = open_inputs(stack, pivot, targets, method, embeddings=embeddings, allow_pickle=allow_pickle)
        cores = threads or available_cores()
        return Engine(inputs.jobs, method, "float32", cores, stack).statistics()


def _check_place(out: Path, inputs: Sequence[Path]) -> None:
    """Raise MergeError if the merged model would replace an input, or a folder around one."""
    place = out.resolve()
    for folder in inputs:
        if place == folder.resolve() or place in folder.resolve().parents:
            raise MergeError(
                f"The merged model would overwrite its input {folder}",
                where=str(out),
                do="choose another folder",
            )


def _describe(inputs: Inputs, compute: bool) -> dict[str, dict[str, InputFile]]:
    return {name or "pivot": describe_files(files, compute=compute) for name, files in inputs.files.items()}


def _with_hashes(report: MergeReport, inputs: Inputs, out: Path) -> MergeReport:
    """A finished merge's report with the checksums of all its inputs, written again."""
    report = replace(report, inputs=_describe(inputs, True))
    write_json(out / REPORT, report.to_json())
    return report


def _each(inputs: Inputs, method_of: Callable[[str, Depth], Method]) -> dict[str, Method]:
    """The settings of every tensor by its name."""
    places = depths([job.name for job in inputs.jobs], inputs.stack)
    return {name: method_of(name, depth) for name, depth in places.items()}


def _fingerprint(
    inputs: Inputs,
    method: Method,
    methods: Mapping[str, Method] | None,
    *,
    settings: Mapping[str, Json],
    shards: Sequence[Shard],
    folders: Mapping[str, Path],
) -> str:
    """The fingerprint of a merge: of settings, small files' content, and sizes and times of weight files."""
    each: list[Json] = [dict(asdict(methods[job.name])) for job in inputs.jobs] if methods else []
    held: dict[str, Json] = {**asdict(method), "each": each, **settings, "engine": _ENGINE}
    held |= {
        "targets": list(folders),
        "shards": [shard.file for shard in shards],
        "tensors": [[j.name, list(j.shape)] for j in inputs.jobs],
    }
    identities = {}
    for name, files in inputs.files.items():
        stats: list[Json] = [[str(f.path.absolute()), f.size, f.path.stat().st_mtime_ns] for f in files]
        folder = folders.get(name)
        names = ["config.json", "adapter_config.json", *(carried(folder) if folder else ())]
        small: list[Json] = [
            [file, sha256_file(folder / file)]
            for file in names
            if folder is not None and (folder / file).is_file()
        ]
        identities[name] = fingerprint({"files": stats, "small": small}, {})
    return fingerprint(held, identities)


def available_cores() -> int:
    """Number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int:
    """Bytes of memory that could be used without swapping."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_method(method: Method, targets: int) -> None:
    """Raise MergeError if a method does not fit the number of targets."""
    try:
        check_targets(method, targets)
    except ValueError as error:
        raise MergeError(str(error), do="see docs/merge_methods.md for what the method needs") from error
