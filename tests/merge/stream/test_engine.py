"""The schedule: results in the order of the tensors, whatever thread made them, and weights of groups."""

from contextlib import ExitStack

import numpy as np
import pytest

from fusionchat.merge.inputs.plan import TensorJob
from fusionchat.merge.methods.base import Gram
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.ties import Ties
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream import cut
from fusionchat.merge.stream.engine import Engine
from tests.merge.methods.arrays import Held


class Written:
    """An output that keeps what it is given."""

    def __init__(self, finished=0):
        self.finished, self.values, self.entries = finished, [], []

    def write(self, values):
        self.values.append(values.copy())

    def end_tensor(self, entry):
        self.entries.append(entry)


class Copied:
    """A tensor of whole numbers."""

    dtype, nbytes = "I64", 16

    def raw(self):
        return memoryview(np.arange(2, dtype=np.int64).tobytes())


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(cut, "BLOCK", 64)
    monkeypatch.setattr(cut, "CHUNK", 256)


def job(name, size, seed):
    rng = np.random.default_rng(seed)
    pivot = rng.normal(size=size).astype(np.float32)
    return TensorJob(
        name, (size,), tuple(Held(pivot + k * rng.normal(size=size).astype(np.float32)) for k in range(3))
    )


JOBS = [
    job("h.0.a", 1000, 0),
    job("h.0.b", 10, 1),
    TensorJob("ids", (2,), copied=Copied()),
    job("h.1.a", 700, 2),
    job("norm", 5, 3),
]


def run(method, threads, finished=0):
    output, done = Written(finished), []
    with ExitStack() as stack:
        Engine(JOBS, method, "float32", threads, stack).run(output, done.append)
    return output, done


@pytest.mark.parametrize("method", [Linear(), Varm(), Varm(granularity="layer"), Ties()], ids=repr)
def test_any_number_of_threads_writes_the_same_in_the_same_order(method):
    one, done = run(method, 1)
    assert [entry["name"] for entry in one.entries] == [job.name for job in JOBS]
    assert one.entries[2] == {"name": "ids"} and sum(done) == 4 * 1715 + 16
    for threads in (2, 5):
        other, _ = run(method, threads)
        assert other.entries == one.entries
        assert b"".join(map(bytes, other.values)) == b"".join(map(bytes, one.values))


def test_what_is_finished_is_not_made_again():
    whole, _ = run(Varm(), 1)
    rest, done = run(Varm(), 2, finished=3)
    assert [entry["name"] for entry in rest.entries] == ["h.1.a", "norm"]
    assert done[0] == 4 * 1010 + 16  # what was there counts as done at once
    tail = b"".join(map(bytes, rest.values))
    assert b"".join(map(bytes, whole.values)).endswith(tail) and len(tail) == 4 * 705


def test_tensors_of_a_group_share_the_weights_of_their_sums():
    """Squares (1, 3) and (3, 1) of layer 0 add up to (4, 4); (2, 6) of layer 1 stays."""
    grams = {
        name: Gram(np.diag([0.0, *squares]), 4)
        for name, squares in {"h.0.a": (1, 3), "h.0.b": (3, 1), "h.1.a": (2, 6)}.items()
    }
    with ExitStack() as stack:
        engine = Engine(JOBS, Varm(granularity="layer"), "float32", 1, stack, statistics=grams)
        known, mixtures = engine.decide_groups()
    assert known == grams
    weights = {name: mixture.weight_J.tolist() for name, mixture in mixtures.items()}
    assert weights == {"h.0.a": [0.5, 0.5], "h.0.b": [0.5, 0.5], "h.1.a": [0.25, 0.75]}


def test_matrices_decide_by_themselves():
    with ExitStack() as stack:
        assert Engine(JOBS, Varm(), "float32", 1, stack).decide_groups() == ({}, {})


def test_statistics_are_of_every_tensor_that_is_merged():
    with ExitStack() as stack:
        grams = Engine(JOBS, Varm(), "float32", 3, stack).statistics()
    assert list(grams) == ["h.0.a", "h.0.b", "h.1.a", "norm"]
    pivot, one, two = (source.values.astype(np.float64) for source in JOBS[0].sources)
    np.testing.assert_allclose(grams["h.0.a"].products_NN[1, 2], (one - pivot) @ (two - pivot), rtol=1e-5)
