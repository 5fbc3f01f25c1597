"""Averages with weights by element, by hand and against whole arrays."""

import numpy as np
import pytest

from fusionchat.merge.kernels.compiled import SPAN
from fusionchat.merge.kernels.elements import add_by_change, average_by_information
from tests.reference import merge as reference

SIZE = 2 * SPAN + 5


def drawn(targets, seed=0):
    """Pivot and targets; a tenth of the changes is 0."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (targets + 1, SIZE)).astype(np.float32)
    x[1:] = np.where(rng.random((targets, SIZE)) < 0.1, x[0], x[1:])
    return x


def test_each_element_weighs_its_own_changes_by_hand():
    """Changes 1 and -2: 1/5 - 2 * 4/5 = -1.4. Changes 0 and 3: 3. None: the pivot."""
    x = np.array([[10, 10, 10], [11, 10, 10], [8, 13, 10]], np.float32)
    out, kept = np.empty(3), np.array([100, 0])
    add_by_change(x, 1.0, kept, out)
    np.testing.assert_allclose(out, [8.6, 13, 10], rtol=1e-15)
    assert kept.tolist() == [101, 2]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_any_power(power):
    x, out, kept = drawn(3), np.empty(SIZE), np.zeros(3, np.int64)
    add_by_change(x, power, kept, out)
    np.testing.assert_allclose(out, reference.varm_elements(x[0], x[1:], power), rtol=1e-9)
    np.testing.assert_array_equal(kept, (x[1:] != x[0]).sum(1))


def informed(value):
    """An average of two targets whose second has this information in element 7."""
    x = drawn(2)
    information = np.ones((2, SIZE), np.float32)
    information[:, :3] = 0
    information[1, 7] = value
    average, kept = np.empty(SIZE), np.zeros(2, np.int64)
    negative = average_by_information(x, information, np.array([1.0, 3.0]), kept, average)
    return x, average, negative, kept.tolist()


def test_information_weighs_elements():
    """(1 + 3 * 3) = 10 in element 7; elsewhere, and where there is none at all, the weights alone are 4."""
    x, average, negative, kept = informed(3.0)
    one, two = x[1:].astype(np.float64)
    expected = (one + 3 * two) / 4
    expected[7] = (one[7] + 9 * two[7]) / 10
    np.testing.assert_allclose(average, expected, rtol=1e-12, atol=1e-15)
    assert (negative, kept) == (0, [SIZE, SIZE])


def test_a_target_without_information_has_no_part():
    x, average, _, kept = informed(0.0)
    assert average[7] == x[1, 7] and kept == [SIZE, SIZE - 1]


@pytest.mark.parametrize("value", [np.nan, -1e-9])
def test_information_that_is_none_is_counted_or_spoils_the_average(value):
    _, average, negative, _ = informed(value)
    assert negative == (value < 0)
    assert np.isnan(average[7]) == np.isnan(value) and not np.isnan(average[8])
