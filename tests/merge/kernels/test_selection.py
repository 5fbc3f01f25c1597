"""Magnitudes counted and marked, against numpy."""

import numpy as np
from hypothesis import given, settings

from fusionchat.merge.kernels import selection
from tests.merge.kernels.values import values


@settings(max_examples=50, deadline=None)
@given(values)
def test_magnitudes_are_counted_by_their_bits(value):
    magnitude = value.view(np.uint32) & 0x7FFFFFFF
    count = np.zeros(selection.HIGH + 1, np.int32)
    selection.count_high_bits(value, count)
    np.testing.assert_array_equal(count[:-1], np.bincount(magnitude >> 15, minlength=selection.HIGH))
    assert count[-1] == (value == 0).sum()
    high = magnitude[0] >> 15
    low = np.zeros(selection.LOW, np.int32)
    selection.count_low_bits(value, high, low)
    expected = np.bincount(magnitude[magnitude >> 15 == high] & 0x7FFF, minlength=selection.LOW)
    np.testing.assert_array_equal(low, expected)
    assert selection.count_equal(value, magnitude[0]) == (magnitude == magnitude[0]).sum()


def test_the_first_on_the_threshold_are_marked():
    value, mask = np.array([1, -2, 2, 0.5, 2], np.float32), np.empty(5, np.bool_)
    two = int(np.float32(2).view(np.uint32))
    for quota, left, expected in ((2, 0, [1, 2]), (0, 0, []), (5, 2, [1, 2, 4])):
        assert selection.mark_largest(value, two, quota, mask) == left
        assert np.flatnonzero(mask).tolist() == expected
    assert selection.mark_largest(value, selection.NOTHING, 3, mask) == 3 and not mask.any()


def test_what_is_not_marked_becomes_0():
    value, mask = np.array([1, -2, 3], np.float32), np.array([True, False, True])
    assert selection.keep_marked(value, mask, True) == 2
    assert value.tolist() == [1, 0, 3]
