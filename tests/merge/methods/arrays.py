"""Tensors in memory, merged as the engine merges those of files."""

import dataclasses

import numpy as np

from fusionchat.merge.inputs.plan import TensorJob
from fusionchat.merge.methods import METHODS
from fusionchat.merge.methods.breadcrumbs import Breadcrumbs
from fusionchat.merge.methods.della import Della
from fusionchat.merge.methods.linear import TaskArithmetic
from fusionchat.merge.methods.ties import Ties
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream.work import work_on
from tests.reference import merge as reference


@dataclasses.dataclass
class Held:
    """A tensor in memory, as the engine reads it."""

    values: np.ndarray
    origin: str = "memory"

    @property
    def shape(self):
        return self.values.shape

    def decode(self, begin, out):
        out[:] = self.values.reshape(-1)[begin : begin + out.size]

    def read_ahead(self, begin):
        pass

    def release(self):
        pass


def in_order(function, chunks):
    return map(function, range(chunks))


def backwards(function, chunks):
    """Chunks in another order than they are asked for."""
    made = {chunk: function(chunk) for chunk in reversed(range(chunks))}
    return iter([made[chunk] for chunk in range(chunks)])


def fuse(method, pivot, targets, auxiliary=(), name="w", chunk_map=in_order):
    """Merge arrays; returns values and the work."""
    sources = tuple(Held(np.ascontiguousarray(a, dtype=np.float32)) for a in (pivot, *targets))
    job = TensorJob(name, sources[0].shape, sources, tuple(Held(a) for a in auxiliary))
    task = work_on(job, method, "float32")
    return combine(task, chunk_map).reshape(pivot.shape), task


def combine(task, chunk_map=in_order):
    """Decide, make and finish; returns the values as they are stored."""
    task.decide(chunk_map)
    values = np.concatenate([task.take(made) for made in chunk_map(task.make, task.chunks)])
    task.finish()
    return values


def tensors(seed=0, shape=(120, 300), targets=3, scale=1e-3, bf16=False):
    rng = np.random.default_rng(seed)
    pivot = rng.normal(0, 0.02, shape).astype(np.float32)
    changed = np.stack(
        [pivot + rng.normal(0, scale * (j + 1), shape).astype(np.float32) for j in range(targets)]
    )
    if bf16:  # many equal magnitudes
        both = reference.to_bf16(np.stack([pivot, *changed]).astype(np.float64)).astype(np.float32)
        return both[0], both[1:]
    return pivot, changed


EVERY = [
    *(kind() for name, kind in METHODS.items() if name not in ("fisher", "passthrough", "nearswap")), Varm(power=0.5),
    Varm(granularity="element"), TaskArithmetic(scale=0.5), Ties(density=0.5, normalize=False), Della(elect_sign=False),
    Breadcrumbs(elect_sign=True),
]  # fmt: skip
"""All methods that make something of several targets alone, and some of them with other settings."""


near = {"rtol": 3e-7, "atol": 3e-9}
