"""TIES against full sorts."""

import numpy as np
import pytest

from fusionchat.merge.methods.ties import Ties
from tests.merge.methods.arrays import fuse, near, tensors
from tests.reference import merge as reference


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 0.999, 1.0])
def test_ties(density, bf16):
    pivot, targets = tensors(bf16=bf16)
    result, task = fuse(Ties(density=density, weight=(1.0, 0.5, 2.0), scale=0.9), pivot, targets)
    expected = reference.ties(pivot, targets, density, weight=(1.0, 0.5, 2.0), scale=0.9)
    np.testing.assert_allclose(result, expected, **near)
    assert [round(k * pivot.size) for k in task.report().kept] == [int(density * pivot.size)] * 3


def test_one_value_a_target():
    pivot, targets = tensors(targets=2)
    result, task = fuse(Ties(density=(0.1, 0.7)), pivot, targets)
    np.testing.assert_allclose(task.report().kept, [0.1, 0.7], atol=1e-4)
    with pytest.raises(ValueError, match="3 values for 2"):
        fuse(Ties(density=(0.1, 0.7, 0.2)), pivot, targets)
    assert result.shape == pivot.shape


FOUR = np.zeros(4, np.float32)


def test_ties_by_hand():
    """Half of each is kept: 4, -3 and 5, -6. The second element's sum is 2, so only 5 counts there."""
    changes = np.array([[4, -3, 1, 0.5], [2, 5, -6, 1]], np.float32)
    result, _ = fuse(Ties(density=0.5), FOUR, changes)
    assert result.tolist() == [4, 5, -6, 0]
    result, _ = fuse(Ties(density=1.0), FOUR, changes)
    assert result.tolist() == [3, 5, -6, 0.75]
    result, _ = fuse(Ties(density=1.0, normalize=False, scale=2.0), FOUR, changes)
    assert result.tolist() == [12, 10, -12, 3]


def test_of_equal_changes_the_first_are_kept():
    result, task = fuse(Ties(density=0.5), FOUR, np.array([[1, -1, 1, 1]], np.float32))
    assert result.tolist() == [1, -1, 0, 0] and task.report().ties == [4]
