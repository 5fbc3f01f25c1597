"""The Karcher mean against many small steps."""

import numpy as np
import pytest

from fusionchat.merge.methods.karcher import Karcher
from tests.merge.methods.arrays import fuse, tensors
from tests.reference import merge as reference


def test_karcher():
    pivot, targets = tensors(targets=4, scale=0.02)
    result, _ = fuse(Karcher(max_iter=100), pivot, targets)
    np.testing.assert_allclose(result, reference.karcher(targets), rtol=1e-3, atol=1e-6)
    zero, _ = fuse(Karcher(), pivot, np.zeros_like(targets))
    np.testing.assert_array_equal(zero, 0)
    half, _ = fuse(Karcher(), pivot, [targets[0], np.zeros_like(pivot)])
    np.testing.assert_allclose(half, targets[0] / 2, rtol=1e-6)


def test_two_directions_at_a_right_angle_by_hand():
    """Lengths 1 and 3: the mean direction is halfway, (1, 1) / sqrt 2, times the mean length 2."""
    weights = Karcher().average(np.diag([1.0, 9.0]))
    np.testing.assert_allclose(weights, [2 / np.sqrt(2), 2 / np.sqrt(2) / 3], rtol=1e-6)


@pytest.mark.parametrize("settings", [{"max_iter": 0}, {"tol": -1.0}, {"tol": float("nan")}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="must be between"):
        Karcher(**settings)
