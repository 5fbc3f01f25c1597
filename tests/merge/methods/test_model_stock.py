"""Model Stock against the formula, and where it is held."""

import numpy as np
import pytest

from fusionchat.merge.methods.base import Gram
from fusionchat.merge.methods.model_stock import ModelStock
from tests.merge.methods.arrays import fuse, tensors
from tests.reference import merge as reference


def test_model_stock():
    pivot, targets = tensors(targets=3)
    together = targets + 1e-3 * np.random.default_rng(9).normal(size=pivot.shape).astype(np.float32)
    result, _ = fuse(ModelStock(), pivot, together)
    np.testing.assert_allclose(result, reference.model_stock(pivot, together), rtol=1e-5, atol=1e-8)
    same, _ = fuse(ModelStock(), pivot, [targets[0], targets[0]])
    np.testing.assert_allclose(same, targets[0], rtol=1e-6)
    opposite, _ = fuse(ModelStock(), pivot, [pivot + np.float32(0.5), pivot - np.float32(0.5)])
    np.testing.assert_allclose(opposite, pivot, atol=1e-6)


def turned(cosines, scale):
    """Changes of one length whose pairs have these cosines (a matrix), in 1,000 dimensions."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(1000, len(cosines))))[0].T
    return (scale * np.linalg.cholesky(np.array(cosines)) @ basis).astype(np.float32)


@pytest.mark.parametrize(
    ("pairs", "t"),
    [
        ([0.5], 2 * 0.5 / 1.5),
        ([0.2, 0.2, 0.2], 3 * 0.2 / 1.4),
        ([-0.499, -0.499, -0.499], 0.0),  # the formula says t = -748.5
        ([-0.999], 0.0),  # -1998
        ([-0.3], 0.0),
        ([0.6, -0.9, -0.6], 0.0),
        ([1e-3], 2e-3 / 1.001),
    ],
)
def test_model_stock_goes_from_the_pivot_to_the_average_and_no_further(pairs, t):
    """arXiv 2403.19522, Eq. 4, with t held in [0, 1]: J = 2 or 3 changes of rms 1e-5 never become larger ones."""
    count = 2 if len(pairs) == 1 else 3
    cosines = np.eye(count)
    cosines[np.triu_indices(count, 1)] = pairs
    delta = turned(cosines + np.triu(cosines, 1).T, 3e-4)
    result, task = fuse(ModelStock(), np.zeros(1000, np.float32), delta)
    np.testing.assert_allclose(result, t * delta.astype(np.float64).mean(0), rtol=2e-3, atol=1e-9)
    np.testing.assert_allclose(task.report().weights, [t / count] * count, rtol=2e-3, atol=1e-9)


def test_two_targets_at_60_degrees_by_hand():
    """cos = 1/2: t = 2 * 0.5 / 1.5 = 2/3, a third each."""
    gram = Gram(np.array([[0, 0, 0], [0, 1, 0.5], [0, 0.5, 1]]), 4)
    np.testing.assert_allclose(ModelStock().mixture(gram).weight_J, [1 / 3, 1 / 3])


def test_a_target_that_changed_nothing_has_cosine_0():
    """Pairs (1, 2): 1, (1, 3) and (2, 3): 0; the mean is 1/3, t = 1 / (1 + 2/3) = 0.6."""
    products = np.zeros((4, 4))
    products[1:3, 1:3] = 1
    np.testing.assert_allclose(ModelStock().mixture(Gram(products, 4)).weight_J, [0.2] * 3)
