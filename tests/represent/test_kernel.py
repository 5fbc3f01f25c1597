"""The compiled loops: exp against fp64, sums in their order, the same bits fresh and from numba's cache, and the heap."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest

from fusionchat.represent.kernel import BLOCK, LANES, NARROW, exp_under, fold, next_larger, sink, sum_exp

WORK = """
import hashlib, sys
import numpy as np
from fusionchat.represent import kernel
rng, n, k = np.random.default_rng(0), 8, 5
logits = rng.normal(0, 3, (n, 5000)).astype(np.float32)
best = kernel.Best(
    np.full((n, k), -np.inf, np.float32), np.zeros((n, k), np.int32), np.zeros(n), np.zeros(n, np.int64),
    np.zeros(n, np.float32), np.tile([-np.inf, 0.0], (n, 1)),
)
for row in range(n):
    kernel.add_tokens(logits[row], 0, row, best)
print(sum(kernel.add_tokens.stats.cache_hits.values()), hashlib.sha256(best.sums.tobytes()).hexdigest())
"""


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


def test_a_term_is_that_of_a_sum_of_one():
    x = np.float32(-1.5)
    assert exp_under(x, np.float32(0)) == sum_exp(np.array([x]), np.float32(0))
    assert exp_under(x, np.float32(0)) == pytest.approx(math.exp(-1.5), rel=3.2e-7)


def test_lanes_are_folded_upper_half_on_lower():
    lanes = np.array([1.0, 2**-24, -1.0, 2**-24], np.float32)  # in another order the small ones are lost
    assert fold(lanes, 4) == np.float32(2**-23)


@pytest.mark.parametrize("size", [LANES, 3 * LANES + 2 * NARROW + 3, 4096])
def test_sums_have_the_order_that_is_said(size):
    """Bit for bit on every processor: 64 lanes as four vectors, then 8, then one by one."""
    x = np.random.default_rng(size).normal(0, 4, size).astype(np.float32)
    terms = np.array([exp_under(one, np.float32(0)) for one in x], np.float32)
    wide, rest = np.split(terms, [size // LANES * LANES])
    narrow, last = np.split(rest, [len(rest) // NARROW * NARROW])
    lanes = np.zeros(LANES, np.float32)
    for part in wide.reshape(-1, LANES):
        lanes += part
    a, b, c, d = lanes.reshape(4, -1)
    lanes = np.array([folded(a + b + c + d), *[0.0] * (NARROW - 1)], np.float32)
    for part in narrow.reshape(-1, NARROW):
        lanes += part
    total = folded(lanes)
    for one in last:
        total += one
    assert sum_exp(x, np.float32(0)) == total


def folded(lanes):
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return lanes[0]


def test_a_process_that_compiles_and_one_that_loads_give_the_same_bits(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", WORK]
    fresh, loaded = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    )
    assert fresh[0] == "0" and loaded[0] == "1"
    assert fresh[1] == loaded[1]


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
