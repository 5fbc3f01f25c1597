"""How a tensor is divided, and what is counted and said of it."""

import numpy as np
import pytest

from fusionchat.merge.inputs.plan import Taking, TensorJob
from fusionchat.merge.methods.base import Gram, Mixture
from fusionchat.merge.methods.della import Della
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream import cut
from fusionchat.merge.stream.tensor import Known
from fusionchat.merge.stream.work import work_on
from tests.merge.methods.arrays import Held, combine, in_order

PIVOT = np.array([[1, 2], [3, 4]], np.float32)
ONE = PIVOT + np.array([[1, 0], [0, -1]], np.float32)
TWO = PIVOT + np.array([[1, 0], [0, 3]], np.float32)


def made(method, part=None, **known):
    job = TensorJob("w", (2, 2), tuple(map(Held, (PIVOT, ONE, TWO))), part=part)
    return work_on(job, method, "float32", Known(**known))


def test_inner_products_of_changes_by_hand():
    """Changes (1, 0, 0, -1) and (1, 0, 0, 3): squares 2 and 10, product -2, one element in conflict."""
    gram = made(Varm()).measure(in_order)
    assert gram.products_NN[1:, 1:].tolist() == [[2, -2], [-2, 10]]
    assert (gram.count, gram.conflicts) == (4, 1)


def test_weights_are_decided_values_merged_and_reported():
    task = made(Varm())
    assert not task.is_decided
    values = combine(task)
    np.testing.assert_allclose(values, [1 + 1, 2, 3, 4 - 1 / 6 + 3 * 5 / 6], rtol=1e-6)
    report = task.report()
    assert report.weights == pytest.approx([1 / 6, 5 / 6]) and report.rms == pytest.approx(
        [0.5**0.5, 2.5**0.5]
    )
    assert report.conflicts == 0.25 and report.change_rms == pytest.approx(((1 + (7 / 3) ** 2) / 4) ** 0.5)


def test_what_is_known_is_not_looked_for_again():
    assert made(Linear()).is_decided
    assert made(Varm(), gram=Gram(np.zeros((3, 3)), 4)).is_decided
    task = made(Varm(), mixture=Mixture(np.array([1.0, 0.0])))
    assert task.is_decided
    assert combine(task).tolist() == ONE.ravel().tolist()


def test_a_method_knows_the_number_of_chunks_it_sees(monkeypatch):
    """Rows of 3 elements, and chunks of one row where 5 elements are the most: 4 chunks, not the 3 of 5 elements."""
    monkeypatch.setattr(cut, "BLOCK", 5)
    monkeypatch.setattr(cut, "CHUNK", 5)
    told = []

    class Asked(Della):
        def steps(self, tensor):
            told.append(tensor.chunks)
            return super().steps(tensor)

    job = TensorJob("w", (4, 3), (Held(np.zeros((4, 3), np.float32)),) * 2)
    task = work_on(job, Asked(), "float32")
    assert told == [task.chunks] == [4]


def test_a_part_of_the_targets_is_reported_among_all():
    task = made(Linear(), part=Taking((2, 0), 3))
    task.decide(in_order)
    task.take(task.make(0))
    assert task.finish()["weights"] == [0.5, 0, 0.5]
