"""The average weighted by Fisher information."""

import numpy as np
import pytest

from fusionchat.errors import MergeError
from fusionchat.merge.methods.fisher import Fisher
from tests.merge.methods.arrays import fuse, near, tensors
from tests.reference import merge as reference


def test_fisher():
    pivot, targets = tensors(targets=2)
    information = np.random.default_rng(3).exponential(1e-8, targets.shape).astype(np.float32)
    information[:, :10] = 0
    information[0, 10:20] = 0
    result, _ = fuse(Fisher(), pivot, targets, auxiliary=information)
    np.testing.assert_allclose(result, reference.fisher(targets, information), **near)
    np.testing.assert_array_equal(result[10:20], targets[1][10:20])


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "w has .* element 7"), (-1e-9, "w has negative values")]
)
def test_fisher_information_that_is_none_is_refused(value, words):
    pivot, targets = tensors(shape=(40, 60), targets=2)
    information = np.ones_like(targets)
    information[1, 0, 7] = value
    with pytest.raises(MergeError, match=words):
        fuse(Fisher(), pivot, targets, auxiliary=information)


def test_two_targets_by_hand():
    """Element 0: (1 * 2 + 3 * 6) / 4 = 5. Element 1 has no information: the mean. With weights 3 and 1: (3 * 2 + 3 * 6) / 6."""
    pivot = np.zeros((1, 2), np.float32)
    targets = [np.array([[2, 2]], np.float32), np.array([[6, 6]], np.float32)]
    information = np.array([[[1, 0]], [[3, 0]]], np.float32)
    assert fuse(Fisher(), pivot, targets, auxiliary=information)[0].tolist() == [[5, 4]]
    assert fuse(Fisher(weight=(3.0, 1.0)), pivot, targets, auxiliary=information)[0].tolist() == [[4, 3]]


@pytest.mark.parametrize("weight", [(-1.0, 2.0), (0.0, 0.0), (np.nan, 1.0)])
def test_weights_that_cannot_be_used(weight):
    with pytest.raises(ValueError, match="weight"):
        Fisher(weight=weight)


def test_the_folders_are_the_auxiliary_ones():
    assert Fisher(fisher=("a", "b")).auxiliary() == ("a", "b") and Fisher.needs_auxiliary
