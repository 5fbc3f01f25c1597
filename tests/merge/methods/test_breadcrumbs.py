"""Breadcrumbs against full sorts."""

import numpy as np
import pytest

from fusionchat.merge.methods.breadcrumbs import Breadcrumbs
from tests.merge.methods.arrays import fuse, near, tensors
from tests.reference import merge as reference


@pytest.mark.parametrize("elect", [False, True])
@pytest.mark.parametrize(("density", "gamma"), [(0.9, 0.01), (0.5, 0.3), (0.95, 0.2), (0.0, 0.1), (1.0, 0.0)])
def test_breadcrumbs(density, gamma, elect):
    pivot, targets = tensors(bf16=True)
    result, _ = fuse(Breadcrumbs(density=density, gamma=gamma, elect_sign=elect), pivot, targets)
    np.testing.assert_allclose(result, reference.breadcrumbs(pivot, targets, density, gamma, elect), **near)


@pytest.mark.parametrize(
    ("density", "gamma", "kept"), [(0.6, 0.2, [0, 2, -3, 4, 0]), (0.6, 0.9, [1, 2, -3, 0, 0]), (1.0, 0.2, [1, 2, -3, 4, -5])]
)  # fmt: skip
def test_breadcrumbs_by_hand(density, gamma, kept):
    """The largest of five goes, then three are kept; of gamma 0.9 no more goes than leaves 0.6."""
    changes = np.array([[1, 2, -3, 4, -5]], np.float32)
    result, _ = fuse(Breadcrumbs(density=density, gamma=gamma), np.zeros(5, np.float32), changes)
    assert result.tolist() == kept
