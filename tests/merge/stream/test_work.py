"""How a tensor is divided, and what is counted and said of it."""

import numpy as np
import pytest

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.plan import Job, Taking
from fusionchat.merge.methods.base import Gram, Mixture
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream.work import Tally, TensorWork
from tests.merge.methods.arrays import Held, in_order


def test_counts_of_chunks_add_up():
    total = Tally.blank(2)
    for _ in range(2):
        total.add(Tally(np.ones((3, 3)), np.array([1, 2]), np.array([1.0, 2.0, 0.0]), 5))
    assert total.gram_NN.tolist() == [[2] * 3] * 3 and total.kept_J.tolist() == [2, 4]
    assert total.sums.tolist() == [2, 4, 0] and total.conflicts == 10


PIVOT = np.array([[1, 2], [3, 4]], np.float32)
ONE = PIVOT + np.array([[1, 0], [0, -1]], np.float32)
TWO = PIVOT + np.array([[1, 0], [0, 3]], np.float32)


def made(method, **more):
    part = more.pop("part", None)
    return TensorWork(
        Job("w", (2, 2), tuple(map(Held, (PIVOT, ONE, TWO))), part=part), method, "float32", **more
    )


def test_inner_products_of_changes_by_hand():
    """Changes (1, 0, 0, -1) and (1, 0, 0, 3): squares 2 and 10, product -2, one element in conflict."""
    gram = made(Varm()).measure(in_order)
    assert gram.products_NN[1:, 1:].tolist() == [[2, -2], [-2, 10]]
    assert (gram.count, gram.conflicts) == (4, 1)


def test_weights_are_decided_values_merged_and_reported():
    task = made(Varm())
    assert not task.is_decided
    task.prepare(in_order)
    (values,) = task.combine(in_order)
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
    task.prepare(in_order)
    assert next(task.combine(in_order)).tolist() == ONE.ravel().tolist()


def test_a_part_of_the_targets_is_reported_among_all():
    task = made(Linear(), part=Taking((2, 0), 3))
    task.prepare(in_order)
    list(task.combine(in_order))
    assert task.report().weights == [0.5, 0, 0.5]


def test_which_input_is_not_finite_is_said():
    wrong = ONE.copy()
    wrong[1, 0] = np.inf
    task = TensorWork(Job("w", (2, 2), (Held(PIVOT), Held(wrong, "the target"))), Linear(), "float32")
    task.prepare(in_order)
    with pytest.raises(
        MergeError, match=r"Tensor w has a value that is not finite \(inf\) at element 2"
    ) as caught:
        list(task.combine(in_order))
    assert caught.value.where == "the target"


def test_values_that_a_type_cannot_hold_are_refused():
    task = TensorWork(Job("w", (2, 2), (Held(PIVOT), Held(PIVOT * 1e5))), Linear(), "float16")
    task.prepare(in_order)
    with pytest.raises(MergeError, match="too large to be merged or stored as float16"):
        list(task.combine(in_order))
