"""Exact selection against a sort, and the random numbers against chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fusionchat.merge.kernels import masks
from fusionchat.merge.kernels.selection import Largest, mark_largest
from tests.reference import merge as reference

values = arrays.arrays(
    np.float32,
    st.integers(1, 300),
    elements=st.one_of(
        st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0078125]), st.floats(-(2.0**90), 2.0**90, width=32)
    ),
)


@settings(max_examples=200, deadline=None)
@given(values, st.floats(0, 1), st.integers(1, 5))
def test_largest_is_the_stable_sort(value, share, chunks):
    largest = Largest(np.array([[share]]), value.size, chunks)
    parts = np.array_split(value, chunks)
    stage = 0
    while stage < largest.stages:
        total = 0
        for chunk, part in enumerate(parts):
            counts = largest.blank(stage)
            largest.observe(stage, part[None], chunk, counts)
            total = total + counts
        largest.settle(stage, total)
        stage += 1
    marked = []
    for chunk, part in enumerate(parts):
        mask = np.empty(part.size, np.bool_)
        mark_largest(part, largest.threshold_RK[0, 0], largest.quota(chunk)[0], mask)
        marked.append(mask)
    np.testing.assert_array_equal(np.concatenate(marked), reference.largest(value, int(share * value.size)))


@settings(max_examples=100, deadline=None)
@given(values.filter(lambda v: v.size > 1))
def test_row_ranks_are_those_of_a_comparison(value):
    ranks = np.empty(value.size, np.float32)
    masks.row_ranks(value, np.empty(value.size, np.uint16), np.empty(masks.BINS, np.float32), ranks)
    np.testing.assert_array_equal(ranks, reference.row_ranks(value[None])[0])
    assert ranks.sum() == pytest.approx(value.size * (value.size - 1) / 2)


def test_random_numbers_do_not_depend_on_blocks_and_look_random():
    key = np.uint64(masks.stream_key(0, 1, "w"))
    whole = np.empty(200_000, np.uint32)
    masks.uniform_bits(whole, key, 2**33 + 65_000)
    part = np.empty(70_000, np.uint32)
    masks.uniform_bits(part, key, 2**33 + 65_000 + 1234)
    np.testing.assert_array_equal(whole[1234 : 1234 + part.size], part)
    unit = whole / 2.0**32
    assert unit.mean() == pytest.approx(0.5, abs=0.003)
    counts = np.bincount((unit * 256).astype(int), minlength=256)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 340  # chi-square, 255 degrees: 1 in 3,000
    for lag in (1, 2, 16, 65_536):
        assert abs(np.corrcoef(unit[:-lag], unit[lag:])[0, 1]) < 0.012
    for bit in range(32):
        assert ((whole >> bit) & 1).mean() == pytest.approx(0.5, abs=0.006)
    other = np.empty_like(whole)
    masks.uniform_bits(other, np.uint64(masks.stream_key(0, 2, "w")), 2**33 + 65_000)
    assert abs(np.corrcoef(unit, other / 2.0**32)[0, 1]) < 0.012
