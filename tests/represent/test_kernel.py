"""The compiled loops: exp against fp64, and the heap."""

import math

import numpy as np
import pytest

from fusionchat.represent.kernel import BLOCK, next_larger, sink, sum_exp


def test_exp_keeps_to_its_bound():
    """Every term is within 2e-7 + 8e-8 |t| of fp64's exp(t), down to where it is taken as exp(-87)."""
    points = np.linspace(-87.0, 0.0, 3001, dtype=np.float32)
    for t in points:
        exact = math.exp(float(t))
        assert abs(sum_exp(np.array([t]), np.float32(0)) / exact - 1) < 2e-7 + 8e-8 * abs(float(t))
    assert 0 < sum_exp(np.array([-1e30, -np.inf], np.float32), np.float32(0)) < 1e-37


@pytest.mark.parametrize("size", [0, 1, 15, 64, 4096, 5000])
def test_sums_are_within_a_millionth(size):
    x = np.random.default_rng(size).normal(0, 4, size).astype(np.float32)
    reference = x.max(initial=0)
    exact = np.exp(x.astype(np.float64) - float(reference)).sum()
    assert sum_exp(x, reference) == pytest.approx(exact, rel=1e-6)


def test_nan_stays_nan_wherever_it_is():
    for at in (0, 17, 99):
        x = np.zeros(100, np.float32)
        x[at] = np.nan
        assert np.isnan(sum_exp(x, np.float32(0)))


def test_the_next_larger_block_is_found():
    x = np.zeros(3 * BLOCK + 5, np.float32)
    assert next_larger(x, 0, np.float32(0)) == x.size
    x[-1], x[BLOCK + 3] = 2, 1
    assert next_larger(x, 0, np.float32(0)) == BLOCK
    assert next_larger(x, 2 * BLOCK, np.float32(0)) == 3 * BLOCK
    assert next_larger(x, 0, np.float32(2)) == x.size


def test_a_root_sinks_below_better_ones_and_below_lower_ids():
    values, ids = np.array([3, 1, 1], np.float32), np.array([9, 4, 8], np.int32)
    sink(values, ids, 3)
    assert values.tolist() == [1, 1, 3] and ids.tolist() == [8, 4, 9]
