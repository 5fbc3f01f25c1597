"""``--dry-run``: what a merge would read and write, with its time and memory."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fusionchat.artifacts import Json
from fusionchat.merge.inputs.layers.arrange import Arrangement
from fusionchat.merge.inputs.plan import BYTES, Dtype
from fusionchat.merge.inputs.vocabulary.embeddings import Embeddings
from fusionchat.merge.methods import MergeMethod
from fusionchat.merge.methods.base import Method, MixtureMethod
from fusionchat.merge.methods.steps import Block, Count, TensorInfo
from fusionchat.merge.stream.memory import private_bytes
from fusionchat.merge.stream.merge import Reading, available_cores, prepared

_READ_SPEED, _WRITE_SPEED = 2.0e9, 1.0e9
_LOOK_SPEED, _HASH_SPEED = 1.2e9, 1.5e9
_TIED = 1000


@dataclass(frozen=True)
class MergePlan:
    """What a merge would do.

    Attributes:
        method: The method's settings.
        tensors: Number of tensors.
        parameters: Number of parameters of the fused model.
        input_bytes: Bytes of all inputs.
        output_bytes: Bytes of the weight files.
        files: Weight files and their sizes.
        looks: The most looks at the inputs (the first one reads the disk, later ones memory if it fits).
        seconds: Rough time on this machine's cores, if the disk reads 2 GB/s and writes 1.
        memory_bytes: Approximate private memory, which does not grow with the model.
    """

    method: dict[str, Json]
    tensors: int
    parameters: int
    input_bytes: int
    output_bytes: int
    files: dict[str, int]
    looks: int
    seconds: float
    memory_bytes: int

    def to_json(self) -> dict[str, Json]:
        """All of it as plain JSON values."""
        return dict(asdict(self))


def plan_merge(
    pivot: Path,
    targets: Mapping[str, Path],
    method: MergeMethod,
    *,
    dtype: Dtype = "bfloat16",
    shard_bytes: int = 5 * 10**9,
    threads: int = 0,
    embeddings: Embeddings = "error",
    allow_pickle: bool = False,
    arrangement: Arrangement | None = None,
) -> MergePlan:
    """The sizes, time and memory of a merge, after opening and checking its inputs.

    Raises:
        MergeError: The inputs cannot be merged (values are not read, so non-finite ones are not found).
    """
    threads = threads or available_cores()
    with ExitStack() as stack:
        reading = Reading(embeddings, allow_pickle, arrangement)
        inputs, shards = prepared(
            stack, pivot, targets, method=method, reading=reading, dtype=dtype, shard_bytes=shard_bytes
        )
        parameters = sum(job.count for job in inputs.jobs)
        output = sum(shard.nbytes for shard in shards)
        looks = looks_at(method, len(targets))
        elements = sum(job.count * (len(job.sources) + len(job.auxiliary)) for job in inputs.jobs)
        compute = (looks * elements / _LOOK_SPEED + output / _HASH_SPEED) / threads
        rows = max((job.shape[-1] for job in inputs.jobs if job.shape), default=1)
        return MergePlan(
            method=dict(asdict(method)),
            tensors=len(inputs.jobs),
            parameters=parameters,
            input_bytes=inputs.nbytes,
            output_bytes=output,
            files={shard.file: shard.nbytes for shard in shards},
            looks=looks,
            seconds=max(compute, inputs.nbytes / _READ_SPEED, output / _WRITE_SPEED) + 1.0,
            memory_bytes=private_bytes(len(targets), rows, width=BYTES[dtype], threads=threads),
        )


def looks_at(method: Method, targets: int) -> int:
    """The most looks that a method needs at its inputs: those at a tensor whose elements all tie."""
    steps = method.steps(TensorInfo("plan", (_TIED,), targets, 1))
    if steps is None:
        assert isinstance(method, MixtureMethod)
        return 1 if method.statistics == "none" else 2
    looks, step = 1, next(steps)
    while isinstance(step, Count):
        counts = np.zeros(step.shape, step.dtype)
        delta_JB = (
            np.ones((targets, _TIED), np.float32) * np.arange(1, targets + 1, dtype=np.float32)[:, None]
        )
        x_NB = np.concatenate([np.zeros((1, _TIED), np.float32), delta_JB])
        step.see(Block(x_NB, delta_JB, np.zeros((0, _TIED), np.float32), 0, 0), step.start(0), counts)
        looks, step = looks + 1, steps.send(counts)
    return looks
