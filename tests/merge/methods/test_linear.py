"""Averages with given weights, by hand and on whole tensors."""

import numpy as np
import pytest

from fusionchat.merge.methods.base import Gram
from fusionchat.merge.methods.linear import Linear, TaskArithmetic
from tests.merge.methods.arrays import fuse, near, tensors
from tests.reference import merge as reference

TWO = Gram(np.zeros((3, 3)), 1)


def test_linear_by_hand():
    """(1 * 2 + 3 * 6) / 4 = 5; without normalizing 20."""
    pivot = np.full((2, 3), 100, np.float32)
    models = [np.full((2, 3), 2, np.float32), np.full((2, 3), 6, np.float32)]
    assert np.unique(fuse(Linear(weight=(1.0, 3.0)), pivot, models)[0]).tolist() == [5]
    assert np.unique(fuse(Linear(weight=(1.0, 3.0), normalize=False), pivot, models)[0]).tolist() == [20]


def test_task_arithmetic_by_hand():
    """100 + 0.5 * (1 * -98 + 2 * -94) = -43; normalized 100 + 0.5 * -286 / 3."""
    pivot = np.full((2, 3), 100, np.float32)
    models = [np.full((2, 3), 2, np.float32), np.full((2, 3), 6, np.float32)]
    settings = {"weight": (1.0, 2.0), "scale": 0.5}
    assert np.unique(fuse(TaskArithmetic(**settings), pivot, models)[0]).tolist() == [-43]
    normalized, _ = fuse(TaskArithmetic(**settings, normalize=True), pivot, models)
    np.testing.assert_allclose(normalized, 100 - 143 / 3, rtol=1e-7)


@pytest.mark.parametrize("weight", [None, (0.2, 1.0, 0.7)])
def test_whole_tensors(weight):
    pivot, targets = tensors()
    result, _ = fuse(Linear(weight=weight), pivot, targets)
    np.testing.assert_allclose(result, reference.linear(pivot, targets, weight), **near)
    result, _ = fuse(TaskArithmetic(weight=weight, scale=0.3), pivot, targets)
    np.testing.assert_allclose(result, reference.task_arithmetic(pivot, targets, weight, 0.3), **near)


def test_the_mixture_divides_once():
    mixture = Linear(weight=(1.0, 2.0)).mixture(TWO)
    assert (mixture.weight_J.tolist(), mixture.divisor, mixture.of, mixture.pivot) == ([1, 2], 3, "models", 0)
    mixture = TaskArithmetic(scale=2.0).mixture(TWO)
    assert (mixture.weight_J.tolist(), mixture.divisor, mixture.scale, mixture.pivot) == ([1, 1], 1, 2, 1)
    with pytest.raises(ValueError, match="3 values for 2 targets"):
        Linear(weight=(1.0, 2.0, 3.0)).mixture(TWO)


def test_weights_that_cancel_cannot_be_normalized():
    with pytest.raises(ValueError, match="more than 0"):
        Linear(weight=(1.0, -1.0))
    with pytest.raises(ValueError, match="more than 0"):
        TaskArithmetic(weight=(1.0, -1.0), normalize=True)
    assert TaskArithmetic(weight=(1.0, -1.0)).mixture(TWO).weight_J.tolist() == [1, -1]
