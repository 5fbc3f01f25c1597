"""Inner products against whole arrays, longer than one span."""

import numpy as np
import pytest

from fusionchat.merge.kernels import gram
from fusionchat.merge.kernels.compiled import SPAN

SIZE = 2 * SPAN + 5


def given(targets):
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (targets + 1, SIZE)).astype(np.float32)
    x[1:] = np.where(rng.random((targets, SIZE)) < 0.1, x[0], x[1:])
    return x, x[1:] - x[0]


@pytest.mark.parametrize("with_pivot", [False, True])
@pytest.mark.parametrize("targets", [1, 3])
def test_products_of_pivot_and_changes(targets, with_pivot):
    x, delta = given(targets)
    made, written = np.ones((targets + 1, targets + 1)), np.empty_like(delta)
    conflicts = gram.measure(x, written, with_pivot, made)
    np.testing.assert_array_equal(written, delta)
    both = np.concatenate([x[:1] * with_pivot, delta]).astype(np.float64)
    np.testing.assert_allclose(np.tril(made), np.tril(1 + both @ both.T), rtol=1e-5)
    assert (made[np.triu_indices(targets + 1, 1)] == 1).all()  # the upper triangle is left alone
    assert conflicts == ((delta > 0).any(0) & (delta < 0).any(0)).sum()


def test_changes_alone():
    x, delta = given(2)
    written = np.empty_like(delta)
    gram.subtract(x, written)
    np.testing.assert_array_equal(written, delta)


def test_squares_are_added_to_what_is_there():
    _, delta = given(3)
    total = np.array([1.0, 0.0, 2.0])
    gram.add_squares(delta, total)
    expected = np.array([1, 0, 2]) + (delta.astype(np.float64) ** 2).sum(1)
    np.testing.assert_allclose(total, expected, rtol=1e-6)
