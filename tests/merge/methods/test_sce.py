"""SCE against a full sort of the variance."""

import numpy as np
import pytest

from fusionchat.merge.methods.sce import Sce, variance
from tests.merge.methods.arrays import fuse, tensors
from tests.reference import merge as reference


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.7, 1.0])
def test_sce(share, bf16):
    pivot, targets = tensors(bf16=bf16)
    result, _ = fuse(Sce(select_topk=share), pivot, targets)
    expected = pivot if share == 0 else reference.sce(pivot, targets, share)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-8)


def test_sce_by_hand():
    """Variances 0, 4, 0, 1. Half of those that are not 0 is the second element, where squares are equal and the sum is 0:
    the sign is +, and the first target alone has it. All: squares 14 and 6, so 0.7 and 0.3."""
    changes = np.array([[1, 2, 0, 3], [1, -2, 0, 1]], np.float32)
    half, _ = fuse(Sce(select_topk=0.5), np.zeros(4, np.float32), changes)
    assert half.tolist() == [0, 2, 0, 0]
    whole, _ = fuse(Sce(select_topk=1.0), np.zeros(4, np.float32), changes)
    np.testing.assert_allclose(whole, [1, 2, 0, 2.4], rtol=1e-6)


def test_the_variance_of_every_element():
    delta = np.array([[1, 2, 0], [1, -2, 0], [4, 0, 0]], np.float32)
    np.testing.assert_allclose(variance(delta), [2, 8 / 3, 0], rtol=1e-6)


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="select_topk"):
        Sce(select_topk=share)
