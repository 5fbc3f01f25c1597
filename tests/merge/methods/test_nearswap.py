"""NearSwap against the formula it was published with."""

import numpy as np
import pytest

from fusionchat.merge.methods.nearswap import Nearswap
from tests.merge.methods.arrays import fuse, tensors


def test_small_changes_are_taken_whole_and_large_ones_are_cut():
    pivot = np.zeros((1, 5))
    target = np.array([[[0.25, -0.25, 2, -2, 0]]])
    result, work = fuse(Nearswap(t=0.5), pivot, target)
    np.testing.assert_array_equal(result, [[0.25, -0.25, 0.5, -0.5, 0]])
    assert work.report().kept == [0.8]


def test_equals_the_published_formula():
    pivot, targets = tensors()
    target = targets[0].astype(np.float64)
    weight = np.minimum(1, 1e-3 / np.abs(target - pivot))
    assert 0.1 < (weight < 1).mean() < 0.9
    np.testing.assert_allclose(
        fuse(Nearswap(t=1e-3), pivot, targets[:1])[0], weight * target + (1 - weight) * pivot, rtol=1e-6
    )


@pytest.mark.parametrize("t", [-1, float("nan")])
def test_a_threshold_is_a_number_from_0_up(t):
    with pytest.raises(ValueError, match="`t` must be between 0 and inf"):
        Nearswap(t=t)
