"""Mixtures of a block against the formula in numpy, operation by operation: the same bits."""

import numpy as np
import pytest

from fusionchat.merge.kernels import mix
from fusionchat.merge.kernels.bf16 import store
from fusionchat.merge.kernels.compiled import SPAN

SIZE = 2 * SPAN + 5


def formula(x, weight, of_changes, pivot_scale, scale, divisor):
    """``pivot_scale * pivot + scale * (sum_j weight_j * v_j) / divisor``, from left to right."""
    wide, total = x.astype(np.float64), np.zeros(x.shape[1])
    for w, target in zip(weight, wide[1:], strict=True):
        total = total + w * (target - wide[0] if of_changes else target)
    return total * scale / divisor + pivot_scale * wide[0]


@pytest.mark.parametrize(("scale", "divisor"), [(1.0, 1.0), (0.7, 1.0), (0.7, 3.0)])
@pytest.mark.parametrize("of_changes", [False, True])
@pytest.mark.parametrize("targets", [0, 1, 2, 5])
def test_mixtures_are_the_formula(targets, of_changes, scale, divisor):
    rng = np.random.default_rng(targets)
    x, weight = rng.normal(0, 1, (targets + 1, SIZE)).astype(np.float32), rng.uniform(-1, 1, targets)
    out, how = np.empty(SIZE), mix.Factors(weight, of_changes, 0.3, scale, divisor)
    mix.mix(x, how, out)
    np.testing.assert_array_equal(out, formula(x, *how))
    raw, sums = np.empty(SIZE, np.uint16), np.zeros(3)
    mix.mix_bf16(x, how, raw, sums)
    expected, other = np.empty(SIZE, np.uint16), np.zeros(3)
    store(out, x[0], expected, other)
    np.testing.assert_array_equal(raw, expected)
    np.testing.assert_allclose(sums, other, rtol=1e-12)


def test_an_exact_half_stays_exact():
    """The average of two neighbours in bfloat16 is a half, which goes to the even one."""
    x = np.array([[0], [1], [1 + 2.0**-7]], np.float32)
    raw = np.empty(1, np.uint16)
    mix.mix_bf16(x, mix.Factors(np.ones(2), False, 0.0, 0.5, 1.0), raw, np.zeros(3))
    assert raw.tolist() == [0x3F80]
