"""Exact selection against a sort."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.merge.kernels.selection import Largest, mark_largest
from tests.merge.kernels.values import values
from tests.reference import merge as reference


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
